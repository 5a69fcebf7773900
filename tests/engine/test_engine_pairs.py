"""Moments of pairs of rows, batch by batch, against the formulas over all rows at once in float64."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.engine.pairs import PairedBuilder, Sums, places_to_look_at
from onnxsens.techniques.moments import Moments

unhurried = settings(deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def rows(seed: int, groups: int, sizes: Sequence[int], width: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((groups, size, width)) + 0.7).astype(np.float32) for size in sizes]


def built(pruned: Sequence[np.ndarray], dense: Sequence[np.ndarray] | None) -> Moments:
    builder = PairedBuilder(pruned[0].shape[0], pruned[0].shape[2])
    for number, each in enumerate(pruned):
        builder.add(Sums.of(each, None if dense is None else dense[number]))
    assert builder.taken == sum(each.shape[1] for each in pruned)
    return builder.made()


def product(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`[groups, in, in]`, mean over rows of `one other^T`, element by element."""
    return np.einsum("gni,gnj->gij", one, other) / one.shape[1]


def whole(batches: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(batches, axis=1).astype(np.float64)


@unhurried
@given(SEEDS, st.integers(1, 3), SIZES)
def test_moments_are_means_over_all_rows_however_they_come_in_batches(seed: int, groups: int, sizes: list[int]) -> None:
    pruned, dense = rows(seed, groups, sizes), rows(seed + 1, groups, sizes)
    found, x, y = built(pruned, dense), whole(pruned), whole(dense)
    assert found.rows == sum(sizes)
    assert found.cross is not None and found.dense_mean is not None
    for own, expected in (
        (found.inputs, product(x, x)),
        (found.mean, x.mean(axis=1)),
        (found.cross, product(y, x)),  # dense along rows
        (found.dense_mean, y.mean(axis=1)),
    ):
        assert own.dtype == np.float64
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5)


@unhurried
@given(SEEDS, st.integers(1, 3), SIZES)
def test_while_both_models_agree_there_is_nothing_about_the_dense_one(seed: int, groups: int, sizes: list[int]) -> None:
    pruned = rows(seed, groups, sizes)
    found = built(pruned, None)
    assert found.cross is None and found.dense_mean is None
    np.testing.assert_allclose(found.inputs, product(whole(pruned), whole(pruned)), rtol=1e-5, atol=1e-5)
    paired = built(pruned, pruned)
    np.testing.assert_array_equal(paired.inputs, found.inputs)
    assert paired.cross is not None
    np.testing.assert_allclose(paired.cross, found.inputs, rtol=1e-6)


@unhurried
@given(SEEDS, st.integers(1, 3), SIZES)
def test_centred_moments_are_those_of_rows_less_their_means(seed: int, groups: int, sizes: list[int]) -> None:
    pruned, dense = rows(seed, groups, sizes), rows(seed + 1, groups, sizes)
    found, x, y = built(pruned, dense).centred(), whole(pruned), whole(dense)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found.inputs, product(x, x), atol=1e-5)
    assert found.cross is not None
    np.testing.assert_allclose(found.cross, product(y, x), atol=1e-5)
    assert found.noise is not None and (found.noise > 0).all()


@pytest.mark.parametrize("mean", [10.0, 100.0, 1000.0])
@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_an_input_that_hardly_varies_around_a_large_mean_keeps_its_variance(mean: float, spread: float) -> None:
    """In float32, `E[x^2] - E[x]^2` would be off by more than there is."""
    rng = np.random.default_rng(2)
    batches = [(mean + spread * rng.standard_normal((1, 400, 3))).astype(np.float32) for _ in range(8)]
    others = [(each + spread * rng.standard_normal(each.shape)).astype(np.float32) for each in batches]
    x, y = whole(batches), whole(others)
    found = built(batches, others).centred()
    np.testing.assert_allclose(found.inputs[0].diagonal(), x.var(axis=1)[0], rtol=1e-3)
    covariance = product(y - y.mean(axis=1, keepdims=True), x - x.mean(axis=1, keepdims=True))
    assert found.cross is not None
    np.testing.assert_allclose(found.cross[0].diagonal(), covariance[0].diagonal(), rtol=1e-3)


def test_batches_whose_means_differ_have_the_variance_between_them_too() -> None:
    batches = [np.full((1, 5, 1), 1, np.float32), np.full((1, 15, 1), 5, np.float32)]
    found = built(batches, None).centred()
    np.testing.assert_allclose(found.mean, [[4]])  # (5 * 1 + 15 * 5) / 20
    np.testing.assert_allclose(found.inputs, [[[3]]])  # (5 * 9 + 15 * 1) / 20


def test_what_comes_in_is_left_alone() -> None:
    pruned, dense = rows(0, 2, [6]), rows(1, 2, [6])
    before = pruned[0].copy(), dense[0].copy()
    built(pruned, dense)
    np.testing.assert_array_equal(pruned[0], before[0])
    np.testing.assert_array_equal(dense[0], before[1])


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_rows_of_other_types_are_as_good(kind: type) -> None:
    pruned = [each.astype(kind) for each in rows(0, 2, [5, 7])]
    found = built(pruned, None)
    np.testing.assert_allclose(found.inputs, product(whole(pruned), whole(pruned)), rtol=5e-3, atol=5e-3)


@given(st.integers(1, 50), st.integers(1, 60), SEEDS)
def test_places_are_in_order_different_and_as_many_as_there_may_be(places: int, share: int, seed: int) -> None:
    found = places_to_look_at(places, share, np.random.default_rng(seed))
    assert len(found) == min(places, share)
    assert (np.diff(found) > 0).all()
    assert found[0] >= 0 and found[-1] < places
    np.testing.assert_array_equal(found, places_to_look_at(places, share, np.random.default_rng(seed)))
