"""How arrays of samples become inputs: by their rank, against what the model declares."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data import Dataset, Preprocessing, open_dataset, with_dims
from onnxsens.errors import DataError, UsageError

F32, I64 = np.dtype(np.float32), np.dtype(np.int64)
X = TensorSpec("x", F32, ("N", 3))
STATE = TensorSpec("state", F32, (2, "N", 4), batch_axis=1)
NUMBER = TensorSpec("rate", I64, ())
MORE = TensorSpec("more", F32, ("N", 3), presence="optional")
BIAS = TensorSpec("bias", F32, (3,), presence="default", batch_axis=None)


def counted(*shape: int) -> AnyArray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def opened(folder: Path, specs: list[TensorSpec], arrays: Mapping[str, AnyArray]) -> Dataset:
    np.savez(folder / "d.npz", **arrays)
    return open_dataset(str(folder / "d.npz"), specs)


def test_samples_go_along_the_batch_axis_wherever_it_is(tmp_path: Path) -> None:
    state = counted(5, 2, 4)
    dataset = opened(tmp_path, [X, STATE], {"x": counted(5, 3), "state": state})
    fed = dataset.batch(np.array([4, 1, 1]))["state"]
    assert fed.shape == (2, 3, 4)
    assert fed.flags.c_contiguous
    for place, sample in enumerate([4, 1, 1]):
        np.testing.assert_array_equal(fed[:, place], state[sample])
    assert (dataset.run_size, dataset.rows, dataset.batched) == (None, None, True)


def test_a_length_is_checked_on_the_axis_it_belongs_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"takes float32 \[2, N, 4\]; make axis 1 2 long instead of 3"):
        opened(tmp_path, [X, STATE], {"x": counted(5, 3), "state": counted(5, 3, 4)})
    with pytest.raises(DataError, match=r"takes float32 \[2, N, 4\]; make axis 3 4 long instead of 5"):
        opened(tmp_path, [X, STATE], {"x": counted(5, 3), "state": counted(5, 2, 1, 5)})


def test_whole_inputs_that_differ_are_run_alone_and_equal_ones_are_not(tmp_path: Path) -> None:
    whole = counted(5, 2, 1, 4)
    alone = opened(tmp_path, [X, STATE], {"x": counted(5, 3), "state": whole})
    assert alone.run_size == 1
    np.testing.assert_array_equal(alone.feed(np.array([3]))["state"], whole[3])
    together = opened(tmp_path, [X, STATE], {"x": counted(5, 3), "state": np.repeat(whole[:1], 5, axis=0)})
    assert together.run_size is None
    np.testing.assert_array_equal(together.feed(np.array([3, 4]))["state"], whole[0])


def test_a_fixed_batch_is_filled_with_its_last_sample(tmp_path: Path) -> None:
    specs = [TensorSpec("x", F32, (4, 3)), TensorSpec("state", F32, (2, 4, 4), batch_axis=1)]
    arrays = {"x": counted(5, 3), "state": counted(5, 2, 4)}
    dataset = opened(tmp_path, specs, arrays)
    assert (dataset.run_size, dataset.rows) == (4, 4)
    feed = dataset.feed(np.array([2, 0]))
    np.testing.assert_array_equal(feed["x"], arrays["x"][[2, 0, 0, 0]])
    np.testing.assert_array_equal(feed["state"], arrays["state"][[2, 0, 0, 0]].transpose(1, 0, 2))


def test_a_fixed_batch_beside_a_whole_input_is_filled_with_one_sample(tmp_path: Path) -> None:
    dataset = opened(tmp_path, [TensorSpec("x", F32, (4, 3)), NUMBER], {"x": counted(5, 3), "rate": np.arange(5)})
    assert (dataset.run_size, dataset.rows) == (1, 4)
    feed = dataset.feed(np.array([3]))
    assert feed["x"].shape == (4, 3)
    assert feed["rate"] == 3


def test_two_fixed_batches_are_refused(tmp_path: Path) -> None:
    specs = [TensorSpec("x", F32, (4, 3)), TensorSpec("y", F32, (2, 3))]
    with pytest.raises(DataError, match="the inputs fix different batches: 'x' of 4, 'y' of 2; give every sample all"):
        opened(tmp_path, specs, {"x": counted(5, 3), "y": counted(5, 3)})


def test_numbers_alone_say_nothing_of_how_many_samples_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has a single number for input 'rate'; its first axis must be the samples"):
        opened(tmp_path, [NUMBER], {"rate": np.array(3)})
    assert opened(tmp_path, [NUMBER], {"rate": np.arange(3)}).run_size == 1


def test_the_same_numbers_for_all_have_one_fingerprint_and_others_another(tmp_path: Path) -> None:
    prints = [
        opened(tmp_path, [X, NUMBER], {"x": counted(5, 3), "rate": np.array(rate)}).fingerprint() for rate in (3, 3, 4)
    ]
    assert prints[0] == prints[1] != prints[2]


def test_an_optional_input_may_be_left_out_and_one_with_a_default_too(tmp_path: Path) -> None:
    specs = [X, MORE, BIAS]
    assert list(opened(tmp_path, specs, {"x": counted(5, 3)}).batch(np.arange(2))) == ["x"]
    assert list(opened(tmp_path, specs, {"any_name": counted(5, 3)}).batch(np.arange(2))) == ["x"]
    full = {"bias": np.repeat(counted(1, 3), 5, axis=0), "x": counted(5, 3), "more": counted(5, 3)}
    dataset = opened(tmp_path, specs, full)
    feed = dataset.batch(np.arange(2))
    assert list(feed) == ["x", "more", "bias"]
    assert feed["bias"].shape == (3,)
    with pytest.raises(DataError, match=r"with no axis for samples; give every sample all of it: save 2 dimensions"):
        opened(tmp_path, specs, {"x": counted(3, 3), "bias": counted(3)})
    with pytest.raises(DataError, match=r"its inputs: 'x', 'more'\)"):
        opened(tmp_path, specs, {"x": counted(5, 3), "nothing": counted(5, 3)})


def test_an_input_of_any_rank_has_its_samples_first(tmp_path: Path) -> None:
    dataset = opened(tmp_path, [TensorSpec("x", F32, None)], {"x": counted(5, 3, 2)})
    assert dataset.batch(np.arange(2))["x"].shape == (2, 3, 2)
    with pytest.raises(DataError, match="has a single number for input 'a'"):
        opened(tmp_path, [TensorSpec("a", F32, None), X], {"a": np.array(1, np.float32), "x": counted(5, 3)})
    with pytest.raises(DataError, match="is float32 of any rank, and random samples need a shape"):
        open_dataset("random:3", [TensorSpec("x", F32, None)])


def test_whole_inputs_are_preprocessed_like_others(tmp_path: Path) -> None:
    spec = TensorSpec("x", F32, ("T",))
    samples = np.arange(12, dtype=np.uint8).reshape(4, 3)
    np.save(tmp_path / "d.npy", samples)
    dataset = open_dataset(str(tmp_path / "d.npy"), [spec], Preprocessing(scale=2.0))
    assert not dataset.batched
    np.testing.assert_array_equal(dataset.batch(np.array([2]))["x"], np.array([3, 3.5, 4], np.float32))


@pytest.mark.parametrize(("second", "message"), [(3, None), (4, r"part-1\.npz' has 4; give one number a sample")])
def test_shards_hold_one_number_for_all(second: int, message: str | None, tmp_path: Path) -> None:
    for part, rate in enumerate((3, second)):
        np.savez(tmp_path / f"part-{part}.npz", x=counted(2, 3), rate=np.array(rate))
    if message is None:
        assert open_dataset(str(tmp_path), [X, NUMBER]).batch(np.arange(4))["rate"] == 3
    else:
        with pytest.raises(DataError, match=message):
            open_dataset(str(tmp_path), [X, NUMBER])


class TestDims:
    SPECS = (TensorSpec("x", F32, ("N", None, "T")), TensorSpec("a:0", F32, ("N", "T")), NUMBER, BIAS)

    def test_a_name_is_given_a_length_everywhere(self) -> None:
        x, other, number, _ = with_dims(self.SPECS, {"T": 5})
        assert (x.shape, other.shape, number.shape) == (("N", None, 5), ("N", 5), ())

    def test_an_axis_is_given_a_length_by_input_and_number(self) -> None:
        x, other, *_ = with_dims(self.SPECS, {"x:1": 5, "a:0:1": 6})
        assert (x.shape, other.shape) == (("N", 5, "T"), ("N", 6))

    @pytest.mark.parametrize("text", ["U", "x:3", "x:-1", "y:0", "bias:0", "x"])
    def test_what_is_no_dynamic_axis_is_refused_with_those_that_are(self, text: str) -> None:
        with pytest.raises(UsageError, match="N, T, x:1"):
            with_dims(self.SPECS, {text: 5})

    def test_a_length_below_one_is_refused(self) -> None:
        with pytest.raises(UsageError, match="--dim T=0 is not a length"):
            with_dims(self.SPECS, {"T": 0})
