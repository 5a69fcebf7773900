"""Whether a difference is more than noise: against the textbook, and by simulation where there is nothing but noise."""

from math import nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from onnxsens.contrast import Side, contrast
from onnxsens.contrast.noise import FEWEST_SAMPLES, beyond, holm, of_any, p_value
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord

TRIALS = 300
ALPHA = 0.05
# What three standard deviations of that many coin throws are above the stated rate.
BOUND = ALPHA + 3 * (ALPHA * (1 - ALPHA) / TRIALS) ** 0.5


@given(st.floats(-5, 5), st.floats(0.01, 3), st.floats(0.01, 3))
def test_it_is_the_two_sided_test_of_the_normal_distribution(difference: float, one: float, other: float) -> None:
    p = p_value(difference, one, other, 100)
    assert p == pytest.approx(2 * stats.norm.sf(abs(difference), scale=np.hypot(one, other)), rel=1e-9)


def test_a_value_worked_out_by_hand() -> None:
    assert p_value(1.96 * 5, 3, 4, 100) == pytest.approx(0.05, abs=1e-4)


def test_where_nothing_can_be_told_nothing_is() -> None:
    assert p_value(1.0, 0.1, 0.1, FEWEST_SAMPLES - 1) is None
    assert p_value(1.0, 0.0, 0.0, 100) is None
    assert p_value(nan, 0.1, 0.1, 100) is None
    assert p_value(0.0, 0.0, 0.0, 1) == 1.0


def test_holm_worked_out_by_hand() -> None:
    # 3 * 0.01; then max(0.03, 2 * 0.03); then max(0.06, 1 * 0.04)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, None, 0.02]) == [0.5, None, 0.04]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_closed_test_of_bonferroni(found: list[float]) -> None:
    """A hypothesis' corrected p-value is the largest Bonferroni p-value of all sets that it is in."""
    sets = [[i for i in range(len(found)) if number >> i & 1] for number in range(1, 2 ** len(found))]
    for place, corrected in enumerate(holm(list(found))):
        most = max(min(1.0, len(each) * min(found[i] for i in each)) for each in sets if place in each)
        assert corrected == pytest.approx(most)


def test_a_weight_counts_once() -> None:
    assert of_any([0.01, None, 0.5]) == pytest.approx(0.02)
    assert of_any([None]) is None
    assert of_any([0.9, 0.8]) == 1.0


def test_beyond_is_the_distance_to_what_is_spanned() -> None:
    assert [beyond(value, 3.0, 1.0) for value in (0.5, 1.0, 2.0, 3.0, 3.5)] == [-0.5, 0, 0, 0, 0.5]


def run_with(values: dict[str, np.ndarray], levels: tuple[float, ...]) -> RunRecord:
    """A run in which weights have these per-sample drops, `[levels, samples]`."""
    curves = []
    for name, drops in values.items():
        means, errors = drops.mean(axis=1), drops.std(axis=1, ddof=1) / drops.shape[1] ** 0.5
        points = tuple(
            CurvePoint(level, float(mean), float(mean - 2 * error), float(mean + 2 * error), drops.shape[1])
            for level, mean, error in zip(levels, means, errors, strict=True)
        )
        curves.append(MeasuredCurve(name, "magnitude", "kl", points))
    return RunRecord("m.onnx", "onnxsens 1", None, curves, {}, (), technique="magnitude", search_metric="kl")


def alarms(draw, levels: tuple[float, ...], others: tuple[float, ...], seed: int) -> float:  # noqa: ANN001
    """The share of trials in which anything is said to be more than noise."""
    told = 0
    for trial in range(TRIALS):
        a, b = draw(np.random.default_rng([seed, trial]))
        found = contrast(Side(run_with(a, levels)), Side(run_with(b, others)), alpha=ALPHA)
        assert len(found.curves) == len(a)
        told += found.more_than_noise
    return told / TRIALS


LEVELS = (0.2, 0.4, 0.6, 0.8)


def sample(random: np.random.Generator, hardness: np.ndarray, levels: tuple[float, ...]) -> np.ndarray:
    """Skewed drops: a hard sample loses more at every level, so that levels go together. The mean is level cubed."""
    return np.array([level**3 * hardness * random.gamma(2, 0.5, hardness.size) for level in levels])


def test_with_other_samples_false_alarms_are_as_rare_as_stated() -> None:
    def draw(random: np.random.Generator) -> tuple[dict, dict]:
        runs = [{f"w{i}": sample(random, random.gamma(4, 0.25, 400), LEVELS) for i in range(6)} for _ in range(2)]
        return runs[0], runs[1]

    rate = alarms(draw, LEVELS, LEVELS, 1)
    assert rate <= BOUND


def test_with_the_same_samples_there_are_fewer_still() -> None:
    def draw(random: np.random.Generator) -> tuple[dict, dict]:
        hardness = random.gamma(1, 1, 400)
        runs = [{f"w{i}": sample(random, hardness, LEVELS) for i in range(6)} for _ in range(2)]
        return runs[0], runs[1]

    assert alarms(draw, LEVELS, LEVELS, 2) <= ALPHA / 2


def test_between_points_a_bent_curve_is_no_difference() -> None:
    """One run has other levels than the other; lines between them lie far from the curve, and alarm nobody."""

    def draw(random: np.random.Generator) -> tuple[dict, dict]:
        a = {"w": sample(random, random.gamma(4, 0.25, 2000), (0.5, 0.7))}
        return a, {"w": sample(random, random.gamma(4, 0.25, 2000), (0.2, 0.9))}

    assert alarms(draw, (0.5, 0.7), (0.2, 0.9), 3) <= BOUND
    # and the line is far away: 0.5 lies 3/7 between 0.2 and 0.9, at a drop of 0.317 where the curve has 0.125
    a, b = draw(np.random.default_rng(0))
    [curve] = contrast(Side(run_with(a, (0.5, 0.7))), Side(run_with(b, (0.2, 0.9)))).curves
    middle = next(point for point in curve.points if point.sparsity == 0.5)
    assert middle.measured == "a" and middle.difference > 5 * np.hypot(middle.a_error, middle.b_error)


def test_a_difference_that_is_there_is_found_in_its_weight() -> None:
    found = 0
    for trial in range(50):
        random = np.random.default_rng([4, trial])
        a, b = ({f"w{i}": sample(random, random.gamma(4, 0.25, 400), LEVELS) for i in range(6)} for _ in range(2))
        b["w3"] = b["w3"] * 1.5
        told = contrast(Side(run_with(a, LEVELS)), Side(run_with(b, LEVELS)))
        found += [curve.weight for curve in told.more_sensitive] == ["w3"]
    assert found >= 45
