"""What is held of the dense model, in memory and in a file."""

from pathlib import Path

import numpy as np
import pytest

from onnxsens.engine.answering import BatchKey
from onnxsens.engine.holding import Holding
from onnxsens.engine.spill import Spill

SIZE = 400


def key(number: int) -> BatchKey:
    return ("search", number, number + 1)


def tensor(number: int) -> np.ndarray:
    return np.full(SIZE // 4, number, np.float32)


def test_what_fits_is_held_and_what_is_never_needed_is_not() -> None:
    holding = Holding(10 * SIZE, None)
    holding.look_ahead({"a": 1}, set())
    holding.put("a", key(0), tensor(0))
    holding.put("b", key(0), tensor(1))
    assert holding.has("a", key(0))
    assert not holding.has("b", key(0))
    assert holding.held_bytes == SIZE
    np.testing.assert_array_equal(holding.get("a", key(0)), tensor(0))


def test_what_is_needed_last_goes_first() -> None:
    holding = Holding(3 * SIZE, None)
    holding.look_ahead({"soon": 0, "later": 1, "last": 2}, set())
    for name in ("later", "last", "soon"):
        holding.put(name, key(0), tensor(0))
    holding.put("soon", key(1), tensor(1))
    assert [holding.has(name, key(0)) for name in ("soon", "later", "last")] == [True, True, False]
    holding.put("soon", key(2), tensor(2))
    assert not holding.has("later", key(0))
    holding.put("later", key(1), tensor(3))
    assert not holding.has("later", key(1)), "it would push out what is needed before it"
    assert holding.held_bytes == 3 * SIZE


def test_the_budget_is_never_exceeded() -> None:
    rng = np.random.default_rng(0)
    holding = Holding(5 * SIZE, None)
    for step in range(300):
        holding.look_ahead({name: int(rng.integers(0, 5)) for name in "abcdef"}, set())
        name = str(rng.choice(list("abcdef")))
        holding.put(name, key(step % 7), tensor(step)[: int(rng.integers(1, SIZE // 4))])
        assert 0 <= holding.held_bytes <= 5 * SIZE


def test_what_does_not_fit_goes_to_the_file_and_comes_back(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "spill")
    holding = Holding(SIZE, spill)
    holding.look_ahead({"a": 0}, set())
    holding.spilling = True
    for number in range(20):
        holding.put("a", key(number), tensor(number))
    assert holding.held_bytes == SIZE
    for number in range(20):
        np.testing.assert_array_equal(holding.get("a", key(number)), tensor(number))
    assert list((tmp_path / "spill").iterdir()) == [], "the file has no name"
    holding.close()


def test_a_place_in_the_file_is_used_again_once_its_tensor_is_passed(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    holding = Holding(0, spill)
    holding.spilling = True
    for turn in range(5):
        holding.look_ahead({f"t{turn}": 0}, {f"t{turn - 1}"})
        for number in range(4):
            holding.put(f"t{turn}", key(number), tensor(number + turn))
        assert [float(holding.get(f"t{turn}", key(number))[0]) for number in range(4)] == [turn + n for n in range(4)]
    assert spill._end == 4 * SIZE
    holding.close()


@pytest.mark.parametrize("shape", [(), (1,), (3, 0), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.bool_])
def test_a_tensor_of_any_form_comes_back_as_it_was(tmp_path: Path, shape: tuple[int, ...], dtype: type) -> None:
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    holding = Holding(0, Spill(tmp_path))
    holding.spilling = True
    holding.look_ahead({"a": 0}, set())
    holding.put("a", key(0), values)
    found = holding.get("a", key(0))
    assert found.dtype == values.dtype
    assert found.shape == values.shape
    np.testing.assert_array_equal(found, values)
    holding.close()


def test_the_speed_of_the_disk_is_measured(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    write, read = spill.seconds_per_byte
    assert 0 < write < 1e-3
    assert 0 < read < 1e-3
    assert spill.fits(1)
    assert not spill.fits(2**62)
    spill.close()
