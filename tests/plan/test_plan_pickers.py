"""Pickers: arithmetic that can be checked by hand, and laws that all keep."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from fakes import KnownCurves, NoisyCurves
from hypothesis import given
from hypothesis import strategies as st
from networks import convolutional, saved

from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.boldness import boldest
from onnxsens.plan.ensemble import agreement
from onnxsens.plan.pickers import MEMBERS, Ground, Picker, pickers, scaled
from onnxsens.plan.pickers.contract import PickerContract
from onnxsens.plan.pickers.erk import erk_densities
from onnxsens.plan.pickers.lamp import lamp_scores
from onnxsens.plan.pickers.picker import TargetFamily
from onnxsens.plan.pickers.tolerances import OCTAVES, SMALLEST_UNIT, ToleranceFamily, probe, size_shares
from onnxsens.scan import Grid, Nobody, Sampling, Scanner, Store
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.searches import PROBE_LEVEL
from onnxsens.techniques import make_technique

SENSITIVITY = {"first": 4.0, "depthwise": 8.0, "up": 1.0, "head": 0.5}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    evaluator = KnownCurves(lambda weight, level: SENSITIVITY[weight] * level**2)
    with Store(tmp_path, {}, {}, "a test") as store:
        scanner = Scanner(
            store,
            evaluator,
            inventory,
            make_technique("magnitude"),
            ["kl"],
            Sampling(10),
            {"search": 10, "holdout": 10},
            Nobody(),
        )
        yield Ground(
            scanner,
            inventory.weights,
            lambda weight: dense_matrix(model, weight),
            "kl",
            0.05,
            0.01,
        )


class TestEveryBuiltIn(PickerContract):
    @pytest.fixture(params=pickers.names())
    def picker(self, request: pytest.FixtureRequest) -> Picker:
        made: Picker = pickers.get(request.param)()
        return made


def test_the_ensemble_asks_every_picker_but_those_that_are_compared_with_or_cannot_beat_the_knapsack() -> None:
    assert sorted([*MEMBERS, "greedy", "lagrangian", "one-tolerance"]) == pickers.names()


@pytest.mark.parametrize("name", ["top-down", "sweet-spotter"])
def test_what_a_search_settles_on_keeps_the_tolerance_of_each_weight(name: str, ground: Ground) -> None:
    family = pickers.get(name)().family(ground)
    sizes = {weight.name: weight.size for weight in ground.weights}
    mean = sum(sizes.values()) / len(sizes)
    for boldness in (14.0, 17.0, 19.0):
        levels = family.settle(boldness)
        assert levels is not None
        limits = {weight.name: family.limit(weight, boldness) for weight in ground.weights}
        ratio = limits["first"] / sizes["first"]
        for weight in ground.weights:
            assert limits[weight.name] == pytest.approx(ratio * weight.size)
            zeros = ground.scanner.zeros(weight, levels[weight.name])
            assert SENSITIVITY[weight.name] * (zeros / weight.size) ** 2 <= limits[weight.name] + 1.0 / mean
    assert family.limit(ground.weights[0], 1.0) == 0


def test_erk_is_the_formula_of_the_paper() -> None:
    """Conv 4x2x3x3: (4+2+3+3)/72 = 1/6 of it kept per unit of e; Gemm 5x6: 11/30."""
    [conv, gemm] = erk_densities([(4, 2, 3, 3), (5, 6)], 0.2)
    scale = 0.2 * 102 / (72 / 6 + 11)
    assert conv == pytest.approx(scale / 6)
    assert gemm == pytest.approx(scale * 11 / 30)


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6), st.floats(0.01, 1))
def test_erk_meets_its_density_with_none_above_one(shapes: list[tuple[int, ...]], density: float) -> None:
    densities = erk_densities(shapes, density)
    sizes = [a * b for a, b in shapes]
    assert all(0 <= d <= 1 + 1e-9 for d in densities)
    assert sum(d * s for d, s in zip(densities, sizes, strict=True)) == pytest.approx(density * sum(sizes))


def test_at_full_density_every_weight_is_full_also_where_rounding_says_more() -> None:
    """450 / 43 times 43 / 450 is a rounding above 1, which leaves no weight to share the rest."""
    assert erk_densities([(25, 18)], 1.0) == [1.0]


def test_lamp_scores_are_the_formula_of_the_paper() -> None:
    """Squares 1, 4, 9 ascending: 1/14, 4/13, 9/9."""
    scores = lamp_scores(np.array([[3.0, -1.0], [2.0, 0.0]], np.float32))
    np.testing.assert_allclose(scores, [0, 1 / 14, 4 / 13, 1])


def test_a_weight_that_is_zero_has_lamp_scores_of_zero() -> None:
    for size in range(1, 60):
        assert np.ones(size).all()  # so that memory that is left as it was found is not zero
        assert not lamp_scores(np.zeros((1, size), np.float32)).any()


def test_lamp_keeps_the_highest_scores_of_all_weights_together(ground: Ground) -> None:
    levels = pickers.get("lamp")().family(ground).propose(0.6)
    scored = sorted(
        (score, weight.name) for weight in ground.weights for score in lamp_scores(ground.matrix(weight)).tolist()
    )
    dropped = [name for _, name in scored[: round(0.6 * len(scored))]]
    for weight in ground.weights:
        assert levels[weight.name] * weight.size == pytest.approx(dropped.count(weight.name))


def test_scaling_is_a_power_of_the_compression_ratio() -> None:
    assert scaled({"a": 0.75}, 0.5) == {"a": pytest.approx(0.5)}
    assert scaled({"a": 0.75, "b": 1.0}, 0.0) == {"a": 0.0, "b": 0.0}
    assert scaled({"a": 0.75, "b": 1.0}, 1.0) == {"a": 0.75, "b": 1.0}


@given(st.floats(0, 1), st.floats(0.05, 0.9), st.floats(0.01, 0.3))
def test_the_boldest_accepted_plan_is_found_to_the_precision_from_any_start(
    edge: float, start: float, stride: float
) -> None:
    family = TargetFamily(lambda target: {})
    asked: list[float] = []

    def accepted(boldness: float) -> bool:
        asked.append(boldness)
        return boldness <= edge

    found = boldest(accepted, family, start, stride)
    assert found <= edge
    assert min(edge, family.highest) - found <= family.precision + 1e-12
    assert len(asked) < 25


def test_members_that_agree_are_at_distance_zero() -> None:
    plan = {"a": 0.5, "b": 0.1}
    assert agreement({"x": plan, "y": dict(plan)}, {"a": 3, "b": 1}) == 0
    assert agreement({"x": plan, "y": {"a": 0.7, "b": 0.1}}, {"a": 3, "b": 1}) == pytest.approx(0.15)
    assert agreement({"x": plan}, {"a": 3, "b": 1}) is None


SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}
SAMPLES = 4000


def squared(weight: str, level: float) -> float:
    """Of the zeros that there are, not of the level that was asked for."""
    return SENSITIVITY[weight] * (round(level * SIZES[weight]) / SIZES[weight]) ** 2


@contextmanager
def noisy_ground(folder: Path, evaluator: KnownCurves) -> Iterator[Ground]:
    """Samples are taken in blocks, until a question is answered."""
    folder.mkdir(exist_ok=True)
    model = load_model(saved(convolutional(), folder / "m.onnx"))
    inventory = take_inventory(model)
    sizes = {"search": SAMPLES, "holdout": SAMPLES}
    sampling = Sampling(SAMPLES, exact=False)
    technique = make_technique("magnitude")
    with Store(folder, {}, {}, "a test") as store:
        scanner = Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody())
        yield Ground(scanner, inventory.weights, lambda weight: dense_matrix(model, weight), "kl", 0.05, 0.01)


def predict(ground: Ground) -> None:
    """The shapes of the curves as a calibration pass would tell them: their power 4/3 is the square of the level."""
    shapes = {
        name: PredictedCurve(name, size, tuple(range(size + 1)), tuple((n / size) ** 1.5 for n in range(size + 1)))
        for name, size in SIZES.items()
    }
    ground.scanner.predict(shapes, "kl")


def levels_asked(ground: Ground) -> dict[str, list[float]]:
    """By weight, without the probe."""
    asked: dict[str, list[float]] = {name: [] for name in SIZES}
    for point in ground.scanner.levels():
        if point.asked != PROBE_LEVEL:
            asked[point.weight].append(point.asked)
    return asked


def limits_of(family: ToleranceFamily, ground: Ground, boldness: float) -> dict[str, float]:
    return {weight.name: family.limit(weight, boldness) for weight in ground.weights}


class TestTolerances:
    def test_the_unit_is_the_median_of_what_60_percent_costs_for_a_weights_share(self, ground: Ground) -> None:
        family = ToleranceFamily(ground, Grid(), Grid())
        shares = {name: size / 46.5 for name, size in SIZES.items()}  # of 186 elements in four weights
        assert size_shares(ground) == pytest.approx(shares)
        costs = {name: SENSITIVITY[name] * PROBE_LEVEL**2 for name in SIZES}
        assert probe(ground) == pytest.approx(costs)
        unit = median(costs[name] / shares[name] for name in SIZES)
        for octave in (-3, 0, 5):
            limits = {name: unit * shares[name] * 2**octave for name in SIZES}
            assert limits_of(family, ground, 1 + OCTAVES + octave) == pytest.approx(limits)
        assert set(limits_of(family, ground, 1.0).values()) == {0.0}
        assert min(limits_of(family, ground, 1.01).values()) > 0

    def test_shares_that_are_given_are_taken(self, ground: Ground) -> None:
        family = ToleranceFamily(ground, Grid(), Grid(), dict.fromkeys(SIZES, 1.0))
        unit = median(SENSITIVITY[name] * PROBE_LEVEL**2 for name in SIZES)
        assert limits_of(family, ground, 1 + OCTAVES) == pytest.approx(dict.fromkeys(SIZES, unit))

    def test_shares_follow_what_a_zero_is_worth(self, ground: Ground) -> None:
        priced = replace(ground, prices={"up": 3, "head": 2})
        worth = {"first": 72, "depthwise": 36, "up": 144, "head": 60}
        assert size_shares(priced) == pytest.approx({name: each / 78 for name, each in worth.items()})

    def test_what_costs_nothing_or_less_has_no_part_in_the_unit(self, tmp_path: Path) -> None:
        costs = {"first": 0.0, "depthwise": 0.36, "up": -1.0, "head": 0.06}
        with noisy_ground(tmp_path / "some", KnownCurves(lambda weight, level: costs[weight])) as ground:
            family = ToleranceFamily(ground, Grid(), Grid(), dict.fromkeys(SIZES, 1.0))
            assert limits_of(family, ground, 1 + OCTAVES)["first"] == pytest.approx((0.36 + 0.06) / 2)
        with noisy_ground(tmp_path / "none", KnownCurves(lambda weight, level: -level)) as ground:
            family = ToleranceFamily(ground, Grid(), Grid(), dict.fromkeys(SIZES, 1.0))
            assert limits_of(family, ground, 1 + OCTAVES)["first"] == SMALLEST_UNIT

    def test_it_begins_three_octaves_below_the_unit_and_ends_sixteen_above(self, ground: Ground) -> None:
        family = ToleranceFamily(ground, Grid(), Grid())
        assert (family.highest, family.start, family.stride, family.precision) == (33.0, 14.0, 1.0, 0.125)

    @pytest.mark.parametrize("name", ["top-down", "sweet-spotter", "one-tolerance"])
    def test_a_prediction_that_is_right_needs_the_probe_alone(self, tmp_path: Path, name: str) -> None:
        with noisy_ground(tmp_path, KnownCurves(squared)) as ground:
            predict(ground)
            family = pickers.get(name)().family(ground)
            for boldness in (14.0, 16.0, 18.0):
                limits = limits_of(family, ground, boldness)
                expected = {each: min(math.sqrt(limits[each] / SENSITIVITY[each]), 1.0) for each in SIZES}
                assert family.propose(boldness) == pytest.approx(expected, abs=0.02)
            assert not any(levels_asked(ground).values())

    def test_without_a_prediction_it_looks_once_around_the_limit(self, ground: Ground) -> None:
        family = pickers.get("top-down")().family(ground)
        assert not any(levels_asked(ground).values())
        limits = limits_of(family, ground, 17.0)
        levels = family.propose(17.0)
        asked = levels_asked(ground)
        for name, size in SIZES.items():
            exact = min(math.sqrt(limits[name] / SENSITIVITY[name]), 1.0)
            assert levels[name] == pytest.approx(exact, abs=0.05 + 1 / size)
            assert max(asked[name]) == 1.0  # from the top, step by step
            assert not asked[name] or min(asked[name]) > exact - 0.05 - 2 / size
        assert family.propose(17.0) == levels
        assert levels_asked(ground) == asked

    def test_below_boldness_1_the_plan_that_costs_nothing_is_scaled(self, tmp_path: Path) -> None:
        def free(weight: str, level: float) -> float:
            return max(0.0, level - 0.4)

        with noisy_ground(tmp_path, KnownCurves(free)) as ground:
            family = pickers.get("top-down")().family(ground)
            full = family.propose(1.0)
            assert full == pytest.approx(dict.fromkeys(SIZES, 0.4), abs=0.06)
            assert family.propose(0.5) == scaled(full, 0.5)
            assert set(family.propose(0.0).values()) == {0.0}
            settled = family.settle(1.0)
            assert family.settle(0.5) == scaled(settled, 0.5)

    @pytest.mark.parametrize("name", ["top-down", "sweet-spotter"])
    def test_a_search_begins_where_a_prediction_puts_the_answer(self, tmp_path: Path, name: str) -> None:
        counts = {}
        for folder, prepare in (("predicted", predict), ("unknown", lambda ground: None)):
            with noisy_ground(tmp_path / folder, KnownCurves(squared)) as ground:
                prepare(ground)
                family = pickers.get(name)().family(ground)
                limits = limits_of(family, ground, 16.0)
                picks = family.picks(16.0)
                assert family.settle(16.0) == {weight: pick.level for weight, pick in picks.items()}
                for weight, size in SIZES.items():
                    exact = min(math.sqrt(limits[weight] / SENSITIVITY[weight]), 1.0)
                    assert exact - 0.05 - 2 / size <= picks[weight].level <= exact + 1 / size
                counts[folder] = sum(map(len, levels_asked(ground).values()))
        assert counts["predicted"] < counts["unknown"]

    @pytest.mark.parametrize("prepare", [predict, lambda ground: None])
    def test_with_few_samples_it_settles_by_its_coarse_form_on_no_more_of_them(
        self, tmp_path: Path, prepare: Callable[[Ground], None]
    ) -> None:
        evaluator = NoisyCurves(squared, SAMPLES)
        with noisy_ground(tmp_path, evaluator) as ground:
            prepare(ground)
            family = pickers.get("top-down")().family(ground)
            evaluator.taken.clear()
            for boldness in (14.0, 15.0, 16.0, 17.0):
                levels = family.settle(boldness, 256)
                assert levels == family.propose(boldness)
                limits = limits_of(family, ground, boldness)
                for weight, size in SIZES.items():
                    exact = min(math.sqrt(limits[weight] / SENSITIVITY[weight]), 1.0)
                    assert levels[weight] == pytest.approx(exact, abs=0.06 + 2 / size)
            assert evaluator.taken
            assert {max(samples) for samples in evaluator.taken.values()} == {255}

    @pytest.mark.parametrize("name", ["top-down", "one-tolerance"])
    def test_a_walk_brackets_by_the_step_and_settles_by_the_resolution(self, ground: Ground, name: str) -> None:
        coarse = replace(ground, step=0.2, resolution=0.1)
        family = pickers.get(name)().family(coarse)
        family.propose(17.0)
        steps = {level for levels in levels_asked(coarse).values() for level in levels}
        assert steps <= {1.0, 0.8, 0.6, 0.4, 0.2}
        picks = family.picks(17.0)
        finer = {level for levels in levels_asked(coarse).values() for level in levels} - steps
        assert finer
        assert finer <= {0.9, 0.7, 0.5, 0.3, 0.1}
        for weight, limit in limits_of(family, coarse, 17.0).items():
            exact = min(math.sqrt(limit / SENSITIVITY[weight]), 1.0)
            assert exact - 0.1 - 1 / SIZES[weight] <= picks[weight].level <= exact + 1 / SIZES[weight]

    def test_a_sweet_spot_is_settled_by_the_resolution_with_14_levels_at_most(self, ground: Ground) -> None:
        family = pickers.get("sweet-spotter")().family(replace(ground, resolution=1e-9))
        assert {pick.why.split("; ")[1] for pick in family.picks(16.0).values()} == {"stopped after 14 levels"}
        rough = pickers.get("sweet-spotter")().family(replace(ground, resolution=1.0))
        before = len(ground.scanner.levels())
        assert not any("stopped" in pick.why for pick in rough.picks(16.0).values())
        assert len(ground.scanner.levels()) == before  # the first round is known, and is fine enough

    def test_one_tolerance_is_the_same_for_weights_of_all_sizes(self, ground: Ground) -> None:
        family = pickers.get("one-tolerance")().family(ground)
        unit = median(SENSITIVITY[name] * PROBE_LEVEL**2 for name in SIZES)
        assert limits_of(family, ground, 18.0) == pytest.approx(dict.fromkeys(SIZES, 2 * unit))
