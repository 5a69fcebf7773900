"""What `--scale`, `--mean` and `--std` do, and to which inputs."""

from pathlib import Path

import numpy as np
import pytest

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import Dataset, Preprocessing, open_dataset
from onnxsens.errors import DataError, UsageError

F32 = np.dtype(np.float32)
EVERY = np.arange(2)


def opened(folder: Path, specs: list[TensorSpec], preprocessing: Preprocessing, **arrays: AnyArray) -> Dataset:
    np.savez(folder / "s.npz", **arrays)
    return open_dataset(str(folder / "s.npz"), specs, preprocessing)


def test_a_value_worked_out_by_hand(tmp_path: Path) -> None:
    dataset = opened(
        tmp_path, [TensorSpec("x", F32, ("N", 1))], Preprocessing(10.0, (2.0,), (4.0,)), x=np.array([[100]], np.uint8)
    )
    assert dataset.batch(np.array([0]))["x"].tolist() == [[2.0]]  # (100 / 10 - 2) / 4


def test_numbers_per_channel_run_along_axis_1() -> None:
    values = Preprocessing(mean=(1.0, 2.0, 3.0)).apply("x", np.zeros((1, 3, 2, 2), F32), F32)
    assert values[0, :, 0, 0].tolist() == [-1.0, -2.0, -3.0]


def test_numbers_per_channel_run_along_the_last_axis_where_axis_1_has_another_length() -> None:
    values = Preprocessing(std=(1.0, 2.0, 4.0)).apply("x", np.ones((1, 5, 5, 3), F32), F32)
    assert values[0, 0, 0].tolist() == [1.0, 0.5, 0.25]


def test_one_number_goes_with_several() -> None:
    values = Preprocessing(mean=(1.0,), std=(1.0, 2.0)).apply("x", np.full((1, 2, 3), 3, F32), F32)
    assert values[0, :, 0].tolist() == [2.0, 1.0]


def test_float_samples_need_no_scale(tmp_path: Path) -> None:
    x = np.ones((2, 3), F32)
    dataset = opened(tmp_path, [TensorSpec("x", F32, ("N", 3))], Preprocessing(mean=(0.5,)), x=x)
    assert dataset.batch(EVERY)["x"].tolist() == [[0.5] * 3] * 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_result_has_the_type_of_the_input(tmp_path: Path, dtype: str) -> None:
    x = np.array([[3, 255], [0, 7]], np.uint8)
    dataset = opened(tmp_path, [TensorSpec("x", np.dtype(dtype), (1, 2))], Preprocessing(255.0), x=x)
    batch = dataset.batch(EVERY)["x"]
    assert batch.dtype == np.dtype(dtype)
    exact = np.float64 if dtype == "float64" else np.float32
    np.testing.assert_array_equal(batch, (x.astype(exact) / exact(255)).astype(dtype))


def test_of_several_inputs_only_those_stored_as_integers_are_touched(tmp_path: Path) -> None:
    specs = [
        TensorSpec("image", F32, ("N", 2)),
        TensorSpec("extra", F32, ("N", 2)),
        TensorSpec("ids", np.dtype("u1"), (2,)),
    ]
    image, extra = np.full((2, 2), 10, np.uint8), np.full((2, 2), 10, F32)
    dataset = opened(tmp_path, specs, Preprocessing(10.0), image=image, extra=extra, ids=np.array([10, 20], np.uint8))
    batch = dataset.batch(EVERY)
    assert {name: values.flat[0] for name, values in batch.items()} == {"image": 1.0, "extra": 10.0, "ids": 10}


def test_without_preprocessing_samples_pass_bit_for_bit(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3), F32)
    dataset = opened(tmp_path, [TensorSpec("x", F32, ("N", 3))], Preprocessing(), x=x)
    np.testing.assert_array_equal(dataset.batch(EVERY)["x"], x)


def test_preprocessing_that_applies_to_nothing_is_refused(tmp_path: Path) -> None:
    ids = np.zeros((2, 3), np.int64)
    with pytest.raises(UsageError, match=r"apply to no input of .*'ids' is int64 \[2, 3\]; leave them out"):
        opened(tmp_path, [TensorSpec("ids", np.dtype(np.int64), ("N", 3))], Preprocessing(255.0), ids=ids)


def test_channels_that_fit_no_axis_are_refused_on_opening(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"3 channels, but neither axis 1 nor the last axis of 'x' \[2, 5, 4\] has"):
        opened(
            tmp_path,
            [TensorSpec("x", F32, ("N", 5, 4))],
            Preprocessing(mean=(1.0, 2.0, 3.0)),
            x=np.zeros((2, 5, 4), F32),
        )


def test_a_result_too_large_for_its_type_is_refused(tmp_path: Path) -> None:
    x = np.full((2, 3), 65535, np.uint16)
    dataset = opened(tmp_path, [TensorSpec("x", np.dtype(np.float16), ("N", 3))], Preprocessing(0.5), x=x)
    with pytest.raises(DataError, match="'x' exceeds float16"):
        dataset.batch(EVERY)


@pytest.mark.parametrize(
    ("scale", "mean", "std", "expected"),
    [
        (255.0, "0.2860", "0.3530", Preprocessing(255.0, (0.286,), (0.353,))),
        (None, "0.485,0.456, 0.406", None, Preprocessing(mean=(0.485, 0.456, 0.406))),
        (None, None, None, Preprocessing()),
    ],
)
def test_options_are_parsed(scale: float | None, mean: str | None, std: str | None, expected: Preprocessing) -> None:
    assert Preprocessing.parse(scale, mean, std) == expected


@pytest.mark.parametrize(
    ("scale", "mean", "std", "message"),
    [
        (0.0, None, None, "--scale 0.0 cannot divide"),
        (float("nan"), None, None, "--scale nan cannot divide"),
        (1e300, None, None, "--scale 1e[+]300 cannot divide"),
        (1e-60, None, None, "--scale 1e-60 cannot divide"),
        (None, None, "1,0", "--std 0.0 cannot divide"),
        (None, "1e39", None, "--mean 1e[+]39 is not a float32 number"),
        (None, "", None, "--mean '' is not a list of numbers"),
        (None, "a,b", None, "--mean 'a,b' is not a list of numbers"),
        (None, None, "inf", "--std 'inf' is not a list of numbers"),
        (None, "1,2,3", "1,2", "--mean has 3 channels and --std has 2"),
    ],
)
def test_impossible_options_are_refused(scale: float | None, mean: str | None, std: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Preprocessing.parse(scale, mean, std)
