"""Rounding to few bits, against values worked out by hand and laws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from onnxsens.techniques import make_technique
from onnxsens.techniques.bits import Bits, bits_at

LEVELS = {8: 0.75, 7: 0.78125, 6: 0.8125, 5: 0.84375, 4: 0.875, 3: 0.90625, 2: 0.9375}
WEIGHTS = arrays(np.float32, (3, 5), elements=st.floats(-4, 4, width=32))


def rounded(values: list[float], bits: int) -> np.ndarray:
    return Bits().once(np.array([values], np.float32), LEVELS[bits])[0]


def test_two_bits_leave_the_largest_zero_and_its_opposite() -> None:
    np.testing.assert_array_equal(rounded([-1, 0.4, 0.6, 0.1, -0.6], 2), [-1, 0, 1, 0, -1])


def test_three_bits_leave_three_values_to_each_side() -> None:
    # A step is 3 / 3 = 1.
    np.testing.assert_array_equal(rounded([3, 1.4, -1.6, 0.4, 2.2], 3), [3, 1, -2, 0, 2])


def test_eight_bits_leave_127_values_to_each_side() -> None:
    # A step is 12.7 / 127 = 0.1.
    np.testing.assert_allclose(rounded([12.7, 0.14, -0.16, 0.04, 6.32], 8), [12.7, 0.1, -0.2, 0, 6.3], rtol=1e-6)


def test_each_row_has_a_scale_of_its_own() -> None:
    found = Bits().once(np.array([[1, 0.4], [100, 60], [0, 0]], np.float32), LEVELS[2])
    np.testing.assert_array_equal(found, [[1, 0], [100, 100], [0, 0]])


@pytest.mark.parametrize(("bits", "level"), LEVELS.items())
def test_a_level_is_the_share_of_32_bits_that_is_saved(bits: int, level: float) -> None:
    assert level == 1 - bits / 32
    assert bits_at(level) == bits
    assert Bits().setting(level) == bits
    assert bits_at(level + 0.01) == bits  # up to the next number
    assert Bits().steps((4, 16), level) == 64 * (32 - bits) // 32


@pytest.mark.parametrize("level", [0.0, 0.3, 0.7499])
def test_below_three_quarters_nothing_changes(level: float) -> None:
    weight = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    weight[0, 0] = -0.0
    found = Bits().once(weight, level)
    assert bits_at(level) == 32
    assert found.tobytes() == weight.tobytes() and found is not weight
    assert Bits().steps(weight.shape, level) == 0


@pytest.mark.parametrize("level", [0.95, 0.99, 1.0])
def test_above_the_fewest_there_are_still_two_bits(level: float) -> None:
    assert bits_at(level) == 2


@given(WEIGHTS, st.sampled_from(sorted(LEVELS)))
def test_rounding_keeps_the_largest_and_zeros_is_no_more_than_half_a_step_off_and_is_done_once(
    weight: np.ndarray, bits: int
) -> None:
    before = weight.copy()
    found = Bits().once(weight, LEVELS[bits])
    np.testing.assert_array_equal(weight, before)
    assert found.dtype == np.float32
    assert not np.signbit(found[found == 0]).any()
    assert not found[weight == 0].any()
    largest = np.abs(weight).max(axis=1)
    np.testing.assert_array_equal(np.abs(found).max(axis=1), largest)
    steps = 2 ** (bits - 1) - 1
    off = np.abs(found.astype(np.float64) - weight)
    assert (off <= largest[:, None] / steps * 0.500001 + 1e-44).all()
    for each in found:
        assert len(np.unique(each)) <= 2 * steps + 1
    np.testing.assert_array_equal(Bits().once(found, LEVELS[bits]), found)


@pytest.mark.parametrize("largest", [1e-45, 3e-44, 1e-38])
def test_the_smallest_numbers_that_there_are_do_no_harm(largest: float) -> None:
    found = rounded([largest, 0, -largest], 8)
    np.testing.assert_array_equal(found, np.array([largest, 0, -largest], np.float32))


def test_the_error_grows_as_bits_become_fewer() -> None:
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    prepared = Bits().prepare(weight)
    errors = [float(np.square(prepared.at(LEVELS[bits]) - weight).mean()) for bits in sorted(LEVELS, reverse=True)]
    assert errors == sorted(errors) and len(set(errors)) == len(errors)
    assert errors[0] < 1e-3 < errors[-1]


def test_it_is_made_by_its_name_and_needs_nothing_but_the_weight() -> None:
    technique = make_technique("bits")
    assert isinstance(technique, Bits) and technique == make_technique(technique.name)
    assert (technique.level_kind, technique.pattern_name, technique.needs_moments) == ("bits", None, False)
    assert technique.without_moments() is technique
    weight = np.random.default_rng(1).standard_normal((4, 9)).astype(np.float32)
    np.testing.assert_array_equal(technique.prepare(weight).at(0.9), technique.once(weight, 0.9))


def test_a_weight_of_fewer_elements_than_bits_is_left_alone_and_says_why() -> None:
    assert Bits().refuses((1, 31), 31) == "its 31 elements are too few to be worth it"
    assert Bits().refuses((1, 32), 32) is None
    assert len({Bits().steps((1, 32), level) for level in [0, *LEVELS.values()]}) == len(LEVELS) + 1
