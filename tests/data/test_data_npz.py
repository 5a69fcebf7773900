"""Archives that are broken, hostile or too large."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import open_dataset
from onnxsens.data.npy import Npy
from onnxsens.data.npz import Npz
from onnxsens.data.shards import Shards
from onnxsens.errors import DataError

X = TensorSpec("x", np.dtype(np.float32), ("N", 4))
RNG = np.random.default_rng(0)


def npy_bytes(values: AnyArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def archive(folder: Path, members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> str:
    path = folder / "s.npz"
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, content in members:
            target.writestr(name, content)
    return str(path)


GOOD = npy_bytes(np.ones((3, 4), np.float32))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([], "holds no arrays"),
        ([("../x.npy", GOOD)], "has a member '../x.npy', which is a path"),
        ([("/x.npy", GOOD)], "has a member '/x.npy', which is a path"),
        ([("x.npy", GOOD), ("notes.txt", b"hi")], "has a member 'notes.txt', which is not an array"),
        ([("x.npy", b"hello")], "array 'x' is not a readable npy array"),
        ([("x.npy", GOOD[:-4])], "array 'x' is damaged: float32 [3, 4] takes 48 bytes, but there are 44"),
        ([("x.npy", GOOD + b"more")], "takes 48 bytes, but there are 52"),
        ([("x.npy", GOOD.replace(b"(3, 4)", b"(-3, -4)"))], "array 'x' is"),
        ([("x.npy", GOOD.replace(b"'<f4'", b"'|O'  "))], "holds Python objects, which are never unpickled"),
        ([("x.npy", GOOD.replace(b"'<f4'", b"'<q9'"))], "array 'x' is not a readable npy array"),
    ],
)
def test_a_member_that_is_no_plain_array_is_refused(
    members: list[tuple[str, bytes]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        open_dataset(archive(tmp_path, members), [X])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile warns as we write what we want refused
def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has 'x.npy' more than once"):
        open_dataset(archive(tmp_path, [("x.npy", GOOD), ("x.npy", GOOD)]), [X])


def test_a_compression_that_numpy_does_not_write_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="compressed in a way that numpy does not write"):
        open_dataset(archive(tmp_path, [("x.npy", GOOD)], zipfile.ZIP_BZIP2), [X])


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(GOOD)
    with pytest.raises(DataError, match=r"cannot be read as npz .*; save it again"):
        open_dataset(str(tmp_path / "s.npz"), [X])


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = Path(archive(tmp_path, [("x.npy", GOOD)], zipfile.ZIP_STORED))
    content = bytearray(path.read_bytes())
    content[content.index(b"\x93NUMPY") + len(GOOD) - 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC-32"):
        open_dataset(str(path), [X])


def test_no_truncation_and_no_damage_gets_past_as_anything_but_a_data_error(tmp_path: Path) -> None:
    path = Path(archive(tmp_path, [("x.npy", GOOD), ("labels.npy", npy_bytes(np.arange(3)))]))
    whole = path.read_bytes()
    for length in range(1, len(whole), 3):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            open_dataset(str(path), [X])
    dense = open_dataset_from(path, whole)
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= int(RNG.integers(1, 256))
        try:
            read = open_dataset_from(path, bytes(damaged))
        except DataError:
            continue
        # Dates and flags of the archive mean nothing to us; the values are what was saved.
        assert read == dense, position


def open_dataset_from(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return open_dataset(str(path), [X]).fingerprint()


def test_an_archive_that_unpacks_to_very_much_more_is_refused_unread(tmp_path: Path) -> None:
    bomb = npy_bytes(np.zeros((5_000_000, 4), np.float32))
    with pytest.raises(DataError, match=r"unpacks to .* times its size, more than 200"):
        open_dataset(archive(tmp_path, [("x.npy", bomb)]), [X])


def test_a_small_archive_may_be_compressed_as_well_as_it_can(tmp_path: Path) -> None:
    dataset = open_dataset(archive(tmp_path, [("x.npy", npy_bytes(np.zeros((500_000, 4), np.float32)))]), [X])
    assert len(dataset) == 500_000


def test_the_size_limit_holds_for_one_file_and_for_shards_together(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((100, 4), np.float32))
    np.savez(tmp_path / "b.npz", x=np.zeros((100, 4), np.float32))
    np.save(tmp_path / "c.npy", np.zeros((100, 4), np.float32))
    assert Npz(2000).read(str(tmp_path / "a.npz"), [X], RNG)
    for source, name in ((Npz(1000), "a.npz"), (Npy(1000), "c.npy"), (Shards(2000), "")):
        with pytest.raises(DataError, match=r"bytes of samples, more than the limit of [12],000; give fewer"):
            source.read(str(tmp_path / name), [X], RNG)


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, "a.npz' has labels, but"),
        ({"x": np.zeros((2, 4), np.float16), "labels": np.zeros(2)}, "has input 'x' as float32 [n, 4], but"),
        ({"x": np.zeros((2, 5), np.float32), "labels": np.zeros(2)}, "b.npz' as float32 [n, 5]; make them alike"),
        ({"x": np.zeros((2, 4), np.float32), "labels": np.zeros(3)}, "b.npz': labels has 3 entries for 2 samples"),
        ({"labels": np.zeros(3)}, "b.npz' has no array for the model's 'x'"),
    ],
)
def test_shards_that_differ_are_refused(second: dict[str, AnyArray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 4), np.float32), labels=np.zeros(3))
    np.savez(tmp_path / "b.npz", **second)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path), [X])
    assert message in str(caught.value)


def test_an_npy_file_cannot_feed_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros((2, 4), np.float32))
    with pytest.raises(DataError, match="the model has 2: 'x', 'y'; save an npz with one array per input"):
        open_dataset(str(tmp_path / "s.npy"), [X, TensorSpec("y", X.dtype, X.shape)])


def test_a_folder_called_like_a_shard_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(DataError, match=r"a.npz' is not a file"):
        open_dataset(str(tmp_path), [X])


def test_names_of_inputs_may_have_slashes(tmp_path: Path) -> None:
    arrays = {"net/x": np.ones((3, 4), np.float32), "net/y": np.zeros((3, 2), np.float32)}
    np.savez(tmp_path / "d.npz", **arrays)
    specs = [TensorSpec(name, values.dtype, ("N", values.shape[1])) for name, values in arrays.items()]
    dataset = open_dataset(str(tmp_path / "d.npz"), specs)
    np.testing.assert_array_equal(dataset.inputs["net/x"], arrays["net/x"])
