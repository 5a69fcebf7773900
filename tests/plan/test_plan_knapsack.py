"""The knapsack, greedy and Lagrangian: against every combination, by hand, and as pickers on curves that are known."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations_with_replacement, pairwise
from pathlib import Path

import numpy as np
import pytest
from fakes import KnownCurves, NoisyCurves
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolutional, saved

from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.pickers import Ground, Levels, pickers, total_sparsity
from onnxsens.plan.pickers.greedy import marginal
from onnxsens.plan.pickers.knapsack import Knapsack
from onnxsens.plan.pickers.lagrangian import priced
from onnxsens.plan.pickers.multiple_choice import (
    GAP,
    Allocation,
    Choices,
    allocate,
    hull,
    improved,
    loss_of,
    relax,
    solve,
    zeros_of,
)
from onnxsens.plan.pickers.offers import FEWEST, GRID, AdditiveFamily, Rule, curve_of, offer, trimmed
from onnxsens.scan import Nobody, Sampling, Scanner, Store
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.searches import PROBE_LEVEL
from onnxsens.techniques import make_technique

SENSITIVITY = {"first": 4.0, "depthwise": 8.0, "up": 1.0, "head": 0.5}


def choices(*pairs: tuple[int, float]) -> Choices:
    zeros, losses = zip(*pairs, strict=True)
    return Choices(np.array(zeros, np.int64), np.array(losses, np.float64))


@st.composite
def one_weight(draw: st.DrawFn, levels: int = 6) -> Choices:
    """Curves over scales that are far apart, with flat parts and zeros that are there already."""
    first = draw(st.integers(0, 2))
    zeros = sorted(draw(st.sets(st.integers(first + 1, 50), max_size=levels - 1)))
    steps = draw(st.lists(st.sampled_from([0.0, 1e-3, 0.2, 1.0, 7.0]), min_size=len(zeros), max_size=len(zeros)))
    scale = 10.0 ** draw(st.integers(-9, 3))
    return Choices(np.array([first, *zeros], np.int64), np.concatenate([[0.0], np.cumsum(steps) * scale]))


@st.composite
def alike(draw: st.DrawFn, levels: int) -> Choices:
    """Curves over one scale and a few sizes, so that many plans tie: convex, concave, straight and flat."""
    zeros = np.arange(draw(st.integers(1, levels))) * draw(st.sampled_from([1, 2, 5]))
    steps = draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 1.0]), min_size=zeros.size, max_size=zeros.size))
    return Choices(zeros.astype(np.int64), np.concatenate([[0.0], np.cumsum(steps[1:])]))


@st.composite
def instances(draw: st.DrawFn) -> tuple[list[Choices], int]:
    """Up to 6 weights of up to 5 levels, and a target: the dense model's own zeros, any, all there are, or more."""
    weights = draw(st.lists(one_weight(5), min_size=1, max_size=6) | st.lists(alike(5), min_size=1, max_size=6))
    fewest = sum(int(each.zeros[0]) for each in weights)
    most = sum(int(each.zeros[-1]) for each in weights)
    return weights, draw(st.sampled_from([0, fewest, most, most + 1]) | st.integers(fewest, most))


def by_brute_force(weights: list[Choices], wanted: int) -> float:
    """The least loss over every combination; infinite where none has as many zeros."""
    zeros, losses = np.zeros(1, np.int64), np.zeros(1)
    for each in weights:
        zeros = np.add.outer(zeros, each.zeros).ravel()
        losses = np.add.outer(losses, each.losses).ravel()
    return float(losses[zeros >= wanted].min(initial=math.inf))


def check(rule: Rule, weights: list[Choices], wanted: int) -> float:
    """A rule's allocation has zeros enough, or all, at no less than the least loss and at most the gap above it.

    Returns:
        Its loss.
    """
    found = rule(weights, wanted)
    best = by_brute_force(weights, wanted)
    assert found.loss == pytest.approx(loss_of(weights, found.picks))
    if math.isinf(best):
        assert found.picks == tuple(each.zeros.size - 1 for each in weights)
        assert found.gap == pytest.approx(0, abs=1e-12)
        return found.loss
    assert zeros_of(weights, found.picks) >= wanted
    assert 0 <= found.gap <= 1
    assert best * (1 - 1e-9) <= found.loss
    assert found.loss * (1 - found.gap) <= best * (1 + 1e-9)
    return found.loss


