"""Samples that do not fit the model: one clear line each, before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxsens.arrays import TensorSpec
from onnxsens.data import Preprocessing, open_dataset
from onnxsens.errors import DataError, OnnxsensError, UsageError

F32 = np.dtype(np.float32)
X = TensorSpec("x", F32, ("N", 1, 4))
TWO = [TensorSpec("a", F32, ("N", 2)), TensorSpec("b", np.dtype(np.int64), ("N", "seq"))]


def ones(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)


def with_nan() -> np.ndarray:
    values = ones(3, 1, 4)
    values[0, 0, 1] = np.nan
    values[2, 0, 0] = np.inf
    return values


MISFITS = {
    "unknown name": (
        TWO,
        {"a": ones(3, 2), "c": ones(3, 2)},
        "has 'c', which the model has no input for (its inputs: 'a', 'b')",
    ),
    "missing input": (TWO, {"a": ones(3, 2)}, "has no array for the model's 'b' (it has 'a')"),
    "one too many": ([X], {"x": ones(3, 1, 4), "y": ones(3)}, "has 'y', which the model has no input for"),
    "labels alone": ([X], {"labels": ones(3)}, "has no array for the model's 'x' (it has 'labels')"),
    "rank": (
        [X],
        {"x": ones(3, 4)},
        "float32 [3, 4] for input 'x', but the model takes float32 [N, 1, 4]; save 3 dimensions",
    ),
    "fixed axis": ([X], {"x": ones(3, 1, 5)}, "make axis 2 4 long instead of 5"),
    "bytes unscaled": ([X], {"x": ones(3, 1, 4, dtype=np.uint8)}, "give --scale 255 (and --mean, --std), or --scale 1"),
    "double": ([X], {"x": ones(3, 1, 4, dtype=np.float64)}, "save it as float32"),
    "wide integers": ([X], {"x": ones(3, 1, 4, dtype=np.int64)}, "save it as float32"),
    "narrow integers": (TWO, {"a": ones(3, 2), "b": ones(3, 2, dtype=np.int32)}, "save it as int64"),
    "text": ([X], {"x": np.full((3, 1, 4), "1")}, "save it as float32"),
    "dates": ([X], {"x": np.full((3, 1, 4), "2020-01-01", "M8[D]")}, "save it as float32"),
    "lengths": (TWO, {"a": ones(3, 2), "b": ones(4, 2, dtype=np.int64)}, "has 3 samples for input 'a' and 4 for 'b'"),
    "labels too short": ([X], {"x": ones(10, 1, 4), "labels": ones(9)}, "labels has 9 entries for 10 samples"),
    "labels a number": ([X], {"x": ones(1, 1, 4), "labels": np.float32(1)}, "labels has 1 entries for 1 samples"),
    "labels text": (
        [X],
        {"x": ones(2, 1, 4), "labels": np.array(["cat", "dog"])},
        "labels are <U3; save them as numbers",
    ),
    "labels nan": ([X], {"x": ones(2, 1, 4), "labels": np.array([1, np.nan])}, "labels has 1 non-finite values"),
    "no samples": ([X], {"x": ones(0, 1, 4)}, "has 0 samples; give at least 1"),
    "a number": ([X], {"x": np.float32(1)}, "has a single number for input 'x'"),
    "nan": ([X], {"x": with_nan()}, "input 'x' has 2 non-finite values (NaN or infinite); every metric would be NaN"),
    "scalar input": (
        [TensorSpec("x", F32, ())],
        {"x": ones(3, 2)},
        "float32 [3, 2] for input 'x', but the model takes float32 []; save 1 dimension, the first of them the samples",
    ),
    "strange input": (
        [TensorSpec("x", None, ("N",))],
        {"x": ones(3)},
        "of unsupported type [N]; only numbers can be fed that numpy has: export the model with float32 inputs",
    ),
    "objects": ([X], {"x": np.array([None])}, "array 'x' holds Python objects, which are never unpickled"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_samples_that_do_not_fit_are_refused_in_one_line(case: str, tmp_path: Path) -> None:
    specs, arrays, message = MISFITS[case]
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DataError) as caught:
        open_dataset(str(tmp_path / "s.npz"), specs)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_with_a_mean_but_no_scale_still_need_the_scale(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", ones(3, 1, 4, dtype=np.uint8))
    with pytest.raises(DataError, match="give --scale 255"):
        open_dataset(str(tmp_path / "s.npy"), [X], Preprocessing(mean=(0.5,)))


def nothing(folder: Path) -> str:
    return str(folder / "nothing.npz")


def empty_file(folder: Path) -> str:
    (folder / "s.npz").touch()
    return str(folder / "s.npz")


def empty_folder(folder: Path) -> str:
    return str(folder)


def table(folder: Path) -> str:
    (folder / "s.csv").write_text("1,2")
    return str(folder / "s.csv")


def text(value: str) -> Callable[[Path], str]:
    return lambda _: value


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (nothing, DataError, "nothing.npz' does not exist; check the path"),
        (text("no/such/folder"), DataError, "'no/such/folder' does not exist"),
        (text("no.py:function"), DataError, "'no.py' does not exist"),
        (text("no.py"), DataError, "write 'no.py:FUNCTION'"),
        (text("x" * 5000), DataError, "' cannot be read: File name too long"),
        (text("a\0b.npy"), DataError, "does not exist"),
        (empty_file, DataError, "s.npz' is an empty file"),
        (empty_folder, DataError, "holds no .npz files and no images"),
        (table, DataError, "s.csv' is no kind of samples that can be read; give an .npz"),
        (text("random:0"), UsageError, "'random:0' does not say how many samples"),
        (text("random:-3"), UsageError, "'random:-3' does not say"),
        (text("random:many"), UsageError, "give a positive number, like 'random:256'"),
        (text("random:999999999999"), DataError, "more than the limit of 17,179,869,184; give fewer"),
    ],
)
def test_a_text_that_leads_to_no_samples_is_refused(
    make: Callable[[Path], str], kind: type[OnnxsensError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        open_dataset(make(tmp_path), [X])
    assert message in str(caught.value)


def test_random_samples_name_the_axis_that_needs_a_length() -> None:
    with pytest.raises(DataError, match=r"axis 1 of input 'b' is 'seq', of any length.*give --dim seq=LENGTH"):
        open_dataset("random:4", TWO)
    with pytest.raises(DataError, match="axis 1 of input 'x' is of any length and has no name; give --dim x:1=LENGTH"):
        open_dataset("random:4", [TensorSpec("x", F32, ("N", None))])
    with pytest.raises(DataError, match="only numbers can be drawn"):
        open_dataset("random:4", [TensorSpec("x", np.dtype(np.complex64), ("N",))])


def test_a_model_without_inputs_cannot_be_fed() -> None:
    with pytest.raises(DataError, match="the model has no inputs"):
        open_dataset("random:4", [])


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed -1 is negative"):
        open_dataset("random:4", [X], seed=-1)


def test_a_fixed_batch_dimension_takes_any_number_of_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", ones(7, 1, 4))
    assert len(open_dataset(str(tmp_path / "s.npy"), [TensorSpec("x", F32, (1, 1, 4))])) == 7


def test_the_one_array_of_a_single_input_model_may_have_any_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", pixels=ones(2, 1, 4), labels=np.array([3, 4]))
    dataset = open_dataset(str(tmp_path / "s.npz"), [X])
    assert list(dataset.inputs) == ["x"]
    assert dataset.labels is not None


def test_a_model_input_called_labels_is_an_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", labels=ones(2, 1, 4))
    dataset = open_dataset(str(tmp_path / "s.npz"), [TensorSpec("labels", F32, ("N", 1, 4))])
    assert list(dataset.inputs) == ["labels"]
    assert dataset.labels is None


def test_byte_order_and_memory_layout_are_no_matter(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 1, 4)
    np.save(tmp_path / "plain.npy", values)
    np.save(tmp_path / "other.npy", np.asfortranarray(values.astype(">f4")))
    plain, other = (open_dataset(str(tmp_path / f"{name}.npy"), [X]) for name in ("plain", "other"))
    assert plain.fingerprint() == other.fingerprint()
    np.testing.assert_array_equal(other.batch(np.array([5]))["x"], values[5:])
