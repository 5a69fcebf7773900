"""Second moments, against sums written out."""

import numpy as np
import pytest

from onnxsens.engine.grams import Gram, GramBuilder

RNG = np.random.default_rng(5)


def gram_of(batches: list[np.ndarray], places: list[int] | None = None) -> Gram:
    builder = GramBuilder(batches[0].shape[0], batches[0].shape[2])
    for number, rows in enumerate(batches):
        builder.add(rows, places[number] if places else rows.shape[1])
    return builder.made()


def random_rows(groups: int, rows: int, width: int) -> np.ndarray:
    return RNG.standard_normal((groups, rows, width)).astype(np.float32)


@pytest.mark.parametrize("rows", [[3], [3, 0, 2], [9, 1, 30], [40]])
@pytest.mark.parametrize("groups", [1, 3])
def test_few_rows_and_many_give_the_sum_of_outer_products(groups: int, rows: list[int]) -> None:
    batches = [random_rows(groups, number, 5) for number in rows]
    gram = gram_of(batches)
    expected = np.zeros((groups, 5, 5))
    for batch in batches:
        for group in range(groups):
            for row in batch[group].astype(np.float64):
                expected[group] += np.outer(row, row)
    np.testing.assert_allclose(gram.matrix(), expected, rtol=1e-12, atol=1e-12)
    assert gram.matrix().dtype == np.float64
    assert (gram.taken, gram.places, gram.groups, gram.width) == (sum(rows), sum(rows), groups, 5)
    assert (gram.product is None) == (sum(rows) < 10)


@pytest.mark.parametrize("rows", [4, 40])
@pytest.mark.parametrize("groups", [1, 3])
def test_energy_is_the_sum_of_squares_of_what_each_group_makes(rows: int, groups: int) -> None:
    batch, change = random_rows(groups, rows, 5), random_rows(1, 2 * groups, 5)[0]
    expected = 0.0
    for group in range(groups):
        for out in (2 * group, 2 * group + 1):
            expected += float(((batch[group].astype(np.float64) @ change[out].astype(np.float64)) ** 2).sum())
    assert gram_of([batch]).energy(change) == pytest.approx(expected, rel=1e-6)
    assert gram_of([batch]).energy(change * 0) == 0


def test_energy_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, change = random_rows(1, 4, 5), random_rows(1, 7, 5)[0]
    whole = gram_of([batch]).energy(change)
    monkeypatch.setattr("onnxsens.engine.grams.PIECE", 8)
    assert gram_of([batch]).energy(change) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("taken", [2, 20])
def test_sampled_rows_stand_for_all_places(taken: int) -> None:
    rows = random_rows(1, taken, 3)
    sampled = gram_of([rows, rows], [4 * taken, taken])
    np.testing.assert_allclose(sampled.matrix(), 5 * gram_of([rows]).matrix(), rtol=1e-6)
    assert (sampled.taken, sampled.places) == (2 * taken, 5 * taken)


def test_double_rows_stay_double_and_half_ones_become_single() -> None:
    wide = gram_of([RNG.standard_normal((1, 3, 4))])
    half = gram_of([random_rows(1, 3, 4).astype(np.float16)])
    assert wide.factor is not None and wide.factor.dtype == np.float64
    assert half.factor is not None and half.factor.dtype == np.float32
