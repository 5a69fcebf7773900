"""Who wins, and on how many samples: the ensemble over an evaluator that knows its answers."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import NoisyCurves
from hypothesis import given
from hypothesis import strategies as st
from networks import convolutional, saved

from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.boldness import between, boldest_losing
from onnxsens.plan.ensemble import PASSING_LOOK, Accepts, Ensemble
from onnxsens.plan.pickers import MEMBERS, Ground, Levels
from onnxsens.plan.pickers.picker import TargetFamily
from onnxsens.plan.racing import race
from onnxsens.scan import Joint, Nobody, Sampling, Scanner, Store
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.techniques import make_technique

SAMPLES = 4000
SENSITIVITY = {"first": 0.4, "depthwise": 0.8, "up": 0.1, "head": 0.05}
SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}


def fourth(weight: str, level: float) -> float:
    return SENSITIVITY[weight] * (round(level * SIZES[weight]) / SIZES[weight]) ** 4


@pytest.fixture
def evaluator() -> NoisyCurves:
    return NoisyCurves(fourth)


@pytest.fixture
def ground(tmp_path: Path, evaluator: NoisyCurves) -> Iterator[Ground]:
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    with Store(tmp_path, {}, {}, "a test") as store:
        sizes = {"search": SAMPLES, "holdout": SAMPLES}
        sampling = Sampling(2000, exact=False)
        technique = make_technique("magnitude")
        scanner = Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody())
        yield Ground(scanner, inventory.weights, lambda weight: dense_matrix(model, weight), "kl", 0.05, 0.01)


def predicted(ground: Ground) -> None:
    """The shape of every curve, as a calibration pass would tell it: drops are its power 4/3."""
    shapes = {}
    for weight in ground.weights:
        zeros = tuple(range(weight.size + 1))
        errors = tuple((number / weight.size) ** 3 for number in zeros)
        shapes[weight.name] = PredictedCurve(weight.name, weight.size, zeros, errors)
    ground.scanner.predict(shapes, "kl")


def ensemble_of(ground: Ground, members: tuple[str, ...] = MEMBERS) -> Ensemble:
    scanner = ground.scanner

    def measure(levels: Levels, accepts: Accepts | None = None, most: int | None = None) -> Joint:
        decided = accepts and scanner.sampling.decided_joint(accepts, SAMPLES)
        return scanner.joint(levels, "search", ["kl"], decided, most)

    return Ensemble(ground, measure, lambda plans, metric: race(scanner, plans, metric), members)


def within(limit: float) -> Accepts:
    return lambda joint: joint.measurements["kl"].drop <= limit


class TestWithinALimit:
    @pytest.mark.parametrize("guess", [None, 0.05])
    def test_the_winner_is_accepted_on_all_samples_and_close_to_the_best_there_is(
        self, ground: Ground, guess: float | None
    ) -> None:
        predicted(ground)
        candidates = ensemble_of(ground).within(within(0.05), guess)
        best = candidates[0]
        assert best.joint.measurements["kl"].samples == SAMPLES
        assert best.joint.measurements["kl"].drop <= 0.05
        assert best.sparsity == max(candidate.sparsity for candidate in candidates)
        assert best.sparsity >= ideal_sparsity(0.05) - 0.03

    def test_losers_cost_a_few_samples(self, ground: Ground, evaluator: NoisyCurves) -> None:
        predicted(ground)
        candidates = ensemble_of(ground).within(within(0.05), 0.05)
        assert {candidate.picker for candidate in candidates} == set(MEMBERS)
        beaten = [candidate for candidate in candidates[1:] if candidate.sparsity < candidates[0].sparsity - 0.05]
        assert beaten
        assert all(candidate.joint.measurements["kl"].samples == PASSING_LOOK for candidate in beaten)
        whole = [counts for changes, counts in evaluator.taken.items() if len(changes) > 1 and len(counts) == SAMPLES]
        assert len(whole) <= 8

    def test_a_limit_that_nothing_keeps_gives_no_candidate(self, ground: Ground) -> None:
        assert ensemble_of(ground).within(lambda joint: False) == []

    def test_a_bolder_member_that_comes_later_wins(self, ground: Ground) -> None:
        predicted(ground)
        candidates = ensemble_of(ground, ("uniform", "knapsack")).within(within(0.05), 0.05)
        assert candidates[0].picker == "knapsack"
        assert candidates[0].joint.measurements["kl"].samples == SAMPLES
        assert candidates[0].joint.measurements["kl"].drop <= 0.05


def ideal_sparsity(limit: float) -> float:
    """Were levels continuous and samples without noise: equal slopes, found by bisection of the common one."""
    size = sum(SIZES.values())
    low, high = 0.0, 10.0
    for _ in range(100):
        slope = (low + high) / 2
        levels = {
            name: min((slope * SIZES[name] / size / (4 * cost)) ** (1 / 3), 1.0) for name, cost in SENSITIVITY.items()
        }
        loss = sum(SENSITIVITY[name] * level**4 for name, level in levels.items())
        low, high = (slope, high) if loss <= limit else (low, slope)
    return sum(SIZES[name] * level for name, level in levels.items()) / size


class TestAtASparsity:
    def test_plans_race_and_only_the_winner_runs_to_the_end(self, ground: Ground) -> None:
        candidates = ensemble_of(ground).at(0.5)
        drops = {candidate.picker: candidate.joint.measurements["kl"] for candidate in candidates}
        assert drops[candidates[0].picker].samples == SAMPLES
        assert drops["uniform"].samples < SAMPLES
        truth = {c.picker: sum(fourth(name, level) for name, level in c.levels.items()) for c in candidates}
        assert truth[candidates[0].picker] <= min(truth.values()) * 1.05


class TestTheBoldestThatLosesNoMore:
    @given(
        at=st.floats(0.01, 0.99),
        power=st.floats(1.0, 6.0),
        start=st.floats(0.0, 1.0),
        stride=st.sampled_from([1 / 32, 1 / 8, 0.5]),
    )
    def test_is_found_to_the_precision_from_anywhere(
        self, at: float, power: float, start: float, stride: float
    ) -> None:
        family = TargetFamily(lambda target: {})
        asked: list[float] = []

        def drop(boldness: float) -> float:
            asked.append(boldness)
            return 3.0 * boldness**power

        found = boldest_losing(drop, 3.0 * at**power, family, start, stride, 1 / 64)
        assert found <= at + 1e-12
        assert found >= min(at, family.highest) - 1 / 64 - 1e-12
        assert len(asked) == len(set(asked)) <= 24

    def test_guesses_stay_well_inside_the_bracket(self) -> None:
        assert between(0.2, 0.1, 0.4, 0.4, 0.2) == pytest.approx(0.3)
        assert between(0.2, 0.0, 0.4, 0.4, 0.2) == pytest.approx(0.3)  # logarithms say nothing
        assert between(0.2, 0.1, 0.4, math.inf, 0.2) == pytest.approx(0.3)
        assert between(0.2, 0.1, 0.4, 100.0, 0.1001) == pytest.approx(0.22)
        assert np.isclose(between(0.2, 0.1, 0.4, 0.2001, 0.2), 0.38)
