"""Refinement: laws over landscapes of all sorts, and a toy whose optimum is known."""

import math
import zlib
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onnxsens.plan.pickers import Levels
from onnxsens.plan.refinement import JointLoss, Refined, Space, Stage, Tournament, refine

SIZES = {"a": 72, "b": 36, "c": 4800, "d": 30}
ONE_STAGE = Tournament((Stage(100, 1),), step=8, generations=10, offspring=8)
THREE_STAGES = Tournament((Stage(8, 4), Stage(32, 2), Stage(128, 1)), step=20, generations=12, offspring=12)
HALF = dict.fromkeys(SIZES, 0.5)


def never() -> bool:
    return False


def after(evaluations: int) -> Callable[[], bool]:
    """True from the question on that comes before that many and one more."""
    asked = count(1)
    return lambda: next(asked) >= evaluations


def rugged(seed: int) -> JointLoss:
    """No plan's loss says anything of another's, nor a few samples of many; some cannot be measured."""

    def loss(levels: Levels, samples: int) -> float:
        key = repr((seed, sorted(levels.items()), samples)).encode()
        value = zlib.crc32(key) / 2**32
        return math.nan if value < 0.1 else math.inf if value < 0.2 else value

    return loss


def zeros_of(levels: Levels, sizes: dict[str, int]) -> dict[str, int]:
    """Whole, or the level is none that a switch made."""
    return {name: round(levels[name] * size) for name, size in sizes.items()}


@st.composite
def tasks(draw: st.DrawFn) -> tuple[dict[str, int], dict[str, float], dict[str, tuple[float, float]]]:
    """Sizes, levels, and limits of some, from single elements to millions."""
    names = "abcdef"[: draw(st.integers(1, 6))]
    sizes = {name: draw(st.integers(1, 50) | st.integers(10**3, 10**6)) for name in names}
    levels, limits = {}, {}
    for name in names:
        low, level, high = sorted(draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
        levels[name] = level
        if draw(st.booleans()):
            limits[name] = (low, high)
    return sizes, levels, limits


tournaments = st.sampled_from([ONE_STAGE, THREE_STAGES, Tournament((Stage(1, 3), Stage(2, 1)), 10**5, 5, 6)])
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=150, deadline=None)
@given(tasks(), tournaments, seeds, st.integers(1, 400))
def test_it_never_ends_worse_and_keeps_the_budget_and_the_limits(
    task: tuple[dict[str, int], dict[str, float], dict[str, tuple[float, float]]],
    tournament: Tournament,
    seed: int,
    evaluations: int,
) -> None:
    sizes, start, limits = task
    loss = rugged(seed)
    full = tournament.stages[-1].samples
    found = refine(loss, start, sizes, tournament, np.random.default_rng(seed), after(evaluations), limits)
    for value, levels in ((found.before, start), (found.after, found.levels)):
        assert value == loss(levels, full) or (math.isinf(value) and not math.isfinite(loss(levels, full)))
    assert found.after <= found.before
    assert (found.after < found.before) == bool(found.switches)
    first, last = zeros_of(start, sizes), zeros_of(found.levels, sizes)
    assert sum(last.values()) == sum(first.values())
    for name, level in found.levels.items():
        low, high = limits.get(name, (0.0, 1.0))
        if last[name] == first[name]:
            assert level == start[name]
        else:
            assert level == last[name] / sizes[name]
            assert low - 1e-6 <= level <= high + 1e-6


@settings(max_examples=50, deadline=None)
@given(tasks(), seeds)
def test_the_same_seed_gives_the_same_result_and_its_switches_lead_there(
    task: tuple[dict[str, int], dict[str, float], dict[str, tuple[float, float]]], seed: int
) -> None:
    sizes, start, limits = task

    def once() -> Refined:
        return refine(rugged(seed), start, sizes, THREE_STAGES, np.random.default_rng(seed), never, limits)

    found = once()
    assert once() == found
    zeros = zeros_of(start, sizes)
    for switch in found.switches:
        assert 1 <= switch.zeros <= THREE_STAGES.step
        zeros[switch.raised] += switch.zeros
        zeros[switch.lowered] -= switch.zeros
    assert zeros == zeros_of(found.levels, sizes)


