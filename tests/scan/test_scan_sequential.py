"""What all samples would say, predicted from the first: how often it is wrong, by simulation."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from onnxsens.arrays import Float64Array
from onnxsens.engine import Measurement
from onnxsens.plan.verification import predicted_bound
from onnxsens.scan.sequential import ALPHA, extremes, schedule

Rule = Callable[[Measurement], bool]
SAMPLES = 2000
RATIOS = (0.1, 0.5, 0.8, 0.95, 1.05, 1.25, 2.0, 10.0)  # of a limit to the true mean


def measurement(drops: Float64Array, *, binary: bool = False, dense: float = 0.0) -> Measurement:
    return Measurement(len(drops), float(drops.sum()), float(np.square(drops).sum()), dense, math.nan, binary=binary)


def outcomes(lost: int, gained: int) -> Float64Array:
    return np.repeat([1.0, -1.0, 0.0], [lost, gained, SAMPLES - lost - gained])


def mixed(rng: np.random.Generator, share: float) -> Float64Array:
    """Most drops tiny, a share of them large, as of KL."""
    large = rng.random(SAMPLES) < share
    return np.where(large, rng.exponential(1.0, SAMPLES), rng.exponential(0.01, SAMPLES))


POPULATIONS: dict[str, tuple[Callable[[np.random.Generator], Float64Array], dict[str, bool | float], bool]] = {
    "no difference": (lambda _: outcomes(0, 0), {"binary": True}, True),
    "0.2 % lost": (lambda _: outcomes(4, 0), {"binary": True}, True),
    "1 % lost, some gained": (lambda _: outcomes(20, 4), {"binary": True}, True),
    "10 % lost, 5 % gained": (lambda _: outcomes(200, 100), {"binary": True}, True),
    "few fractions": (lambda rng: np.where(rng.random(SAMPLES) < 0.05, rng.uniform(-0.5, 1, SAMPLES), 0), {}, True),
    "large fractions": (lambda rng: rng.normal(0.3, 0.2, SAMPLES).clip(-1, 1), {}, True),
    "lognormal": (lambda rng: rng.lognormal(0, 1.0, SAMPLES), {}, False),
    "skewed lognormal": (lambda rng: rng.lognormal(0, 1.5, SAMPLES), {}, False),
    "gamma": (lambda rng: rng.gamma(0.1, 1, SAMPLES), {}, False),
    "one in twenty large": (lambda rng: mixed(rng, 0.05), {}, False),
    "both signs": (lambda rng: rng.normal(0.1, 1, SAMPLES), {"dense": 0.3}, False),
    "both signs, skewed": (
        lambda rng: rng.exponential(1, SAMPLES) - rng.exponential(0.3, SAMPLES),
        {"dense": 1.0},
        False,
    ),
}


def decided(
    drops: Float64Array, rules: list[Rule], kind: dict[str, bool | float], *, bounded: bool
) -> list[tuple[bool, int]]:
    """The answer to each rule, and the samples that it took."""
    ends = schedule(len(drops))
    found: dict[int, tuple[bool, int]] = {}
    for end in ends:
        measured = measurement(drops[:end], **kind)  # type: ignore[arg-type]
        best, worst = extremes(measured, len(drops), alpha=ALPHA, looks=len(ends) - 1, bounded=bounded)
        for index, rule in enumerate(rules):
            if index not in found and rule(best) == rule(worst):
                found[index] = rule(worst), end
    return [found[index] for index in range(len(rules))]


def limits_of(drops: Float64Array) -> list[float]:
    mean = float(drops.mean())
    return [mean * ratio if mean else 0.02 * ratio for ratio in RATIOS]


def at_most(limit: float) -> Rule:
    return lambda measured: measured.drop <= limit


def bound_at_most(limit: float) -> Rule:
    return lambda measured: predicted_bound(measured, SAMPLES, 0.05) <= limit


@pytest.mark.parametrize("name", POPULATIONS)
def test_answers_differ_from_those_of_all_samples_no_more_often_than_stated(name: str) -> None:
    make, kind, bounded = POPULATIONS[name]
    rng = np.random.default_rng(2)
    drops = make(rng)
    runs = 60 if bounded else 400
    everything = measurement(drops, **kind)  # type: ignore[arg-type]
    plain = [at_most(limit) for limit in limits_of(drops)]
    middle = predicted_bound(everything, SAMPLES, 0.05)
    rules = plain + [bound_at_most(middle * ratio) for ratio in RATIOS]
    truth = [rule(everything) for rule in rules]
    answers = [decided(rng.permutation(drops), rules, kind, bounded=bounded) for _ in range(runs)]
    wrong = np.array([[answer != right for (answer, _), right in zip(each, truth, strict=True)] for each in answers])
    assert wrong.mean(axis=0).max() <= ALPHA + 3 * math.sqrt(ALPHA / runs)


@pytest.mark.parametrize(("name", "most"), [("lognormal", 300), ("gamma", 500), ("one in twenty large", 900)])
def test_a_limit_far_from_the_drop_takes_few_samples(name: str, most: int) -> None:
    make, kind, bounded = POPULATIONS[name]
    rng = np.random.default_rng(3)
    drops = make(rng)
    mean = float(drops.mean())
    for limit in (0.3 * mean, 3 * mean):
        taken = [decided(rng.permutation(drops), [at_most(limit)], kind, bounded=bounded)[0][1] for _ in range(30)]
        assert np.mean(taken) <= most


def test_no_difference_within_500_samples_shows_a_drop_of_at_most_two_points() -> None:
    [(answer, taken)] = decided(outcomes(0, 0), [at_most(0.02)], {"binary": True}, bounded=True)
    assert answer
    assert taken == 500


def test_blocks_double_until_all_samples_are_near() -> None:
    assert schedule(2000) == (250, 500, 1000, 2000)
    assert schedule(5000) == (250, 500, 1000, 2000, 5000)
    assert schedule(300) == (300,)
    assert schedule(1000, first=100) == (100, 200, 400, 1000)
    assert schedule(1) == (1,)


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_all_samples_are_their_own_extremes(bounded: bool, binary: bool) -> None:
    measured = measurement(outcomes(3, 2), binary=binary)
    assert extremes(measured, SAMPLES, alpha=0.01, looks=1, bounded=bounded) == (measured, measured)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_measured_drop_and_spread_lie_between_the_extremes_and_closer_with_more_samples(name: str) -> None:
    make, kind, bounded = POPULATIONS[name]
    drops = np.random.default_rng(4).permutation(make(np.random.default_rng(4)))
    widths = []
    for end in (250, 500, 1000, 1900):
        measured = measurement(drops[:end], **kind)  # type: ignore[arg-type]
        best, worst = extremes(measured, SAMPLES, alpha=0.01, looks=3, bounded=bounded)
        widths.append(worst.drop - best.drop)
        if not math.isfinite(worst.drop):
            continue
        assert best.samples == worst.samples == SAMPLES
        assert best.drop <= measured.drop <= worst.drop
        if not measured.binary:
            error = measured.standard_error * math.sqrt(end / SAMPLES)
            assert best.standard_error <= error * 1.01
            assert worst.standard_error >= error * 0.99
    assert all(later < earlier for earlier, later in pairwise(widths))


def test_counts_are_never_more_than_there_are_samples() -> None:
    ones = measurement(np.ones(250), binary=True)
    best, worst = extremes(ones, SAMPLES, alpha=0.01, looks=3, bounded=True)
    assert worst.drop == 1
    assert best.binary
    assert 0.9 < best.drop < 1
    assert best.squares <= SAMPLES


@pytest.mark.parametrize("drops", [np.zeros(250), np.full(250, 0.3), np.array([0.1, 0.2, 5.0])])
def test_equal_or_few_unbounded_drops_decide_nothing(drops: Float64Array) -> None:
    best, worst = extremes(measurement(drops), SAMPLES, alpha=0.01, looks=3, bounded=False)
    assert best.drop == -math.inf
    assert worst.drop == math.inf
    assert not at_most(1e9)(worst)
    assert at_most(0.0)(best)


def test_more_looks_leave_less_certainty_for_each() -> None:
    measured = measurement(np.random.default_rng(5).gamma(1, 1, 250))
    once, often = (extremes(measured, SAMPLES, alpha=0.01, looks=looks, bounded=False) for looks in (1, 6))
    assert often[0].drop < once[0].drop < once[1].drop < often[1].drop


def test_a_metric_of_the_whole_set_and_impossible_counts_are_refused() -> None:
    whole = Measurement(10, 1.0, 1.0, 0.9, 0.8, extendable=False)
    with pytest.raises(ValueError, match="whole set"):
        extremes(whole, 20, alpha=0.01, looks=1, bounded=True)
    with pytest.raises(ValueError, match="10 samples are more than the population of 5"):
        extremes(measurement(np.zeros(10)), 5, alpha=0.01, looks=1, bounded=True)
