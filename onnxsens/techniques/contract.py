"""The laws that every criterion, every pattern and every update keeps, as tests for whoever writes one:

    class TestMine(CriterionContract):
        @pytest.fixture
        def criterion(self) -> Criterion:
            return Mine()

Run by pytest, which this module does not import.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.techniques.criteria import Criterion
from onnxsens.techniques.moments import LayerProblem, Moments
from onnxsens.techniques.patterns import Pattern
from onnxsens.techniques.updates import Update

LEVELS = (0.0, 0.1, 0.25, 0.5, 0.77, 0.9, 1.0)


def matrices() -> Iterator[FloatArray]:
    """Weights `[out, in]`: ordinary, with many ties, all equal, with zeros of both signs, a single row."""
    rng = np.random.default_rng(0)
    yield rng.standard_normal((6, 8), dtype=np.float32)
    yield rng.integers(-2, 3, (5, 8)).astype(np.float32)
    yield np.full((4, 4), 0.25, np.float32)
    yield np.array([[0.0, -0.0, 1.0, -1.0]] * 4, np.float32)
    yield rng.standard_normal((1, 8), dtype=np.float32)


def moments_of(weight: FloatArray) -> Moments:
    """Of inputs that depend on each other, one of them always 0."""
    rows = np.random.default_rng(1).standard_normal((64, weight.shape[1]))
    rows[:, 1:] += 0.5 * rows[:, :-1]
    rows[:, 0] = 0
    return Moments((rows.T @ rows / len(rows))[None], rows.mean(axis=0)[None], rows=len(rows))


class CriterionContract:
    """Subclass it with a fixture `criterion`."""

    def test_there_is_a_finite_score_for_every_element(self, criterion: Criterion) -> None:
        for weight in matrices():
            scores = criterion.scores(weight, moments_of(weight))
            assert scores.shape == weight.shape
            assert np.isfinite(scores).all()

    def test_what_is_zero_already_goes_first(self, criterion: Criterion) -> None:
        """A level counts the zeros that were there; were others to go before them, it would zero too many.

        A tie is not enough, also where an input is always 0.
        """
        for weight in matrices():
            scores = criterion.scores(weight, moments_of(weight))
            zero = weight == 0
            assert (scores[zero] == scores.min()).all()
            assert not zero.any() or (scores[~zero] > scores.min()).all()

    def test_it_scores_the_same_again_and_leaves_the_weight_as_it_is(self, criterion: Criterion) -> None:
        for weight in matrices():
            before = weight.copy()
            first = criterion.scores(weight, moments_of(weight))
            np.testing.assert_array_equal(criterion.scores(weight, moments_of(weight)), first)
            assert weight.tobytes() == before.tobytes()


def dividing(pattern: Pattern) -> list[FloatArray]:
    """Scores `[out, in]` of shapes that the pattern does not refuse; all columns are channels of one position."""
    found = [np.abs(each) for each in matrices() if pattern.refuses(each.shape, each.shape[1]) is None]
    assert found, "the pattern refuses every shape that it could be tested on; subclass with smaller groups"
    return found


class PatternContract:
    """Subclass it with a fixture `pattern`."""

    def test_a_mask_zeroes_exactly_as_many_elements_as_it_says(self, pattern: Pattern) -> None:
        for scores in dividing(pattern):
            ranked = pattern.rank(scores)
            for level in LEVELS:
                mask = ranked.mask(level)
                assert mask.shape == scores.shape
                assert mask.dtype == np.bool_
                assert int((~mask).sum()) == pattern.zeros(scores.shape, level)

    def test_masks_are_nested_and_sparsity_0_keeps_all(self, pattern: Pattern) -> None:
        for scores in dividing(pattern):
            ranked = pattern.rank(scores)
            masks = [ranked.mask(level) for level in LEVELS]
            assert masks[0].all()
            for milder, stronger in pairwise(masks):
                assert not (stronger & ~milder).any()

    def test_the_order_in_which_levels_are_asked_for_changes_nothing(self, pattern: Pattern) -> None:
        for scores in dividing(pattern):
            before = scores.copy()
            ranked = pattern.rank(scores)
            for level in reversed(LEVELS):
                np.testing.assert_array_equal(ranked.mask(level), pattern.rank(scores.copy()).mask(level))
            assert scores.tobytes() == before.tobytes()


class UpdateContract:
    """Subclass it with a fixture `update`."""

    def problems(self) -> Iterator[LayerProblem]:
        """Of ordinary weights and of inputs that are pruned already."""
        for weight in matrices():
            moments = moments_of(weight)
            yield LayerProblem(weight, moments)
            yield LayerProblem(weight, replace(moments, cross=0.9 * moments.inputs))

    def masks(self, problem: LayerProblem) -> Iterator[Mask]:
        """`[groups, out / groups, in]`: half of all, a row that goes as a whole, nothing left."""
        half = np.random.default_rng(2).random(problem.dense.shape) < 0.5
        yield half
        row = half.copy()
        row[:, 0] = False
        yield row
        yield np.zeros_like(half)

    def test_values_are_finite_and_zero_where_nothing_is_kept(self, update: Update) -> None:
        for problem in self.problems():
            prepared = update.prepare(problem)
            for mask in self.masks(problem):
                values = prepared.fit(mask)
                assert values.shape == problem.dense.shape
                assert np.isfinite(values).all()
                assert (values[~mask] == 0).all()

    def test_where_all_is_kept_and_inputs_are_the_dense_ones_nothing_changes(self, update: Update) -> None:
        for weight in matrices():
            problem = LayerProblem(weight, moments_of(weight))
            values = update.prepare(problem).fit(np.ones(problem.dense.shape, dtype=np.bool_))
            np.testing.assert_allclose(values, problem.dense, rtol=1e-6, atol=1e-7)

    def test_in_sum_it_loses_no_more_than_leaving_the_others_as_they_are(self, update: Update) -> None:
        for weight in matrices():
            problem = LayerProblem(weight, moments_of(weight))
            prepared = update.prepare(problem)
            for mask in self.masks(problem):
                fitted = problem.damped_losses(prepared.fit(mask)).sum()
                left = problem.damped_losses(np.where(mask, problem.dense, 0.0)).sum()
                assert fitted <= left + 1e-9 * abs(left) + 1e-12

    def test_masks_do_not_depend_on_those_before_and_the_problem_stays(self, update: Update) -> None:
        for problem in self.problems():
            dense, hessian, targets = problem.dense.copy(), problem.hessian.copy(), problem.targets.copy()
            prepared = update.prepare(problem)
            first = [prepared.fit(mask) for mask in self.masks(problem)]
            again = [update.prepare(problem).fit(mask) for mask in reversed(list(self.masks(problem)))]
            for one, other in zip(first, reversed(again), strict=True):
                np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(problem.dense, dense)
            np.testing.assert_array_equal(problem.hessian, hessian)
            np.testing.assert_array_equal(problem.targets, targets)