@settings(max_examples=300, deadline=None)
@given(instances())
def test_the_knapsack_is_the_best_of_all_combinations_up_to_its_gap(instance: tuple[list[Choices], int]) -> None:
    weights, wanted = instance
    check(allocate, weights, wanted)
    assert allocate(weights, wanted).gap <= GAP * (1 + 1e-9)


def test_the_knapsack_is_the_best_on_every_small_instance() -> None:
    """Three weights of three levels, every curve of losses 0, 1 and 3, and every target and one beyond."""
    curves = [
        Choices(np.array([0, 2, size]), np.array([0.0, *losses]))
        for size in (3, 5)
        for losses in combinations_with_replacement((0.0, 1.0, 3.0), 2)
    ]
    for weights in map(list, combinations_with_replacement(curves, 3)):
        for wanted in range(zeros_of(weights, [2, 2, 2]) + 2):
            check(allocate, weights, wanted)


@pytest.mark.parametrize("rule", [marginal, priced])
@settings(max_examples=150, deadline=None)
@given(instance=instances())
def test_greedy_and_lagrangian_are_never_better_than_the_knapsack_and_within_their_gap(
    rule: Rule, instance: tuple[list[Choices], int]
) -> None:
    weights, wanted = instance
    assert check(rule, weights, wanted) >= allocate(weights, wanted).loss * (1 - GAP) * (1 - 1e-9)


@settings(max_examples=150, deadline=None)
@given(instances())
def test_every_weight_of_the_lagrangian_is_at_its_best_for_the_lowest_price_that_gives_zeros_enough(
    instance: tuple[list[Choices], int],
) -> None:
    weights, wanted = instance
    picks, price = priced(weights, wanted).picks, relax(weights, wanted).price
    for choices, pick in zip(weights, picks, strict=True):
        net = choices.losses - price * choices.zeros
        assert net[pick] <= net.min() + 1e-9 * max(choices.losses[-1], price * choices.zeros[-1])
    lower = price * (1 - 1e-6)
    if 0 < wanted <= zeros_of(weights, [each.zeros.size - 1 for each in weights]) and lower > 0:
        nets = [each.losses - lower * each.zeros for each in weights]
        boldest = [int(np.flatnonzero(net == net.min())[-1]) for net in nets]
        assert zeros_of(weights, boldest) < wanted


@settings(max_examples=150, deadline=None)
@given(instances())
def test_greedy_on_convex_curves_is_the_lagrangian(instance: tuple[list[Choices], int]) -> None:
    weights, wanted = instance
    convex = [Choices(each.zeros[hull(each)], each.losses[hull(each)]) for each in weights]
    assert marginal(convex, wanted).loss == pytest.approx(priced(convex, wanted).loss, rel=1e-9, abs=1e-18)


@settings(max_examples=150, deadline=None)
@given(instances())
def test_what_is_improved_loses_less_by_no_single_change(instance: tuple[list[Choices], int]) -> None:
    """One pick lower, or one higher by one and another lower, while there are zeros enough."""
    weights, wanted = instance
    start = list(relax(weights, wanted).picks)
    wanted = min(wanted, zeros_of(weights, start))
    found = list(improved(weights, start, wanted))
    assert zeros_of(weights, found) >= wanted
    loss = loss_of(weights, found)
    assert loss <= loss_of(weights, start)
    for raised in [None, *range(len(weights))]:
        for lowered in range(len(weights)):
            for pick in range(found[lowered]):
                changed = list(found)
                changed[lowered] = pick
                if raised is not None and raised != lowered and found[raised] + 1 < weights[raised].zeros.size:
                    changed[raised] += 1
                if zeros_of(weights, changed) >= wanted:
                    assert loss_of(weights, changed) >= loss * (1 - 1e-9)


def test_improving_by_hand_takes_the_best_change_first_however_small_losses_are() -> None:
    for scale in (1.0, 1e-9):
        curves = [[(0, 0.0), (2, 5.0), (4, 6.0)], [(0, 0.0), (3, 2.0), (5, 9.0)]]
        weights = [choices(*((zeros, loss * scale) for zeros, loss in curve)) for curve in curves]
        assert improved(weights, [2, 2], 9) == (2, 2)
        assert improved(weights, [2, 2], 7) == (2, 1)  # 7 saved; the first weight's 1 or 6 would be less
        assert improved(weights, [1, 2], 7) == (2, 1)  # 1 more here, 7 less there
        assert improved(weights, [2, 2], 0) == (0, 0)


