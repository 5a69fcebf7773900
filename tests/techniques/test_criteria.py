"""Scores, against values worked out by hand and against what they say they are."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxsens.plan.pickers.lamp import lamp_scores
from onnxsens.techniques import make_technique
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.criteria.lowest import zeros_first
from onnxsens.techniques.moments import DAMPENING, LayerProblem, Moments
from onnxsens.techniques.updates.refit import Refit

unhurried = settings(deadline=None)  # the machine may be busy
WIDTH = 6
OF_DATA = ["obs", "wanda"]
WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.just(WIDTH)),
    # Few distinct values, so that ties are the rule; some that no square of float32 holds.
    elements=st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -2.0, 1e-30, -1e-42, 1e18]).map(np.float32),
)


def made(name: str) -> Criterion:
    criterion: Criterion = criteria.get(name)()
    return criterion


def moments_of(rows: np.ndarray) -> Moments:
    """Of inputs `[groups, rows, in]`."""
    rows = rows.astype(np.float64)
    return Moments(rows.transpose(0, 2, 1) @ rows / rows.shape[1], rows.mean(axis=1), rows=rows.shape[1])


@st.composite
def inputs(draw: st.DrawFn) -> Moments:
    """Of inputs that depend on each other, some of them always 0, some loud and some hardly there."""
    seed = draw(st.integers(0, 99))
    rows = np.random.default_rng(seed).standard_normal((1, 9, WIDTH)) @ np.triu(np.ones((WIDTH, WIDTH)))
    loudness = draw(st.lists(st.sampled_from([0.0, 1e-18, 1.0, 1e18]), min_size=WIDTH, max_size=WIDTH))
    return moments_of(rows * loudness)


class TestWanda:
    def test_it_is_magnitude_times_the_root_mean_square_of_the_input(self) -> None:
        moments = moments_of(np.array([[[2, 1], [-2, 7]]]))  # mean squares 4 and 25
        scores = made("wanda").scores(np.array([[1, -2], [3, 0]], np.float32), moments)
        np.testing.assert_array_equal(scores, [[2, 10], [6, 0]])

    def test_a_group_of_rows_has_inputs_of_its_own(self) -> None:
        moments = moments_of(np.array([[[2, 1]], [[3, 5]]]))
        scores = made("wanda").scores(np.ones((4, 2), np.float32), moments)
        np.testing.assert_array_equal(scores, [[2, 1], [2, 1], [3, 5], [3, 5]])

    def test_a_small_weight_on_a_loud_input_outlives_a_large_one_on_a_quiet_one(self) -> None:
        moments = moments_of(np.array([[[10.0, 0.1]]]))
        pruned = make_technique("wanda").prepare(np.array([[0.1, 1.0]], np.float32), moments).at(0.5)
        np.testing.assert_array_equal(pruned, np.array([[0.1, 0]], np.float32))


class TestObs:
    def test_it_is_the_square_over_the_diagonal_of_the_dampened_inverse(self) -> None:
        moments = Moments(np.array([[[3.0, 1.0], [1.0, 2.0]]]), np.zeros((1, 2)))
        # The mean square is 2.5, so that d = 0.025, and of [[a, 1], [1, b]] the inverse has b and a over a b - 1.
        first, second = 3.025, 2.025
        left = first * second - 1
        scores = made("obs").scores(np.array([[3, -1], [0, 2]], np.float32), moments)
        expected = [[9 * left / second, left / first], [0, 4 * left / first]]
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
        assert DAMPENING == 0.01

    @unhurried
    @given(st.integers(0, 99), st.sampled_from([1, 2]))
    def test_it_is_what_is_lost_when_all_others_make_up_for_one(self, seed: int, groups: int) -> None:
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((2 * groups, 4), dtype=np.float32)
        moments = moments_of(rng.standard_normal((groups, 20, 4)) @ rng.standard_normal((4, 4)))
        problem = LayerProblem(weight, moments)
        least = problem.damped_losses(problem.dense)
        expected = np.empty((groups, 2, 4))
        for column in range(4):
            mask = np.ones(problem.dense.shape, dtype=bool)
            mask[..., column] = False
            expected[..., column] = problem.damped_losses(Refit().prepare(problem).fit(mask)) - least
        np.testing.assert_allclose(
            made("obs").scores(weight, moments), expected.reshape(-1, 4), rtol=1e-5, atol=1e-9 * np.abs(least).max()
        )

    def test_squares_that_float32_cannot_hold_are_told_apart_where_the_score_can_be_held(self) -> None:
        moments = Moments(np.array([[[1e-20, 0.0], [0.0, 1e-20]]]), np.zeros((1, 2)))
        scores = made("obs").scores(np.array([[1e20, 2e20]], np.float32), moments)
        np.testing.assert_allclose(scores, [[1.01e20, 4.04e20]], rtol=1e-5)

    def test_an_input_that_is_always_0_makes_its_weights_worth_nothing(self) -> None:
        moments = moments_of(np.array([[[0, 1], [0, 2]]]))
        scores = made("obs").scores(np.array([[9, 0.01], [8, 0]], np.float32), moments)
        assert scores[1, 1] < scores[1, 0] < scores[0, 0] < scores[0, 1]

    def test_inputs_that_are_all_0_leave_the_order_of_magnitude(self) -> None:
        weight = np.array([[3, -1], [0, 2]], np.float32)
        scores = made("obs").scores(weight, moments_of(np.zeros((1, 5, 2))))
        np.testing.assert_array_equal(np.argsort(scores, axis=None), np.argsort(np.abs(weight), axis=None))


class TestLamp:
    def test_it_is_the_square_over_the_sum_of_squares_of_all_that_are_as_large(self) -> None:
        # Ascending: 0, 1, -2, 2. The sums of squares from each on are 9, 9, 8, 4.
        scores = made("lamp").scores(np.array([[1, -2], [0, 2]], np.float32))
        np.testing.assert_allclose(scores, [[1 / 9, 1 / 2], [0, 1]], rtol=1e-7)

    @unhurried
    @given(WEIGHTS)
    def test_it_is_that_of_the_picker(self, weight: np.ndarray) -> None:
        ordered = np.sort(made("lamp").scores(weight), axis=None)
        np.testing.assert_allclose(ordered, lamp_scores(weight), rtol=1e-6, atol=1e-30)

    @unhurried
    @given(WEIGHTS, st.floats(0, 1))
    def test_within_a_weight_it_prunes_as_magnitude_does(self, weight: np.ndarray, level: float) -> None:
        by_magnitude = make_technique("magnitude").prepare(weight).at(level)
        np.testing.assert_array_equal(make_technique("lamp").prepare(weight).at(level), by_magnitude)

    def test_a_weight_that_is_zero_has_scores_of_zero(self) -> None:
        assert not made("lamp").scores(np.zeros((2, 3), np.float32)).any()


@pytest.mark.parametrize("name", criteria.names())
@unhurried
@given(weight=WEIGHTS, moments=inputs(), level=st.floats(0, 1))
def test_a_level_means_zeros_in_all(name: str, weight: np.ndarray, moments: Moments, level: float) -> None:
    pruned = make_technique(name).prepare(weight, moments).at(level)
    assert (pruned == 0).sum() == max((weight == 0).sum(), round(level * weight.size))


@pytest.mark.parametrize("name", [*OF_DATA, "lamp"])
@unhurried
@given(weight=WEIGHTS, moments=inputs())
def test_scores_are_finite_and_zeros_lowest_whatever_the_inputs(
    name: str, weight: np.ndarray, moments: Moments
) -> None:
    scores = made(name).scores(weight, moments)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert not scores[weight == 0].any()
    assert (scores[weight != 0] >= np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("name", OF_DATA)
@unhurried
@given(weight=WEIGHTS, moments=inputs())
def test_weights_on_dead_inputs_go_before_all_others_the_smaller_first(
    name: str, weight: np.ndarray, moments: Moments
) -> None:
    scores = made(name).scores(weight, moments)
    dead = np.broadcast_to(moments.squares == 0, weight.shape) & (weight != 0)
    # Not those that are worth next to nothing, which score like dead ones.
    alive = ~dead & (np.abs(weight) > 1e-9) & np.broadcast_to(moments.squares > 1e-20, weight.shape)
    if dead.any() and alive.any():
        assert scores[dead].max() < scores[alive].min()
    magnitude = np.abs(weight[dead])
    np.testing.assert_array_equal(
        np.sign(scores[dead][:, None] - scores[dead]), np.sign(magnitude[:, None] - magnitude)
    )


@pytest.mark.parametrize("name", OF_DATA)
def test_groups_are_scored_as_if_each_were_a_weight(name: str) -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((6, 4), dtype=np.float32)
    rows = rng.standard_normal((3, 10, 4))
    rows[1, :, 2] = 0
    together = made(name).scores(weight, moments_of(rows))
    for group in range(3):
        own = slice(2 * group, 2 * group + 2)
        alone = made(name).scores(weight[own], moments_of(rows[group : group + 1]))
        if group != 1:
            np.testing.assert_allclose(together[own], alone, rtol=1e-6)
        np.testing.assert_array_equal(np.argsort(together[own], axis=None), np.argsort(alone, axis=None))


@pytest.mark.parametrize("name", OF_DATA)
def test_what_looks_at_data_says_so_and_falls_back_on_magnitude_in_the_same_pattern(name: str) -> None:
    assert make_technique(name).needs_moments
    assert make_technique(f"{name}:2:4").without_moments() == make_technique("magnitude:2:4")


@pytest.mark.parametrize("name", ["lamp", "magnitude", "random"])
def test_what_looks_at_no_data_needs_none(name: str) -> None:
    assert not make_technique(name).needs_moments


@unhurried
@given(st.lists(st.tuples(st.sampled_from([0.0, 1e-300, 1e-38, 1.0, 1e300]), st.integers(-2, 2)), min_size=1))
def test_zeros_first_keeps_the_order_that_scores_have(elements: list[tuple[float, Any]]) -> None:
    scores, weight = np.array([elements]).T
    found = zeros_first(scores.astype(np.float64), weight.astype(np.float32))
    # 1e-38 is as good as nothing; what float32 cannot hold is its largest number.
    worth = np.where(weight == 0, -1, np.where(scores < 1e-30, 0, scores))
    smaller = worth[:, None, 0] < worth[:, 0]
    assert (found[:, None, 0] < found[:, 0])[smaller].all()
    assert np.isfinite(found).all()


def test_scores_that_are_as_good_as_nothing_are_ordered_by_magnitude_too() -> None:
    least = np.finfo(np.float32).tiny
    weight = np.array([[1, -2, 3, 3, 0, 1]], np.float32)
    found = zeros_first(np.array([[4.0 * least, 0, 0, 0, 9, 7 * least]]), weight)
    np.testing.assert_array_equal(found / least, [[1, 2, 3, 3, 0, 7]])


def test_a_score_at_the_very_limit_is_as_good_as_nothing() -> None:
    least = np.finfo(np.float32).tiny
    found = zeros_first(np.array([[2.0 * least, 3.0 * least]]), np.array([[1, -2]], np.float32))
    np.testing.assert_array_equal(found / least, [[1, 3]])


@pytest.mark.parametrize("name", criteria.names())
def test_scores_lie_in_the_order_of_ranking_however_the_weight_does(name: str) -> None:
    weight = np.random.default_rng(0).standard_normal((WIDTH, 5), dtype=np.float32).T
    moments = moments_of(np.random.default_rng(1).standard_normal((1, 9, WIDTH)))
    scores = made(name).scores(weight, moments)
    assert scores.flags.c_contiguous
    np.testing.assert_array_equal(scores, made(name).scores(np.ascontiguousarray(weight), moments))
    assert zeros_first(np.abs(weight).astype(np.float64), weight).flags.c_contiguous
