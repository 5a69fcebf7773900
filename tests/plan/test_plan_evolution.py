"""Refinement of a candidate on joint runs that know their answers: never worse, and pushed only to what is accepted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import KnownCurves, NoisyCurves
from hypothesis import given
from hypothesis import strategies as st
from networks import convolutional, saved

from onnxsens.model import load_model, take_inventory
from onnxsens.plan.constraints import Range
from onnxsens.plan.ensemble import Accepts, Candidate
from onnxsens.plan.evolution import NAME, Evolution, grown
from onnxsens.plan.pickers import Levels
from onnxsens.plan.pickers.allowed import Allowed, AnyLevel
from onnxsens.scan import Joint, Nobody, Sampling, Scanner, Store
from onnxsens.techniques import make_technique

SAMPLES = 1000
COST = {"first": 0.4, "depthwise": 0.8, "up": 0.1, "head": 0.05}
SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}
Make = Callable[..., tuple[Evolution, Candidate]]


def squared(weight: str, level: float) -> float:
    return COST[weight] * (round(level * SIZES[weight]) / SIZES[weight]) ** 2


@pytest.fixture(params=[KnownCurves, NoisyCurves])
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Make]:
    """An evolution, and a candidate of levels to begin with."""
    inventory = take_inventory(load_model(saved(convolutional(), tmp_path / "m.onnx")))
    with Store(tmp_path, {}, {}, "a test") as store:
        sizes = {"search": SAMPLES, "holdout": SAMPLES}
        sampling = Sampling(SAMPLES, exact=False)
        evaluator = request.param(squared)
        technique = make_technique("magnitude")
        scanner = Scanner(store, evaluator, inventory, technique, ["kl"], sampling, sizes, Nobody())

        def measure(levels: Levels, accepts: Accepts | None = None, most: int | None = None) -> Joint:
            return scanner.joint(levels, "search", ["kl"], accepts and sampling.decided_joint(accepts, SAMPLES), most)

        def made(levels: Levels, allowed: AnyLevel | None = None) -> tuple[Evolution, Candidate]:
            evolution = Evolution(scanner, inventory.weights, "kl", measure, allowed or {}, seed=0)
            return evolution, Candidate("uniform", True, levels, measure(levels))

        yield made


def drop(candidate: Candidate) -> float:
    assert candidate.joint.measurements["kl"].samples == SAMPLES
    return candidate.joint.measurements["kl"].drop


def zeros(levels: Levels) -> int:
    return sum(round(levels[name] * size) for name, size in SIZES.items())


EVEN = dict.fromkeys(SIZES, 0.5)


def test_the_same_zeros_lose_less(make: Make) -> None:
    evolution, start = make(EVEN)
    found = evolution.refined(start)
    assert found is not None
    assert found.picker == NAME and not found.baseline
    assert zeros(found.levels) == zeros(EVEN)
    assert drop(found) < 0.75 * drop(start)
    assert found.levels["depthwise"] < 0.5 < found.levels["head"]


def test_it_is_the_same_each_time(make: Make) -> None:
    evolution, start = make(EVEN)
    one, other = evolution.refined(start), evolution.refined(start)
    assert one is not None and other is not None
    assert one.levels == other.levels


def test_a_plan_that_cannot_be_bettered_is_left_alone(make: Make) -> None:
    """The one zero is where it costs the least; or all are zeros."""
    evolution, start = make({"first": 0.0, "depthwise": 0.0, "up": 1 / 48, "head": 0.0})
    assert evolution.refined(start) is None
    evolution, start = make(dict.fromkeys(SIZES, 1.0))
    assert evolution.refined(start) is None


def test_what_it_finds_on_all_samples_never_loses_more_than_it_began_with(make: Make) -> None:
    for levels in (EVEN, {"first": 0.9, "depthwise": 0.1, "up": 0.2, "head": 0.6}, dict.fromkeys(SIZES, 0.1)):
        evolution, start = make(levels)
        found = evolution.refined(start)
        assert found is None or drop(found) <= drop(start)


@pytest.mark.parametrize("limit", [0.35, 0.4, 0.5])
def test_with_a_limit_it_is_pushed_to_a_sparser_one_that_keeps_it(make: Make, limit: float) -> None:
    evolution, start = make(EVEN)

    def accepts(joint: Joint) -> bool:
        return joint.measurements["kl"].drop <= limit

    assert accepts(start.joint)
    found = evolution.refined(start, accepts)
    assert found is not None
    assert drop(found) <= limit
    assert zeros(found.levels) > zeros(EVEN)
    bolder = grown(found.levels, 1.1)
    assert sum(squared(name, level) for name, level in bolder.items()) > 0.97 * limit


def test_with_a_limit_that_nothing_keeps_there_is_no_plan(make: Make) -> None:
    evolution, start = make(EVEN)
    assert evolution.refined(start, lambda joint: False) is None


def test_levels_stay_in_their_range_also_when_pushed(make: Make) -> None:
    allowed = {
        "head": Allowed(Range(0.0, 0.55, "--max")),
        "depthwise": Allowed(Range(0.45, 1.0, "--min")),
        "up": Allowed(Range(0.5, 0.5, "--pin")),
    }
    evolution, start = make(EVEN, allowed)
    for found in (evolution.refined(start), evolution.refined(start, lambda j: j.measurements["kl"].drop <= 0.6)):
        assert found is not None
        assert found.levels["head"] <= 0.55
        assert found.levels["depthwise"] >= 0.45
        assert found.levels["up"] == 0.5


@given(st.dictionaries(st.sampled_from("abc"), st.floats(0, 1)), st.floats(1, 4), st.floats(1, 4))
def test_growing_by_more_never_makes_a_level_lower(levels: dict[str, float], one: float, other: float) -> None:
    less, more = grown(levels, min(one, other)), grown(levels, max(one, other))
    assert all(0 <= less[name] <= more[name] <= 1 for name in levels)
    assert all(less[name] >= level - 1e-12 for name, level in levels.items())