def test_greedy_by_hand_does_not_see_what_is_behind_a_steep_step() -> None:
    """4 zeros: steps at 2 and 3 per zero, where the third weight has 3 to give for 5.1 behind one that costs 5."""
    weights = [choices((0, 0.0), (2, 4.0)), choices((0, 0.0), (2, 6.0)), choices((0, 0.0), (1, 5.0), (4, 5.1))]
    found = marginal(weights, 4)
    assert found.picks == (1, 1, 0)
    assert found.loss == 10.0
    assert priced(weights, 4).picks == (0, 0, 2)
    assert allocate(weights, 4).loss == pytest.approx(5.1)
    assert found.gap == pytest.approx(1 - 5.1 / 10)


def test_greedy_by_hand_goes_by_the_price_of_the_next_step_alone() -> None:
    """In order: 1 a zero, 2, 3, and only then 4."""
    weights = [choices((0, 0.0), (1, 1.0), (2, 5.0)), choices((0, 0.0), (2, 4.0), (3, 7.0))]
    assert [marginal(weights, wanted).picks for wanted in range(6)] == [(0, 0), (1, 0), (1, 1), (1, 1), (1, 2), (2, 2)]
    # Two zeros more for 4, or one for 3: 2 a zero is cheaper than 3, whatever each weight has given before.
    weights = [choices((0, 0.0), (1, 0.1), (3, 4.1)), choices((0, 0.0), (10, 1.0), (11, 4.0))]
    assert marginal(weights, 12).picks == (2, 1)
    # A step of 10 a zero stays dear, though the whole way costs 4 a zero.
    weights = [choices((0, 0.0), (1, 1.0), (2, 11.0), (3, 12.0)), choices((0, 0.0), (1, 5.0))]
    assert marginal(weights, 2).picks == (1, 1)


def test_of_weights_at_one_price_the_lagrangian_takes_as_many_as_are_needed() -> None:
    weights = [choices((0, 0.0), (2, 1.0))] * 3
    assert priced(weights, 3).picks == (1, 1, 0)
    assert priced(weights, 3).gap == pytest.approx(0.25)


def test_straight_stretches_whose_slopes_rounding_has_out_of_order_are_walked_in_order() -> None:
    """0.3 a zero all the way: in doubles the last stretch has 0.29999999999999993, and would come first."""
    zeros = np.array([0, 9, 26, 34])
    weights = [Choices(zeros, zeros * 0.3)]
    for wanted in range(36):
        for rule in (allocate, marginal, priced):
            check(rule, weights, wanted)


@settings(max_examples=40, deadline=None)
@given(st.lists(one_weight(), min_size=1, max_size=3), st.integers(1, 100))
def test_the_solver_alone_finds_the_best_combination_too(weights: list[Choices], wanted: int) -> None:
    best = by_brute_force(weights, wanted)
    unit = max(float(each.losses[-1]) for each in weights) or 1.0
    picks, bound = solve(weights, [np.arange(each.zeros.size) for each in weights], wanted, unit)
    if math.isinf(best):
        assert picks is None
        return
    assert picks is not None
    assert loss_of(weights, picks) <= best * (1 + GAP) + 1e-5 * unit
    assert bound <= best + 1e-5 * unit


def test_the_best_of_three_by_hand() -> None:
    """10 zeros: 6 + 4 for 1 + 2 = 3, 8 + 2 for 4 + 0.5, 10 of the second alone for 9."""
    weights = [choices((0, 0.0), (6, 1.0), (8, 4.0)), choices((0, 0.0), (2, 0.5), (4, 2.0), (10, 9.0))]
    found = allocate(weights, 10)
    assert found.picks == (1, 2)
    assert found.loss == 3.0


def test_shares_of_choices_cost_what_the_hull_says() -> None:
    """7 zeros: 6 at 1/6 each, then one of four at 2/4 each: 1.5; rounded up, 6 + 4."""
    weights = [choices((0, 0.0), (6, 1.0), (8, 4.0)), choices((0, 0.0), (2, 1.5), (4, 2.0))]
    assert hull(weights[1]) == [0, 2]
    relaxed = relax(weights, 7)
    assert relaxed.picks == (1, 2)
    assert relaxed.bound == pytest.approx(1.5)
    assert relaxed.price == pytest.approx(0.5)


def test_a_target_beyond_all_choices_takes_the_last_of_each() -> None:
    found = allocate([choices((0, 0.0), (5, 1.0)), choices((1, 0.0))], 7)
    assert found.picks == (1, 0)
    assert found.gap == 0


