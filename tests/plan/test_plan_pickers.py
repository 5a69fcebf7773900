"""Pickers: arithmetic that can be checked by hand, and laws that all keep."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fakes import KnownCurves
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
from onnxsens.scan import Nobody, Sampling, Scanner, Store
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
