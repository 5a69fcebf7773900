"""The knapsack: against every combination, by hand, and as a picker on curves that are known."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from fakes import KnownCurves
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import convolutional, saved

from onnxsens.model import dense_matrix, load_model, take_inventory
from onnxsens.plan.pickers import Ground, Levels, pickers, total_sparsity
from onnxsens.plan.pickers.knapsack import Knapsack, curve_of, offer
from onnxsens.plan.pickers.multiple_choice import GAP, Choices, allocate, hull, loss_of, relax, solve, zeros_of
from onnxsens.scan import Nobody, Sampling, Scanner, Store
from onnxsens.techniques import make_technique

SENSITIVITY = {"first": 4.0, "depthwise": 8.0, "up": 1.0, "head": 0.5}


def choices(*pairs: tuple[int, float]) -> Choices:
    zeros, losses = zip(*pairs, strict=True)
    return Choices(np.array(zeros, np.int64), np.array(losses, np.float64))


@st.composite
def one_weight(draw: st.DrawFn) -> Choices:
    """Curves over scales that are far apart, with flat parts and zeros that are there already."""
    first = draw(st.integers(0, 2))
    zeros = sorted(draw(st.sets(st.integers(first + 1, 50), max_size=5)))
    steps = draw(st.lists(st.sampled_from([0.0, 1e-3, 0.2, 1.0, 7.0]), min_size=len(zeros), max_size=len(zeros)))
    scale = 10.0 ** draw(st.integers(-9, 3))
    return Choices(np.array([first, *zeros], np.int64), np.concatenate([[0.0], np.cumsum(steps) * scale]))


def by_brute_force(weights: list[Choices], wanted: int) -> float:
    """The least loss over every combination; infinite where none has as many zeros."""
    combinations = product(*(range(each.zeros.size) for each in weights))
    return min(
        (loss_of(weights, picks) for picks in combinations if zeros_of(weights, picks) >= wanted), default=math.inf
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(one_weight(), min_size=1, max_size=4), st.integers(0, 220))
def test_no_combination_loses_less_by_more_than_the_gap(weights: list[Choices], wanted: int) -> None:
    found = allocate(weights, wanted)
    best = by_brute_force(weights, wanted)
    assert found.loss == pytest.approx(loss_of(weights, found.picks))
    if math.isinf(best):
        assert found.picks == tuple(each.zeros.size - 1 for each in weights)
        return
    assert zeros_of(weights, found.picks) >= wanted
    assert 0 <= found.gap <= GAP * (1 + 1e-9)
    assert found.loss * (1 - found.gap) <= best * (1 + 1e-9)


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
def ground_over(folder: Path, curve: Callable[[str, float], float]) -> Iterator[Ground]:
    model = load_model(saved(convolutional(), folder / "m.onnx"))
    inventory = take_inventory(model)
    sizes = {"search": 10, "holdout": 10}
    with Store(folder, {}, {}, "a test") as store:
        scanner = Scanner(
            store,
            KnownCurves(curve),
            inventory,
            make_technique("magnitude"),
            ["kl"],
            Sampling(10),
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


def test_bolder_targets_are_sparser_plans_however_close(tmp_path: Path) -> None:
    with ground_over(tmp_path, squared) as ground:
        family = Knapsack().family(ground)
        totals = [total_sparsity(ground, family.propose(target)) for target in np.linspace(0, 0.9999, 150)]
        assert all(later >= earlier for earlier, later in pairwise(totals))


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


def test_a_weight_that_could_not_be_measured_stays_dense(tmp_path: Path) -> None:
    def broken(weight: str, level: float) -> float:
        return math.nan if weight == "up" else squared(weight, level)

    with ground_over(tmp_path, broken) as ground:
        levels = Knapsack().family(ground).propose(0.5)
        assert levels["up"] == 0
        assert total_sparsity(ground, levels) >= 0.5