def many(weights: int) -> list[Choices]:
    """40 choices each, sizes from a thousand to three million."""
    rng = np.random.default_rng(6)
    made = []
    for _ in range(weights):
        zeros = np.round(np.linspace(0, 10 ** rng.uniform(3, 6.5), 40)).astype(np.int64)
        made.append(Choices(zeros, 10 ** rng.uniform(-4, 2) * np.linspace(0, 1, 40) ** rng.uniform(1, 4)))
    return made


def test_sixty_weights_of_forty_choices_are_solved_to_the_gap_and_alike_each_time(
    capfd: pytest.CaptureFixture[str],
) -> None:
    weights = many(60)
    total = zeros_of(weights, [39] * 60)
    for share in (0.3, 0.5, 0.8):
        found = allocate(weights, round(share * total))
        assert zeros_of(weights, found.picks) >= round(share * total)
        assert found.gap <= GAP * (1 + 1e-9)
        assert relax(weights, round(share * total)).bound <= found.loss * (1 + 1e-12)
        assert allocate(weights, round(share * total)) == found
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    "pairs", [[(0, 0.0), (0, 1.0)], [(0, 0.1), (1, 1.0)], [(0, 0.0), (1, 2.0), (2, 1.0)], [(0, 0.0), (1, math.nan)]]
)
def test_choices_that_are_no_curve_are_refused(pairs: list[tuple[int, float]]) -> None:
    with pytest.raises(ValueError, match=r"zeros and losses|losses begin"):
        choices(*pairs)


@contextmanager
def ground_over(
    folder: Path, curve: Callable[[str, float], float] | KnownCurves, sampling: Sampling | None = None
) -> Iterator[Ground]:
    folder.mkdir(exist_ok=True)
    model = load_model(saved(convolutional(), folder / "m.onnx"))
    inventory = take_inventory(model)
    sampling = sampling or Sampling(10)
    sizes = {"search": sampling.samples, "holdout": sampling.samples}
    with Store(folder, {}, {}, "a test") as store:
        scanner = Scanner(
            store,
            curve if isinstance(curve, KnownCurves) else KnownCurves(curve),
            inventory,
            make_technique("magnitude"),
            ["kl"],
            sampling,
            sizes,
            Nobody(),  # type: ignore[arg-type]
        )
        yield Ground(scanner, inventory.weights, lambda weight: dense_matrix(model, weight), "kl", 0.05, 0.01)


def squared(weight: str, level: float) -> float:
    return SENSITIVITY[weight] * level**2


def predicted(levels: Levels) -> float:
    return sum(squared(name, level) for name, level in levels.items())


def test_plans_have_the_sparsity_asked_for_at_nearly_the_least_loss(tmp_path: Path) -> None:
    """Losses a s^2 are least where a s / size is the same for all: Lagrange."""
    with ground_over(tmp_path, squared) as ground:
        family = Knapsack().family(ground)
        size = sum(weight.size for weight in ground.weights)
        for target in (0.2, 0.4, 0.6):
            levels = family.propose(target)
            assert total_sparsity(ground, levels) == pytest.approx(target, abs=4 / size)
            shares = {weight.name: weight.size / SENSITIVITY[weight.name] for weight in ground.weights}
            price = target * size / sum(weight.size * shares[weight.name] for weight in ground.weights)
            ideal = {name: price * share for name, share in shares.items()}
            if max(ideal.values()) < 0.9:
                assert predicted(levels) <= 1.15 * predicted(ideal)
            for name in ("uniform", "lamp", "erk"):
                other = pickers.get(name)().family(ground).propose(target)
                assert predicted(levels) <= predicted(other) * 1.05


@pytest.mark.parametrize("name", ["knapsack", "greedy", "lagrangian"])
def test_bolder_targets_are_sparser_plans_however_close_and_say_their_gap(tmp_path: Path, name: str) -> None:
    with ground_over(tmp_path, squared) as ground:
        family = pickers.get(name)().family(ground)
        totals = [total_sparsity(ground, family.propose(target)) for target in np.linspace(0, 0.9999, 150)]
        assert all(later >= earlier for earlier, later in pairwise(totals))
        assert family.gap is not None
        assert 0 <= family.gap < (2 * GAP if name == "knapsack" else 1)


def test_a_curve_that_is_not_known_is_measured_over_the_whole_range_first(tmp_path: Path) -> None:
    with ground_over(tmp_path, squared) as ground:
        weight = ground.weights[0]
        curve = curve_of(ground, weight)
        assert len(curve.known) > 5
        points = len(ground.scanner.points())
        curve_of(ground, weight)
        assert len(ground.scanner.points()) == points