COSTS = {"a": 1.0, "b": 4.0, "c": 0.5, "d": 2.0, "e": 8.0}
QUADRATIC_SIZES = {"a": 1000, "b": 400, "c": 3000, "d": 1000, "e": 200}


def quadratic(levels: Levels, samples: int) -> float:
    return sum(COSTS[name] * level**2 for name, level in levels.items())


def lagrange(total: int) -> dict[str, float]:
    """Where cost * level / size is the same for all, for so many zeros."""
    shares = {name: size / COSTS[name] for name, size in QUADRATIC_SIZES.items()}
    price = total / sum(QUADRATIC_SIZES[name] * share for name, share in shares.items())
    return {name: price * share for name, share in shares.items()}


GAMMAS = np.random.default_rng(3).gamma(0.5, 2.0, (2048, len(COSTS)))
FACTORS = GAMMAS / GAMMAS.mean(axis=0)


def noisy(levels: Levels, samples: int) -> float:
    """Every sample has a weight's cost times a factor of its own, of mean 1 over all of them."""
    return float(FACTORS[:samples].mean(axis=0) @ [COSTS[name] * level**2 for name, level in levels.items()])


@pytest.mark.parametrize("loss", [quadratic, noisy])
@pytest.mark.parametrize("seed", range(5))
def test_it_finds_the_optimum_of_a_separable_quadratic_from_a_bad_start(loss: JointLoss, seed: int) -> None:
    """All zeros where they cost the most: 1.0 of b, d and e, and nothing of a and c."""
    start = {"a": 0.0, "b": 1.0, "c": 0.0, "d": 1.0, "e": 1.0}
    ideal = lagrange(1600)
    assert max(ideal.values()) < 1
    tournament = Tournament((Stage(64, 6), Stage(256, 3), Stage(2048, 1)), step=200, generations=60, offspring=24)
    found = refine(loss, start, QUADRATIC_SIZES, tournament, np.random.default_rng(seed), never)
    assert found.before > 30 * quadratic(ideal, 1)
    assert found.after <= 1.02 * quadratic(ideal, 1)
    for name, level in found.levels.items():
        assert level == pytest.approx(ideal[name], abs=0.05)


class TestItStops:
    @pytest.mark.parametrize("evaluations", [1, 2, 7, 40, 41, 43, 100])
    def test_when_it_is_told_to_and_asks_for_no_more(self, evaluations: int) -> None:
        asked: list[int] = []

        def loss(levels: Levels, samples: int) -> float:
            asked.append(samples)
            return rugged(1)(levels, samples)

        found = refine(loss, HALF, SIZES, THREE_STAGES, np.random.default_rng(0), lambda: len(asked) >= evaluations)
        assert len(asked) == found.evaluations == evaluations
        assert asked[0] == 128
        assert found.stopped

    def test_at_once_with_the_plan_that_it_was_given(self) -> None:
        found = refine(rugged(5), HALF, SIZES, ONE_STAGE, np.random.default_rng(0), lambda: True)
        assert found == Refined(HALF, found.before, found.before, 1, 0, (), True)

    def test_in_the_last_stage_with_the_best_that_came_so_far(self) -> None:
        """Offspring are all better; one is measured, then the time is over."""
        asked: list[Levels] = []

        def loss(levels: Levels, samples: int) -> float:
            asked.append(levels)
            return 1.0 if levels == HALF else 0.5

        found = refine(loss, HALF, SIZES, ONE_STAGE, np.random.default_rng(0), lambda: len(asked) >= 2)
        assert found.levels == asked[1]
        assert (found.after, found.evaluations, found.stopped) == (0.5, 2, True)

    def test_by_itself_after_the_generations(self) -> None:
        found = refine(rugged(5), HALF, SIZES, ONE_STAGE, np.random.default_rng(0), never)
        assert found.generations == ONE_STAGE.generations
        assert not found.stopped


