"""Curves."""

import math

import pytest

from onnxsens.scan import Curve, tolerance
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.searches import Observed

CURVE = Curve("w", 10, (Observed(0.4, 0.02), Observed(0.8, 0.1), Observed(0.6, math.nan)))


def test_drops_are_linear_between_points_and_the_dense_weight_is_one_of_them() -> None:
    assert CURVE.drop_at(0.2) == pytest.approx(0.01)
    assert CURVE.drop_at(0.6) == pytest.approx(0.06)
    assert CURVE.drop_at(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize(("limit", "level"), [(0.0, 0.0), (0.01, 0.2), (0.02, 0.4), (0.06, 0.6), (0.1, 0.8), (1, 0.8)])
def test_a_crossing_is_where_the_curve_passes_the_limit(limit: float, level: float) -> None:
    assert CURVE.crossing(tolerance(limit)) == pytest.approx(level)


def test_a_crossing_is_above_the_highest_accepted_point_also_behind_a_hump() -> None:
    curve = Curve("w", 10, (Observed(0.2, 0.5), Observed(0.5, 0.0), Observed(0.7, 0.4)))
    assert curve.crossing(tolerance(0.1)) == pytest.approx(0.55)


def test_a_weight_with_zeros_of_its_own_loses_nothing_up_to_them() -> None:
    curve = Curve("w", 10, (Observed(0.4, 0.0), Observed(0.8, 0.1)))
    assert curve.drop_at(0.2) == 0
    assert curve.crossing(tolerance(0.0)) == pytest.approx(0.4)
    assert curve.crossing(tolerance(0.05)) == pytest.approx(0.6)


class TestAPredictedShape:
    SHAPE = PredictedCurve("w", 1000, tuple(range(0, 1001, 100)), tuple((level / 10) ** 3 for level in range(11)))

    def test_says_nothing_without_a_measured_point_to_scale_it_by(self) -> None:
        curve = Curve("w", 1000, (), self.SHAPE)
        assert not curve.predicts
        assert curve.drop_at(0.5) == 0

    def test_is_scaled_by_one_point_and_goes_through_it(self) -> None:
        curve = Curve("w", 1000, (Observed(0.6, 2 * 0.6**4),), self.SHAPE)  # the power 4/3 of a third power
        assert curve.predicts
        for level in (0.1, 0.5, 0.6, 0.9, 1.0):
            assert curve.drop_at(level) == pytest.approx(2 * level**4)
        assert curve.crossing(tolerance(2 * 0.5**4)) == pytest.approx(0.5)
        assert curve.crossing(tolerance(5.0)) == 1.0

    def test_gives_way_to_every_point_that_was_measured(self) -> None:
        curve = Curve("w", 1000, (Observed(0.3, 0.5), Observed(0.6, 0.432), Observed(0.65, -0.1)), self.SHAPE)
        assert [curve.drop_at(point.level) for point in curve.points] == [0.5, 0.432, -0.1]

    def test_a_guess_stays_below_the_next_point_that_was_rejected(self) -> None:
        curve = Curve("w", 1000, (Observed(0.6, 0.01), Observed(0.7, 0.5)), self.SHAPE)
        assert 0.6 < curve.crossing(tolerance(0.2)) < 0.7

    def test_zeros_that_a_weight_has_already_cost_nothing(self) -> None:
        curve = Curve("w", 1000, (Observed(0.35, 0.0), Observed(0.6, 0.432)), self.SHAPE)
        assert curve.drop_at(0.35) == 0
        assert curve.drop_at(0.2) == 0