def test_what_was_not_measured_is_not_offered_and_losses_never_fall(tmp_path: Path) -> None:
    def uneven(weight: str, level: float) -> float:
        return -0.5 if level < 0.3 else 2.0 if level < 0.8 else 1.0

    with ground_over(tmp_path, uneven) as ground:
        weight = ground.weights[0]
        for level in (0.1, 0.2, 0.5, 0.7, 0.9):
            ground.scanner.point(weight, level)
        levels, offered = offer(ground, weight, curve_of(ground, weight))
        assert max(levels) == 0.9
        assert 0.05 in levels  # of the grid, between measured ones
        assert offered.losses[0] == 0
        assert (np.diff(offered.losses) >= 0).all()
        # Two of 2, one of 1: isotonic regression with equal weights gives 5/3 to all three.
        assert offered.losses[-1] == pytest.approx(5 / 3)


def test_a_curve_of_one_measured_point_is_straight(tmp_path: Path) -> None:
    with ground_over(tmp_path, squared) as ground:
        weight = ground.weights[0]
        ground.scanner.point(weight, 0.5)
        levels, offered = offer(ground, weight, ground.scanner.curve(weight, ground.metric))
        assert max(levels) == 0.5
        assert offered.losses == pytest.approx(offered.zeros / 36 * squared(weight.name, 0.5))


def test_a_weight_that_could_not_be_measured_stays_dense(tmp_path: Path) -> None:
    def broken(weight: str, level: float) -> float:
        return math.nan if weight == "up" else squared(weight, level)

    with ground_over(tmp_path, broken) as ground:
        levels = Knapsack().family(ground).propose(0.5)
        assert levels["up"] == 0
        assert total_sparsity(ground, levels) >= 0.5


SIZES = {"first": 72, "depthwise": 36, "up": 48, "head": 30}


def predict(ground: Ground) -> None:
    """The shapes of the curves as a calibration pass would tell them: their power 4/3 is the square of the level."""
    shapes = {
        name: PredictedCurve(name, size, tuple(range(size + 1)), tuple((n / size) ** 1.5 for n in range(size + 1)))
        for name, size in SIZES.items()
    }
    ground.scanner.predict(shapes, "kl")


def measured(ground: Ground) -> list[tuple[str, float]]:
    return [(point.weight, point.asked) for point in ground.scanner.levels()]


def by_zeros(weight: str, level: float) -> float:
    """Of the zeros that there are, not of the level that was asked for."""
    return squared(weight, round(level * SIZES[weight]) / SIZES[weight])