def test_no_plan_is_measured_twice_on_the_same_samples_and_few_on_many() -> None:
    asked: list[tuple[tuple[float, ...], int]] = []

    def loss(levels: Levels, samples: int) -> float:
        asked.append((tuple(levels.values()), samples))
        return quadratic(dict(zip(COSTS, levels.values(), strict=False)), samples)

    refine(loss, HALF, SIZES, THREE_STAGES, np.random.default_rng(2), never)
    assert len(asked) == len(set(asked))
    of = {stage.samples: sum(samples == stage.samples for _, samples in asked) for stage in THREE_STAGES.stages}
    assert of[8] <= THREE_STAGES.generations * THREE_STAGES.offspring
    assert of[32] <= THREE_STAGES.generations * 4
    assert of[128] <= 1 + THREE_STAGES.generations * 2


def test_a_plan_that_only_few_samples_like_is_not_taken() -> None:
    def loss(levels: Levels, samples: int) -> float:
        return float(levels == HALF) if samples < 128 else float(levels != HALF)

    found = refine(loss, HALF, SIZES, THREE_STAGES, np.random.default_rng(0), never)
    assert found.levels == HALF
    assert (found.before, found.after) == (0.0, 0.0)


def test_where_no_zero_can_move_nothing_is_measured_but_the_start() -> None:
    fixed = {name: (0.5, 0.5) for name in SIZES if name != "a"}
    for start, limits in ((HALF, fixed), (dict.fromkeys(SIZES, 0.0), {}), (dict.fromkeys(SIZES, 1.0), {})):
        found = refine(rugged(3), start, SIZES, ONE_STAGE, np.random.default_rng(0), never, limits)
        assert (found.levels, found.evaluations, found.stopped) == (start, 1, False)


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
@example(100, 0.29, 0.29, 0.57)
@example(72, 0.9, 0.9, 0.9)
def test_limits_are_whole_zeros_inside_them_around_those_of_the_plan(size: int, a: float, b: float, c: float) -> None:
    low, level, high = sorted((a, b, c))
    space = Space.around({"w": level}, {"w": size}, {"w": (low, high)})
    assert space.low[0] <= space.first[0] == round(level * size) <= space.high[0]
    assert space.low[0] == space.first[0] or space.low[0] >= low * size - 1e-3
    assert space.high[0] == space.first[0] or space.high[0] <= high * size + 1e-3
    for exact in (low, high):
        if abs(exact * size - round(exact * size)) < 1e-9:
            assert space.low[0] <= round(exact * size) <= space.high[0]


@pytest.mark.parametrize(
    ("start", "limits", "message"),
    [
        ({"a": 0.5, "b": 0.5}, {}, "different weights"),
        (HALF, {"x": (0.0, 1.0)}, "different weights"),
        (HALF, {"a": (0.6, 1.0)}, "level 0.5 of 'a' is not between its limits 0.6 and 1"),
        ({**HALF, "a": 1.5}, {}, "level 1.5 of 'a'"),
        ({**HALF, "a": math.nan}, {}, "level nan of 'a'"),
    ],
)
def test_levels_that_cannot_be_are_refused(
    start: dict[str, float], limits: dict[str, tuple[float, float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        refine(rugged(0), start, SIZES, ONE_STAGE, np.random.default_rng(0), never, limits)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "one survivor"),
        ((Stage(8, 2),), "one survivor"),
        ((Stage(8, 2), Stage(8, 1)), "more than the one before"),
        ((Stage(0, 1),), "more than the one before"),
        ((Stage(8, 2), Stage(16, 3), Stage(32, 1)), "no stage have more"),
        ((Stage(8, 9), Stage(16, 1)), "no stage have more"),
    ],
)
def test_tournaments_that_cannot_be_are_refused(stages: tuple[Stage, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tournament(stages, step=1, offspring=8)


@pytest.mark.parametrize("setting", ["step", "generations", "offspring"])
def test_tournaments_of_nothing_are_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"at least 1|survive"):
        Tournament((Stage(8, 1),), **{"step": 1, setting: 0})
