"""Curves."""

import math

import pytest

from onnxsens.scan import Curve, tolerance
from onnxsens.scan.searches import Observed

CURVE = Curve("w", 10, (Observed(0.4, 0.02), Observed(0.8, 0.1), Observed(0.6, math.nan)))


def test_drops_are_linear_between_points_and_the_dense_weight_is_one_of_them() -> None:
    assert CURVE.drop_at(0.2) == pytest.approx(0.01)
    assert CURVE.drop_at(0.6) == pytest.approx(0.06)
    assert CURVE.drop_at(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(("limit", "level"), [(0.0, 0.0), (0.01, 0.2), (0.02, 0.4), (0.06, 0.6), (0.1, 0.8), (1, 0.8)])
def test_a_crossing_is_where_the_curve_passes_the_limit(limit: float, level: float) -> None:
    assert CURVE.crossing(tolerance(limit), limit) == pytest.approx(level)


def test_a_crossing_is_above_the_highest_accepted_point_also_behind_a_hump() -> None:
    curve = Curve("w", 10, (Observed(0.2, 0.5), Observed(0.5, 0.0), Observed(0.7, 0.4)))
    assert curve.crossing(tolerance(0.1), 0.1) == pytest.approx(0.55)


def test_a_weight_with_zeros_of_its_own_loses_nothing_up_to_them() -> None:
    curve = Curve("w", 10, (Observed(0.4, 0.0), Observed(0.8, 0.1)))
    assert curve.drop_at(0.2) == 0
    assert curve.crossing(tolerance(0.0), 0.0) == pytest.approx(0.4)
    assert curve.crossing(tolerance(0.05), 0.05) == pytest.approx(0.6)