def test_a_predicted_curve_that_is_scaled_by_one_point_is_offered_to_the_end(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as ground:
        predict(ground)
        for weight in ground.weights:
            ground.scanner.point(weight, 0.33)
            levels, offered = offer(ground, weight, curve_of(ground, weight))
            zeros = sorted({0, *(round(level * weight.size) for level in (*GRID, 0.33))})
            assert offered.zeros.tolist() == [round(level * weight.size) for level in levels] == zeros
            assert levels[0] == 0.0
            assert zeros[-1] == weight.size
            exact = [by_zeros(weight.name, level) for level in levels]
            assert offered.losses == pytest.approx(exact, abs=1e-3 * SENSITIVITY[weight.name])
            assert offered.losses[0] == 0.0
        assert len(measured(ground)) == len(SIZES)


def test_losses_along_a_predicted_curve_are_never_negative_and_never_fall(tmp_path: Path) -> None:
    def uneven(weight: str, level: float) -> float:
        return -0.5 if level < 0.3 else 2.0 if level < 0.8 else 1.0

    with ground_over(tmp_path, uneven) as ground:
        predict(ground)
        for level in (0.1, 0.2, 0.5, 0.9):
            ground.scanner.point(ground.weights[0], level)
        _, offered = offer(ground, ground.weights[0], curve_of(ground, ground.weights[0]))
        assert offered.losses[0] == 0
        assert (np.diff(offered.losses) >= 0).all()
        assert offered.losses[-1] > 0


@pytest.mark.parametrize("name", ["knapsack", "greedy", "lagrangian"])
def test_with_predictions_only_the_probe_is_measured_until_it_settles(tmp_path: Path, name: str) -> None:
    def steeper(weight: str, level: float) -> float:
        return by_zeros(weight, level) + (9.0 if weight == "up" and level > 0.62 else 0.0)

    with ground_over(tmp_path, steeper) as ground:
        predict(ground)
        family = pickers.get(name)().family(ground)
        before = family.propose(0.6)
        assert sorted(measured(ground)) == sorted((each, PROBE_LEVEL) for each in SIZES)
        assert before["up"] > 0.65
        after = family.settle(0.6)
        assert family.propose(0.6) == after
        expected = {(each, PROBE_LEVEL) for each in SIZES} | {(each, level) for each, level in before.items() if level}
        assert set(measured(ground)) == expected
        assert after["up"] < 0.65
        assert total_sparsity(ground, after) >= 0.6


def test_weights_that_stay_dense_are_not_measured_when_it_settles(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as ground:
        predict(ground)
        family = Knapsack().family(ground)
        points = len(measured(ground))
        assert set(family.settle(0.0).values()) == {0.0}
        assert len(measured(ground)) == points


def test_it_settles_on_no_more_samples_than_it_may_take(tmp_path: Path) -> None:
    taken = {}
    for most in (256, None):
        # Drops of nearly nothing: how large they are takes all samples to tell.
        evaluator = NoisyCurves(by_zeros, 4000)
        evaluator._factors = np.random.default_rng(0).normal(0.01, 1.0, 4000)
        with ground_over(tmp_path / str(most), evaluator, Sampling(4000, exact=False)) as ground:
            predict(ground)
            family = Knapsack().family(ground)
            evaluator.taken.clear()
            family.settle(0.5, most)
            taken[most] = max(max(samples) for samples in evaluator.taken.values()) + 1
    assert taken == {256: 256, None: 4000}


def test_where_other_things_than_zeros_are_counted_a_target_is_a_share_of_those(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as plain:
        prices = {"first": 1, "depthwise": 9, "up": 2}  # and 1 for the head
        ground = replace(plain, prices=prices)
        total = 72 + 9 * 36 + 2 * 48 + 30
        for rule in ("knapsack", "greedy", "lagrangian"):
            family = pickers.get(rule)().family(ground)
            for target in (0.3, 0.5, 0.7):
                levels = family.propose(target)
                saved = sum(ground.scanner.zeros(w, levels[w.name]) * ground.price(w) for w in ground.weights)
                assert round(target * total) <= saved <= target * total + 15  # a zero of each at once is 13
            assert total_sparsity(ground, family.propose(0.5)) < 0.48  # zeros of the dear weight are worth more


def test_a_plan_is_trimmed_to_as_many_zeros_as_are_wanted(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as ground:
        levels = [0.9, 0.5, 0.25, 0.0]
        full = sum(round(level * weight.size) for level, weight in zip(levels, ground.weights, strict=True))
        assert trimmed(ground, levels, full) == pytest.approx(levels, rel=0.03)
        assert trimmed(ground, levels, 0) == (0.0,) * 4
        for wanted in range(1, full + 1):
            found = trimmed(ground, levels, wanted)
            shares = [each / level for each, level in zip(found, levels, strict=True) if level]
            assert max(shares) <= 1
            assert max(shares) == pytest.approx(min(shares))
            for share, enough in ((1.0, True), (1 - 1e-9, False)):
                zeros = sum(
                    ground.scanner.zeros(weight, level * share)
                    for level, weight in zip(found, ground.weights, strict=True)
                )
                assert (zeros >= wanted) == enough


def test_a_curve_of_too_few_points_is_measured_and_one_of_enough_is_not(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as ground:
        few, enough = ground.weights[0], ground.weights[1]
        for number in range(1, FEWEST - 1):
            ground.scanner.point(few, number / 10)
        for number in range(1, FEWEST):
            ground.scanner.point(enough, number / 10)
        assert len(curve_of(ground, few).known) > FEWEST + 5
        assert len(curve_of(ground, enough).known) == FEWEST


def test_the_gap_is_the_largest_of_all_proposals_so_far(tmp_path: Path) -> None:
    with ground_over(tmp_path, by_zeros) as ground:
        gaps = iter([0.25, 0.5, 0.125])

        def rule(weights: Sequence[Choices], wanted: int) -> Allocation:
            return replace(allocate(weights, wanted), gap=next(gaps))

        family = AdditiveFamily(ground, rule)
        assert family.gap is None
        for target, gap in ((0.3, 0.25), (0.5, 0.5), (0.7, 0.5), (0.3, 0.5)):
            family.propose(target)
            assert family.gap == gap
