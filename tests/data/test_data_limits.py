"""What samples may ask of us: bytes, memory, and headers that are no headers."""

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damaging import cases

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import npy, npz, open_dataset
from onnxsens.errors import DataError, UsageError

X = TensorSpec("x", np.dtype(np.float32), ("N", 4))
SAMPLES = np.random.default_rng(0).standard_normal((300, 4), np.float32)
NORMAL_HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (300, 4), }"


def npy_bytes(header: str, values: bytes = SAMPLES.tobytes(), version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version[0] == 1 else 4, "little") + text + values


def refusal(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_dataset(str(path), [X])
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < len(str(path)) + 400
    return message


HEADERS = {
    "no dict": "[1, 2]",
    "a call": "__import__('os').abort()",
    "more keys": NORMAL_HEADER.replace("}", "'x': 1}"),
    "endless minus": NORMAL_HEADER.replace("300", "-" * 9000 + "300"),
    "endless brackets": NORMAL_HEADER.replace("300", "(" * 4000 + "300" + ")" * 4000),
    "longer than any header": NORMAL_HEADER.replace("300", " " * 60_000 + "300"),
    "negative": NORMAL_HEADER.replace("300", "-1"),
    "a truth for a length": NORMAL_HEADER.replace("300", "True"),
    "a float for a length": NORMAL_HEADER.replace("300", "3e2"),
    "33 axes": NORMAL_HEADER.replace("300, 4", "1, " * 31 + "300, 4"),
    "more than there are numbers": NORMAL_HEADER.replace("300, 4", f"{2**62}, {2**62}, 0"),
    "5000 digits": NORMAL_HEADER.replace("300", "9" * 5000),
    "more values than bytes": NORMAL_HEADER.replace("300", "301"),
    "fewer values than bytes": NORMAL_HEADER.replace("300", "299"),
    "objects": NORMAL_HEADER.replace("<f4", "|O"),
    "objects among others": NORMAL_HEADER.replace("'<f4'", "[('a', '<f4'), ('b', '|O')]"),
    "nothing of it": NORMAL_HEADER.replace("<f4", "V0"),
    "no type": NORMAL_HEADER.replace("<f4", "\x1b[31m"),
    "a type of types": NORMAL_HEADER.replace("'<f4'", "(" * 50 + "'<f4'" + ",)" * 50),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_lies_is_one_line_in_a_file_and_in_an_archive(tmp_path: Path, case: str) -> None:
    content = npy_bytes(HEADERS[case])
    message = refusal(tmp_path / "a.npy", content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    assert refusal(tmp_path / "a.npz").endswith(message.rpartition("; ")[2])


def test_headers_of_both_versions_are_read(tmp_path: Path) -> None:
    for version in (b"\x01\x00", b"\x02\x00"):
        (tmp_path / "a.npy").write_bytes(npy_bytes(NORMAL_HEADER, version=version))
        np.testing.assert_array_equal(open_dataset(str(tmp_path / "a.npy"), [X]).inputs["x"], SAMPLES)
    assert "of version 3.0" in refusal(tmp_path / "a.npy", npy_bytes(NORMAL_HEADER, version=b"\x03\x00"))


def test_a_file_of_python_2_is_read_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(npy_bytes(NORMAL_HEADER.replace("300", "300L")))
    np.testing.assert_array_equal(open_dataset(str(tmp_path / "a.npy"), [X]).inputs["x"], SAMPLES)


def in_npy(folder: Path, samples: AnyArray) -> Path:
    np.save(folder / "a.npy", samples)
    return folder / "a.npy"


def in_npz(folder: Path, samples: AnyArray) -> Path:
    np.savez(folder / "a.npz", before=np.ones(0), x=samples)
    with zipfile.ZipFile(folder / "a.npz") as archive:
        kept = archive.read("x.npy")
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("x.npy", kept)
        archive.writestr("labels.npy", npy_of(np.arange(len(samples))))
    return folder / "a.npz"


def packed(folder: Path, samples: AnyArray) -> Path:
    np.savez_compressed(folder / "a.npz", x=samples)
    return folder / "a.npz"


def npy_of(values: AnyArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


class TestLargeSamples:
    """What is large, with a threshold that small files reach."""

    @pytest.fixture(autouse=True)
    def small_is_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (npy, npz):
            monkeypatch.setattr(module, "MAPPED_FROM", 1024)

    @pytest.mark.parametrize("write", [in_npy, in_npz, packed])
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", ["<f4", ">f4"])
    def test_they_are_the_same_whether_read_or_mapped(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        write: Callable[[Path, AnyArray], Path],
        order: str,
        dtype: str,
    ) -> None:
        path = write(tmp_path, SAMPLES.astype(dtype, order=order))
        mapped = open_dataset(str(path), [X])
        np.testing.assert_array_equal(mapped.inputs["x"], SAMPLES)
        assert not mapped.inputs["x"].flags.writeable
        for module in (npy, npz):
            monkeypatch.setattr(module, "MAPPED_FROM", 1 << 30)
        assert open_dataset(str(path), [X]).fingerprint() == mapped.fingerprint()

    def test_they_outlive_the_file(self, tmp_path: Path) -> None:
        for write in (in_npy, in_npz):
            path = write(tmp_path, SAMPLES)
            dataset = open_dataset(str(path), [X])
            path.unlink()
            np.testing.assert_array_equal(dataset.batch(np.array([299, 0]))["x"], SAMPLES[[299, 0]])

    def test_damage_in_an_archive_is_found_before_it_is_mapped(self, tmp_path: Path) -> None:
        path = in_npz(tmp_path, SAMPLES)
        content = bytearray(path.read_bytes())
        content[content.index(SAMPLES[150].tobytes())] ^= 1
        assert "Bad CRC-32 for file 'x.npy'" in refusal(path, bytes(content))


@pytest.mark.skipif(os.name == "nt", reason="a file's hole is no hole there")
def test_samples_of_half_a_gigabyte_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        file.write(npy_bytes(NORMAL_HEADER.replace("300", str(1 << 25)), b""))
        file.truncate(file.tell() + (1 << 29))
    tracemalloc.start()
    try:
        dataset = open_dataset(str(path), [X])
        batch = dataset.batch(np.arange(0, 1 << 25, 1 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(dataset) == 1 << 25
    assert not batch["x"].any()
    assert peak < 32 << 20


def test_the_limit_is_one_on_all_samples_and_labels_together(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=SAMPLES, labels=np.arange(300))
    declared = SAMPLES.nbytes + 2400 + 2 * 128
    assert len(open_dataset(str(path), [X], max_data_bytes=declared)) == 300
    with pytest.raises(
        DataError, match=f"holds {declared:,} bytes of samples, more than the limit of {declared - 1:,}; "
    ):
        open_dataset(str(path), [X], max_data_bytes=declared - 1)


def test_a_limit_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-data-bytes 0 is not a number of bytes; give 1 or more"):
        open_dataset("random:3", [X], max_data_bytes=0)


def test_an_archive_of_very_many_members_ends_soon(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.npy", b"")
    assert "has 10,001 members; save one array per input" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("write", [in_npy, in_npz, packed])
def test_damage_is_a_data_error_or_samples(tmp_path: Path, write: Callable[[Path, AnyArray], Path]) -> None:
    path = write(tmp_path, SAMPLES[:9])
    content = path.read_bytes()
    refused = 0
    for case in cases(content, seed=5, number=700):
        path.write_bytes(case)
        try:
            dataset = open_dataset(str(path), [X], max_data_bytes=1 << 20)
        except DataError as error:
            assert str(error).isprintable()
            refused += 1
        else:
            assert dataset.inputs["x"].shape[1:] == (4,)
            assert np.isfinite(dataset.inputs["x"]).all()
    assert refused > 200


@pytest.mark.parametrize("field", ["'descr': ('<f4', (2,)), 'shape': (4,)", "'descr': '<f4', 'shape': (True,)"])
def test_headers_of_types_that_no_sample_has_are_refused(tmp_path: Path, field: str) -> None:
    header = f"{{{field}, 'fortran_order': False, }}"
    assert "d.npy" in refusal(tmp_path / "d.npy", npy_bytes(header, bytes(32)))


def test_a_batch_that_the_model_fixes_has_to_fit_too(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.zeros((4, 8), np.float32))
    with pytest.raises(DataError, match=r"fixes its batch to 2,147,483,647 samples"):
        open_dataset(str(tmp_path / "d.npy"), [TensorSpec("x", np.dtype(np.float32), (2**31 - 1, 8))])
