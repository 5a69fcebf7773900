"""One layer's answer at a level, against what its outputs are on the very rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.techniques import make_sparsity
from onnxsens.techniques.layer import LayerFit, Masks, fit_layer
from onnxsens.techniques.moments import LayerProblem, Moments
from onnxsens.techniques.updates import updates

unhurried = settings(deadline=None, max_examples=40)
SEEDS = st.integers(0, 2**32 - 1)
UPDATES = ["", "obs", "refit"]


@dataclass(frozen=True)
class Rows:
    """A weight `[out, in]`, and rows `[groups, rows, in]` as it gets them pruned and dense."""

    weight: np.ndarray
    pruned: np.ndarray
    dense: np.ndarray

    @property
    def moments(self) -> Moments:
        count = self.pruned.shape[1]
        inputs = self.pruned.transpose(0, 2, 1) @ self.pruned / count
        if self.dense is self.pruned:
            return Moments(inputs, self.pruned.mean(axis=1), rows=count)
        cross = self.dense.transpose(0, 2, 1) @ self.pruned / count
        return Moments(inputs, self.pruned.mean(axis=1), cross, self.dense.mean(axis=1), count)

    def output(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """`[out, rows]`."""
        parts = np.split(values.astype(np.float64), len(rows))
        return np.concatenate([part @ own.T for part, own in zip(parts, rows, strict=True)])

    def missed(self, values: np.ndarray, shift: np.ndarray | None) -> np.ndarray:
        """`[out]`, mean square of what the output is off by."""
        found = self.output(values, self.pruned) + (0 if shift is None else shift[:, None])
        return np.square(self.output(self.weight, self.dense) - found).mean(axis=1)

    def old(self, found: LayerFit) -> np.ndarray:
        """The old values where the new ones are kept."""
        return np.where(found.values != 0, self.weight, 0)

    def best_shift(self, values: np.ndarray) -> np.ndarray:
        return (self.output(self.weight, self.dense) - self.output(values, self.pruned)).mean(axis=1)


def rows(seed: int, groups: int = 1, out: int = 6, width: int = 8, *, cross: bool = False, many: int = 60) -> Rows:
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, width, width)) + 2 * rng.standard_normal((groups, width, 1))
    dense = (rng.standard_normal((groups, many, width)) + 0.5) @ mixing
    pruned = dense + rng.standard_normal(dense.shape) if cross else dense
    return Rows(rng.standard_normal((groups * out, width), dtype=np.float32), pruned, dense)


def fitted(made: Rows, level: float, spec: str = "magnitude", update: str = "refit", **more: object) -> LayerFit:
    return fit_layer(made.weight, level, make_sparsity(spec), made.moments, update=update, **more)


@unhurried
@given(SEEDS, st.sampled_from(UPDATES), st.sampled_from([0.0, 0.3, 0.6, 0.9]), st.booleans(), st.sampled_from([1, 2]))
def test_the_shift_makes_the_mean_of_the_output_the_dense_one(
    seed: int, update: str, level: float, cross: bool, groups: int
) -> None:
    made = rows(seed, groups, cross=cross)
    found = fitted(made, level, update=update)
    assert found.shift is not None
    after = made.output(found.values, made.pruned).mean(axis=1) + found.shift
    np.testing.assert_allclose(after, made.output(made.weight, made.dense).mean(axis=1), atol=1e-6)
    assert fitted(made, level, update=update, bias=False).shift is None


@pytest.mark.parametrize("masks", ["criterion", "alps"])
@pytest.mark.parametrize("bias", [True, False])
@unhurried
@given(seed=SEEDS, update=st.sampled_from(UPDATES), level=st.sampled_from([0.0, 0.4, 0.7, 0.95]), cross=st.booleans())
def test_losses_are_what_the_output_is_off_by_and_new_values_lose_no_more_than_old_ones(
    masks: Masks, bias: bool, seed: int, update: str, level: float, cross: bool
) -> None:
    made = rows(seed, 2, cross=cross)
    found = fitted(made, level, update=update, masks=masks, bias=bias)
    assert found.loss <= found.masked_loss
    old = made.old(found)
    new_missed = made.missed(found.values, found.shift)
    old_missed = made.missed(old, made.best_shift(old) if bias else None)
    np.testing.assert_allclose(
        found.masked_loss - found.loss, (old_missed - new_missed).sum(), atol=1e-5 * max(old_missed.sum(), 1)
    )
    assert (new_missed <= old_missed + 1e-5 * np.maximum(old_missed, 1)).all()


def test_rows_that_new_values_make_worse_keep_their_old_ones() -> None:
    """Dampening asks for weights that move little; of tiny inputs beside a large one that is not the least error."""
    worse = 0
    for seed in range(30):
        made = rows(seed, out=12, width=8, cross=True, many=9)
        # One sweep from left to right is not the best answer for a mask, so some rows are worse.
        found = fitted(made, 0.3, update="obs", bias=False)
        kept = (found.values == made.old(found)).all(axis=1)
        problem = LayerProblem(made.weight, made.moments)
        mask = (found.values != 0).reshape(problem.dense.shape)
        tried = updates.get("obs")().prepare(problem).fit(mask)[0]
        raw = np.square(made.output(made.weight, made.dense) - made.output(tried, made.pruned)).mean(axis=1)
        bad = raw > made.missed(made.old(found), None)
        assert int(bad.sum()) == found.kept_rows
        assert kept[bad].all()
        np.testing.assert_array_equal(found.values[~bad], tried[~bad].astype(np.float32))
        worse += found.kept_rows
    assert worse


@pytest.mark.parametrize("spec", ["magnitude", "wanda", "obs", "magnitude:2:4", "obs:2:4", "magnitude:row"])
@pytest.mark.parametrize("masks", ["criterion", "alps"])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("groups", [1, 2])
def test_a_level_has_its_count_of_zeros_in_its_pattern_and_they_are_plus_zero(
    spec: str, masks: Masks, update: str, groups: int
) -> None:
    made = rows(3, groups)
    for level in (0.25, 0.5):
        found = fitted(made, level, spec, update, masks=masks).values
        technique = make_sparsity(spec)
        assert found.dtype == np.float32
        assert np.count_nonzero(found == 0) == technique.steps(made.weight.shape, level)
        assert not np.signbit(found[found == 0]).any()
        if spec.endswith("2:4") and level == 0.5:
            assert (np.count_nonzero(found.reshape(-1, 4), axis=1) == 2).all()


@pytest.mark.parametrize("masks", ["criterion", "alps"])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("level", [0.0, 0.2, 0.5, 0.8])
def test_zeros_that_were_there_stay_and_count(masks: Masks, update: str, level: float) -> None:
    made = rows(4, cross=True)
    zero = np.random.default_rng(1).random(made.weight.shape) < 0.4
    made.weight[zero] = 0
    found = fitted(made, level, update=update, masks=masks).values
    assert not found[zero].any()
    assert np.count_nonzero(found == 0) == max(np.count_nonzero(zero), round(level * zero.size))


@pytest.mark.parametrize("update", UPDATES)
def test_dense_inputs_at_level_0_leave_all_as_it_is_and_pruned_ones_do_not(update: str) -> None:
    found = fitted(rows(5), 0.0, update=update)
    np.testing.assert_allclose(found.values, rows(5).weight, rtol=1e-5, atol=1e-6)
    assert found.shift is not None
    np.testing.assert_allclose(found.shift, 0, atol=1e-5)
    moved = fitted(rows(5, cross=True), 0.0, update=update)
    assert np.count_nonzero(moved.values) == moved.values.size
    if update:
        assert not np.allclose(moved.values, rows(5).weight, atol=1e-2)


@unhurried
@given(SEEDS, st.sampled_from([0.3, 0.5, 0.8]), st.booleans(), st.sampled_from(["magnitude", "obs", "magnitude:2:4"]))
def test_a_mask_by_alps_is_not_worse_than_the_criterions(seed: int, level: float, cross: bool, spec: str) -> None:
    """By the loss that both are fitted to. Rows that keep old values are left out of it: they are judged otherwise."""
    made = rows(seed, cross=cross)
    plain, better = (fitted(made, level, spec, masks=masks) for masks in ("criterion", "alps"))
    problem = LayerProblem(made.weight, made.moments.centred())

    def damped(found: LayerFit) -> float:
        return float(problem.damped_losses(found.values.astype(np.float64)[None]).sum())

    if not plain.kept_rows and not better.kept_rows:
        assert damped(better) <= damped(plain) + 1e-5 * abs(damped(plain))


def test_alps_is_much_better_in_the_mean_where_inputs_depend_on_each_other() -> None:
    def ratio(seed: int) -> float:
        made = rows(seed, out=16, width=16, many=200)
        found = [fitted(made, 0.7, masks=masks) for masks in ("criterion", "alps")]
        plain, better = (made.missed(each.values, each.shift).sum() for each in found)
        return float(better / plain)

    assert np.mean([ratio(seed) for seed in range(10)]) < 0.8


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("masks", ["criterion", "alps"])
def test_with_everything_gone_the_bias_has_the_whole_mean(update: str, masks: Masks) -> None:
    made = rows(6, 2, cross=True)
    found = fitted(made, 1.0, update=update, masks=masks)
    assert not found.values.any()
    assert found.shift is not None
    np.testing.assert_allclose(found.shift, made.output(made.weight, made.dense).mean(axis=1), rtol=1e-9)


@pytest.mark.parametrize("dead", [[0], [1, 5], list(range(8))])
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("masks", ["criterion", "alps"])
def test_inputs_that_never_vary_change_nothing_but_the_mean(dead: Sequence[int], update: str, masks: Masks) -> None:
    made = rows(7)
    made.pruned[:, :, dead] = 3.0
    found = fitted(made, 0.5, update=update, masks=masks)
    assert np.isfinite(found.values).all() and found.shift is not None and np.isfinite(found.shift).all()
    assert np.count_nonzero(found.values == 0) == round(0.5 * found.values.size)
    assert (made.missed(found.values, found.shift) >= -1e-9).all()
    assert found.loss <= found.masked_loss


def test_what_comes_in_is_left_alone() -> None:
    made = rows(8, cross=True)
    moments = made.moments
    assert moments.cross is not None and moments.dense_mean is not None
    given_ones = [made.weight, moments.inputs, moments.mean, moments.cross, moments.dense_mean]
    before = [each.copy() for each in given_ones]
    fit_layer(made.weight, 0.5, make_sparsity("obs"), moments, update="refit", masks="alps")
    for one, other in zip(given_ones, before, strict=True):
        np.testing.assert_array_equal(one, other)
