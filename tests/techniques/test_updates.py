"""Updates, against formulas written out from raw inputs: no Cholesky, no moments."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.techniques import make_technique
from onnxsens.techniques.moments import DAMPENING, LayerProblem, Moments
from onnxsens.techniques.patterns import Pattern, make_pattern
from onnxsens.techniques.updates import updates
from onnxsens.techniques.updates.alps import Projection, alps_mask
from onnxsens.techniques.updates.obs import inverse_factor, sweep
from onnxsens.techniques.updates.refit import Refit

UPDATES = updates.names()
unhurried = settings(deadline=None)  # the machine may be busy
SEEDS = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Layer:
    """A weight and the very inputs that it sees.

    Attributes:
        weight: `[out, in]`.
        pruned, dense: `[groups, rows, in]`, what it gets, and what it got in the dense model.
    """

    weight: np.ndarray
    pruned: np.ndarray
    dense: np.ndarray

    @property
    def moments(self) -> Moments:
        """Without cross moments where both inputs are the same."""
        rows = self.pruned.shape[1]
        inputs = self.pruned.transpose(0, 2, 1) @ self.pruned / rows
        if self.dense is self.pruned:
            return Moments(inputs, self.pruned.mean(axis=1), rows=rows)
        cross = self.dense.transpose(0, 2, 1) @ self.pruned / rows
        return Moments(inputs, self.pruned.mean(axis=1), cross, self.dense.mean(axis=1), rows)

    @property
    def problem(self) -> LayerProblem:
        return LayerProblem(self.weight, self.moments)

    @property
    def blocks(self) -> np.ndarray:
        """`[groups, out / groups, in]`."""
        groups, _, width = self.pruned.shape
        return self.weight.reshape(groups, -1, width).astype(np.float64)

    def damp(self, group: int) -> float:
        """`d`."""
        return DAMPENING * float(np.square(self.pruned[group]).mean())

    def alone(self, group: int) -> "Layer":
        """One group as a layer of its own."""
        pruned = self.pruned[group : group + 1]
        dense = pruned if self.dense is self.pruned else self.dense[group : group + 1]
        return Layer(self.blocks[group].astype(np.float32), pruned, dense)


def layer(seed: int, groups: int = 1, out: int = 4, width: int = 9, *, cross: bool = False) -> Layer:
    """Inputs that depend on each other, with a mean; pruned ones differ from dense ones by a little."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, width, width)) + 2 * rng.standard_normal((groups, width, 1))
    dense = (rng.standard_normal((groups, 3 * width, width)) + 0.5) @ mixing
    pruned = dense + 0.3 * rng.standard_normal(dense.shape) if cross else dense
    return Layer(rng.standard_normal((groups * out, width), dtype=np.float32), pruned, dense)


def random_mask(made: Layer, seed: int) -> np.ndarray:
    """In blocks; of any density, also none and all in a row."""
    rng = np.random.default_rng([seed, 1])
    shape = made.blocks.shape
    return rng.random(shape) < rng.choice([0, 0.3, 0.5, 0.8, 1], (*shape[:2], 1))


