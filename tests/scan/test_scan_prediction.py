"""Predicted curves: arithmetic, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.scan.prediction import POWER, PredictedCurve

CURVE = PredictedCurve("w", 100, (20, 40, 80), (0.008, 0.064, 0.512))  # the third power of the sparsity


@pytest.mark.parametrize("level", [0.0, 0.1, 0.2, 0.3, 0.55, 0.8, 0.9, 1.0])
def test_errors_lie_between_those_that_are_known(level: float) -> None:
    assert CURVE.error_at(level) == pytest.approx(level**3)


def test_errors_that_fall_are_levelled() -> None:
    curve = PredictedCurve("w", 10, (2, 4, 6), (0.1, 0.05, 1.2))
    assert [curve.error_at(level) for level in (0.2, 0.3, 0.4, 1.0)] == pytest.approx([0.1, 0.1, 0.1, 1.2])
    assert curve.errors == (0.1, 0.05, 1.2)


def test_one_measured_point_scales_the_whole_curve() -> None:
    scaled = CURVE.scaled([(0.4, 2.0)], power=1)
    assert scaled is not None
    assert [scaled.drop_at(level) for level in (0.0, 0.2, 0.4, 0.8)] == pytest.approx([0, 0.25, 2.0, 16.0])
    steeper = CURVE.scaled([(0.4, 2.0)])
    assert steeper is not None
    assert steeper.drop_at(0.8) == pytest.approx(2.0 * 8**POWER)


def test_the_curve_goes_through_all_measured_points() -> None:
    scaled = CURVE.scaled([(0.8, 3.0), (0.2, 0.5)], power=2)
    assert scaled is not None
    assert [scaled.drop_at(level) for level in (0.2, 0.8)] == pytest.approx([0.5, 3.0])
    assert scaled.drop_at(0.4) == pytest.approx(0.5 * 6**0.5)  # half of the way from 0.008 to 0.512 in logarithms
    assert scaled.drop_at(0.1) == pytest.approx(0.5 / 64)
    assert scaled.drop_at(1.0) == pytest.approx(3.0 * (1 / 0.512) ** 2)


def test_a_measured_drop_that_falls_is_levelled() -> None:
    scaled = CURVE.scaled([(0.2, 0.5), (0.4, 0.3), (0.8, 2.0)])
    assert scaled is not None
    assert [scaled.drop_at(level) for level in (0.2, 0.3, 0.4, 0.8)] == pytest.approx([0.5, 0.5, 0.5, 2.0])


def test_what_is_no_loss_says_nothing() -> None:
    assert CURVE.scaled([]) is None
    assert CURVE.scaled([(0.4, 0.0), (0.6, -0.1), (0.0, 1.0)]) is None
    one, other = CURVE.scaled([(0.4, 2.0)]), CURVE.scaled([(0.2, -0.1), (0.4, 2.0)])
    assert one == other


LEVELS = st.floats(0.01, 1)


@given(
    st.lists(st.tuples(st.integers(1, 49), st.floats(0, 1.5)), max_size=8, unique_by=lambda pair: pair[0]),
    st.lists(st.tuples(LEVELS, st.floats(-1, 5)), max_size=4),
    LEVELS,
    st.floats(0, 5),
)
def test_drops_never_fall_and_a_level_is_found_again(
    known: list[tuple[int, float]], measured: list[tuple[float, float]], level: float, limit: float
) -> None:
    known.sort()
    curve = PredictedCurve("w", 50, tuple(zeros for zeros, _ in known), tuple(error for _, error in known))
    scaled = curve.scaled(measured)
    if scaled is None:
        return
    drops = np.array([scaled.drop_at(each) for each in np.linspace(0, 1, 60)])
    assert drops[0] == 0
    assert (np.diff(drops) >= -1e-9 * drops[1:]).all()
    found = scaled.level_at(limit)
    assert scaled.drop_at(found) <= limit
    assert found == 1 or scaled.drop_at(min(found + 1e-6, 1.0)) >= limit * (1 - 1e-3)