def removed_one_by_one(start: np.ndarray, hessian: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Optimal brain surgery on every row, from left to right, with the inverse of what is still open.

    To take `w[j]` out of a row, add `-w[j] / G[j, j] * G[j]` to it, where `G` is the inverse of the matrix of the
    columns from `j` on; one step of Gaussian elimination makes that of the columns after `j`.
    """
    values, inverse = start.copy(), np.linalg.inv(hessian)
    for column in range(values.shape[1]):
        for row in np.flatnonzero(~mask[:, column]):
            values[row] -= values[row, column] / inverse[column, column] * inverse[column]
            values[row, column] = 0
        inverse = inverse - np.outer(inverse[:, column], inverse[column]) / inverse[column, column]
        inverse[column] = inverse[:, column] = 0  # but for rounding
    return values


def by_regression(made: Layer, mask: np.ndarray) -> np.ndarray:
    """Least squares over rows of inputs, and one row more for each column, which says that its weights stay."""
    values = np.zeros(made.blocks.shape)
    for group, weight in enumerate(made.blocks):
        rows, width = made.pruned[group].shape
        damp = np.sqrt(made.damp(group)) * np.eye(width)
        design = np.concatenate([made.pruned[group] / np.sqrt(rows), damp])
        targets = np.concatenate([made.dense[group] @ weight.T / np.sqrt(rows), damp @ weight.T])
        for row, kept in enumerate(mask[group]):
            if kept.any():
                values[group, row, kept] = np.linalg.lstsq(design[:, kept], targets[:, row])[0]
    return values


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * max(np.abs(expected).max(), 1))


def fitted(name: str, problem: LayerProblem, mask: np.ndarray) -> np.ndarray:
    values: np.ndarray = updates.get(name)().prepare(problem).fit(mask)
    return values


def magnitude_mask(made: Layer, pattern: Pattern, level: float) -> np.ndarray:
    return pattern.rank(np.abs(made.weight)).mask(level).reshape(made.blocks.shape)


def projection(pattern: Pattern, level: float) -> Projection:
    return lambda scores: pattern.rank(scores).mask(level)


class TestLayerProblem:
    @pytest.mark.parametrize("groups", [1, 3])
    @pytest.mark.parametrize("cross", [False, True])
    @pytest.mark.parametrize("centred", [False, True])
    def test_losses_are_mean_squares_of_what_the_output_misses_but_for_a_constant(
        self, groups: int, cross: bool, centred: bool
    ) -> None:
        made = layer(0, groups, cross=cross)
        problem = LayerProblem(made.weight, made.moments.centred() if centred else made.moments)
        values = np.random.default_rng(1).standard_normal((5, *made.blocks.shape))
        missed = made.dense @ made.blocks.transpose(0, 2, 1) - made.pruned @ values.transpose(0, 1, 3, 2)
        if centred:
            missed -= missed.mean(axis=2, keepdims=True)
        expected = np.square(missed).mean(axis=2)
        losses = np.array([problem.losses(each) for each in values])
        close(losses - losses[0], expected - expected[0])

    def test_dampening_adds_what_weights_have_moved(self) -> None:
        made = layer(0, 2)
        values = np.random.default_rng(1).standard_normal((2, *made.blocks.shape))
        moved = np.square(values - made.blocks).sum(axis=3) * [[made.damp(0)], [made.damp(1)]]
        damped = [made.problem.damped_losses(each) - made.problem.losses(each) for each in values]
        close(damped[1] - damped[0], moved[1] - moved[0])


class TestObs:
    @unhurried
    @given(SEEDS, st.sampled_from([1, 2, 3, 7, 9, 128]))
    def test_a_sweep_in_blocks_is_one_column_after_another(self, seed: int, block: int) -> None:
        made = layer(seed)
        hessian, mask = made.problem.hessian[0], random_mask(made, seed)[0]
        found = sweep(made.blocks[0], inverse_factor(hessian), mask, block)
        close(found, removed_one_by_one(made.blocks[0], hessian, mask))
        assert not found[~mask].any()

    @unhurried
    @given(SEEDS)
    def test_of_pruned_inputs_it_begins_at_the_best_dense_answer(self, seed: int) -> None:
        made = layer(seed, cross=True)
        mask = random_mask(made, seed)
        start = by_regression(made, np.ones_like(mask))[0]
        found = fitted("obs", made.problem, mask)
        close(found[0], removed_one_by_one(start, made.problem.hessian[0], mask[0]))

    @unhurried
    @given(SEEDS, st.integers(1, 8), st.booleans())
    def test_without_its_first_columns_a_row_is_refitted_exactly(self, seed: int, first: int, cross: bool) -> None:
        made = layer(seed, cross=cross)
        mask = np.ones(made.blocks.shape, dtype=bool)
        mask[..., :first] = False
        close(fitted("obs", made.problem, mask), by_regression(made, mask))

    def test_what_comes_in_is_left_alone(self) -> None:
        made = layer(0)
        start, mask = made.blocks[0], random_mask(made, 0)[0]
        before = start.copy(), mask.copy()
        sweep(start, inverse_factor(made.problem.hessian[0]), mask)
        np.testing.assert_array_equal(start, before[0])
        np.testing.assert_array_equal(mask, before[1])


class TestRefit:
    @unhurried
    @given(SEEDS, st.sampled_from([1, 2]), st.booleans())
    def test_it_is_the_regression_of_every_row_on_its_kept_inputs(self, seed: int, groups: int, cross: bool) -> None:
        made = layer(seed, groups, cross=cross)
        mask = random_mask(made, seed)
        close(fitted("refit", made.problem, mask), by_regression(made, mask))

    def test_where_a_bias_takes_the_mean_it_is_that_of_centred_inputs(self) -> None:
        made = layer(5, 2, cross=True)
        pruned, dense = (each - each.mean(axis=1, keepdims=True) for each in (made.pruned, made.dense))
        centred = Layer(made.weight, pruned, dense)
        mask = random_mask(made, 5)
        found = fitted("refit", LayerProblem(made.weight, made.moments.centred()), mask)
        close(found, by_regression(centred, mask))

    def test_rows_with_the_same_mask_are_solved_as_if_they_had_none_in_common(self) -> None:
        made = layer(6)
        mask = random_mask(made, 6)
        mask[:] = mask[:, :1]
        close(fitted("refit", made.problem, mask), by_regression(made, mask))

    @unhurried
    @given(SEEDS, st.sampled_from([1, 2]), st.booleans())
    def test_no_row_loses_more_than_by_obs_or_by_its_old_values(self, seed: int, groups: int, cross: bool) -> None:
        made = layer(seed, groups, cross=cross)
        mask = random_mask(made, seed)
        losses = made.problem.damped_losses
        best = losses(fitted("refit", made.problem, mask))
        rounding = 1e-9 * np.abs(losses(made.blocks))
        assert (best <= losses(fitted("obs", made.problem, mask)) + rounding).all()
        assert (best <= losses(np.where(mask, made.blocks, 0)) + rounding).all()


@pytest.mark.parametrize("name", UPDATES)
class TestEveryUpdate:
    @unhurried
    @given(seed=SEEDS, cross=st.booleans())
    def test_groups_are_solved_one_by_one(self, name: str, seed: int, cross: bool) -> None:
        made = layer(seed, 3, cross=cross)
        mask = random_mask(made, seed)
        found = fitted(name, made.problem, mask)
        for group in range(3):
            close(found[group], fitted(name, made.alone(group).problem, mask[group : group + 1])[0])

    @unhurried
    @given(seed=SEEDS, cross=st.booleans())
    def test_what_is_not_kept_is_zero_and_dense_inputs_leave_a_full_row_as_it_is(
        self, name: str, seed: int, cross: bool
    ) -> None:
        made = layer(seed, 2, cross=cross)
        mask = random_mask(made, seed)
        mask[0, 0] = True
        found = fitted(name, made.problem, mask)
        assert not found[~mask].any()
        if not cross:
            close(found[0, 0], made.blocks[0, 0])

    @unhurried
    @given(seed=SEEDS, cross=st.booleans(), dead=st.sets(st.integers(0, 8), min_size=1))
    def test_weights_on_dead_inputs_stay_as_they_are(self, name: str, seed: int, cross: bool, dead: set[int]) -> None:
        made = layer(seed, 2, cross=cross)
        columns = sorted(dead)
        made.pruned[1][:, columns] = 0  # where it is the dense one too, of both
        mask = random_mask(made, seed)
        found = fitted(name, made.problem, mask)
        assert np.isfinite(found).all()
        close(found[1][:, columns], np.where(mask, made.blocks, 0)[1][:, columns])

    def test_inputs_that_are_all_dead_leave_everything_as_it_is(self, name: str) -> None:
        made = layer(0)
        made.pruned[:] = 0
        mask = random_mask(made, 0)
        close(fitted(name, made.problem, mask), np.where(mask, made.blocks, 0))


def alps_of_the_paper(problem: LayerProblem, start: np.ndarray, project: Projection) -> np.ndarray:
    """Algorithm 1 for one group, with inverses: 3 steps at a penalty of at first 0.1 where inputs have mean square 1.

    Then it grows by 1.3 where at least a tenth of what is kept went or came, by 1.2 for at least 1 in 200, else by 1.1,
    until nothing moves, for 40 rounds at most.
    """
    [hessian], [targets], [dense] = problem.hessian, problem.targets, problem.dense
    loud = np.sqrt(np.diag(hessian))
    hessian, targets, dense = hessian / np.outer(loud, loud), targets / loud, dense * loud
    [mask], penalty, kept = start, 0.1, start.sum()
    sparse, dual = dense * mask, 0 * dense
    for _ in range(40):
        before = mask.copy()
        for _ in range(3):
            full = (targets - dual + penalty * sparse) @ np.linalg.inv(hessian + penalty * np.eye(len(hessian)))
            mask = project(((full + dual / penalty) ** 2).astype(np.float32))
            sparse = (full + dual / penalty) * mask
            dual = dual + penalty * (full - sparse)
        moved = (mask != before).sum()
        if moved == 0:
            break
        penalty *= 1.3 if moved >= 0.1 * kept else 1.2 if moved >= 0.005 * kept else 1.1
    return mask[None]


class TestAlps:
    @pytest.mark.parametrize("cross", [False, True])
    @pytest.mark.parametrize("size", [(8, 16), (20, 30)])
    def test_it_is_the_algorithm_of_the_paper(self, cross: bool, size: tuple[int, int]) -> None:
        pattern, moved = make_pattern("unstructured"), 0
        for seed in range(12):
            made = layer(seed, out=size[0], width=size[1], cross=cross)
            for level in (0.3, 0.6, 0.9):
                start = magnitude_mask(made, pattern, level)
                found = alps_mask(made.problem, start, projection(pattern, level))
                np.testing.assert_array_equal(found, alps_of_the_paper(made.problem, start, projection(pattern, level)))
                moved += np.count_nonzero(found != start)
        assert moved > 100

    @pytest.mark.parametrize("spec", ["unstructured", "row", "2:4", "4:8", "block2x4", "block4x1", "channel"])
    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
    def test_it_keeps_as_many_as_the_pattern_and_in_its_groups(self, spec: str, groups: int, level: float) -> None:
        made = layer(1, groups, out=8 // groups, width=16)
        pattern = make_pattern(spec)
        found = alps_mask(made.problem, magnitude_mask(made, pattern, level), projection(pattern, level))
        assert found.shape == made.blocks.shape
        mask = found.reshape(made.weight.shape)
        assert np.count_nonzero(~mask) == pattern.zeros(made.weight.shape, level)
        # A mask of the pattern is what the pattern makes of the mask.
        np.testing.assert_array_equal(pattern.rank(mask.astype(np.float32)).mask(level), mask)

    @pytest.mark.parametrize(("spec", "level"), [("unstructured", 0.6), ("row", 0.6), ("2:4", 0.5), ("block1x4", 0.5)])
    @pytest.mark.parametrize("cross", [False, True])
    def test_refitted_it_loses_less_than_magnitude_in_the_mean_of_twenty_layers(
        self, spec: str, level: float, cross: bool
    ) -> None:
        pattern, ratios = make_pattern(spec), []
        for seed in range(20):
            made = layer(seed, out=8, width=16, cross=cross)
            problem, start = made.problem, magnitude_mask(made, pattern, level)
            found = alps_mask(problem, start, projection(pattern, level))
            least = problem.damped_losses(Refit().prepare(problem).fit(np.ones_like(start))).sum()
            lost = [problem.damped_losses(fitted("refit", problem, mask)).sum() - least for mask in (found, start)]
            ratios.append(lost[0] / lost[1])
        assert np.mean(ratios) < 0.8

    def test_where_inputs_have_nothing_in_common_it_keeps_what_is_large_times_its_input(self) -> None:
        weight = np.array([[3, 1, 2, 2]], np.float32)
        moments = Moments(np.diag([1.0, 100, 1, 4])[None], np.zeros((1, 4)))  # products 3, 10, 2, 4
        project = projection(make_pattern("unstructured"), 0.5)
        found = alps_mask(LayerProblem(weight, moments), np.array([[[True, False, True, False]]]), project)
        np.testing.assert_array_equal(found, [[[False, True, False, True]]])


@pytest.mark.parametrize("spec", [f"{masks}+{update}" for masks in ("magnitude", "obs:2:4") for update in UPDATES])
class TestPrunedWeight:
    @unhurried
    @given(seed=SEEDS, cross=st.booleans())
    def test_level_0_changes_no_bit(self, spec: str, seed: int, cross: bool) -> None:
        made = layer(seed, 2, width=8, cross=cross)
        made.weight[0, :3] = -0.0
        assert make_technique(spec).prepare(made.weight, made.moments).at(0).tobytes() == made.weight.tobytes()

    @unhurried
    @given(seed=SEEDS, cross=st.booleans(), level=st.floats(0.01, 1))
    def test_stated_zeros_are_plus_zero_and_zeros_stay(self, spec: str, seed: int, cross: bool, level: float) -> None:
        made = layer(seed, 2, width=8, cross=cross)
        made.weight[:, 5] = -0.0
        made.weight[3] = 0
        technique = make_technique(spec)
        found = technique.prepare(made.weight, made.moments).at(level)
        mask = technique.pattern.rank(technique.criterion.scores(made.weight, made.moments)).mask(level)
        zero = found == 0
        np.testing.assert_array_equal(zero, ~mask | (made.weight == 0))
        assert not np.signbit(found[zero]).any()
        assert np.count_nonzero(zero) >= technique.steps(made.weight.shape, level)
        assert found.dtype == np.float32

    def test_groups_get_the_values_of_their_own_inputs(self, spec: str) -> None:
        made = layer(4, 2, width=8)
        technique = make_technique(spec)
        found = technique.prepare(made.weight, made.moments).at(0.5)
        kept = (found != 0).reshape(made.blocks.shape)
        close(found, fitted(technique.update_name, made.problem, kept).reshape(found.shape).astype(np.float32))
        np.testing.assert_array_equal(technique.once(made.weight, 0.5, made.moments), found)

    def test_the_weight_is_left_as_it_is(self, spec: str) -> None:
        made = layer(4, width=8)
        before = made.weight.copy()
        make_technique(spec).prepare(made.weight, made.moments).at(0.5)[:] = 7
        assert made.weight.tobytes() == before.tobytes()
