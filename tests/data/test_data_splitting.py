"""The split into search and hold-out samples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.data import split
from onnxsens.errors import DataError, UsageError


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 200), st.floats(0, 1, exclude_max=True), st.integers(0, 2**32))
def test_each_sample_is_in_one_side_and_no_side_that_should_hold_samples_is_empty(
    samples: int, holdout: float, seed: int
) -> None:
    held = round(samples * holdout)
    if held == samples or (holdout > 0 and held == 0):
        with pytest.raises(DataError, match="split empty; give more samples"):
            split(samples, holdout, seed)
        return
    drawn = split(samples, holdout, seed)
    assert sorted([*drawn.search, *drawn.holdout]) == list(range(samples))
    assert len(drawn.holdout) == held
    np.testing.assert_array_equal(drawn.holdout, split(samples, holdout, seed).holdout)


def test_the_hold_out_is_the_start_of_the_seeded_permutation() -> None:
    order = np.random.default_rng(5).permutation(10)
    drawn = split(10, 0.3, 5)
    np.testing.assert_array_equal(drawn.holdout, order[:3])
    np.testing.assert_array_equal(drawn.search, order[3:])
    assert drawn.search.dtype == drawn.holdout.dtype == np.int64


def test_another_seed_draws_another_split() -> None:
    assert split(100, 0.5, 0).holdout.tolist() != split(100, 0.5, 1).holdout.tolist()


def test_no_hold_out_leaves_all_samples_for_searching() -> None:
    assert len(split(3, 0.0, 0).search) == 3


@pytest.mark.parametrize("holdout", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_fraction_outside_its_range_is_refused(holdout: float) -> None:
    with pytest.raises(UsageError, match=r"is not in \[0, 1\)"):
        split(10, holdout, 0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="seed -1 is negative"):
        split(10, 0.5, -1)


def test_no_samples_cannot_be_split() -> None:
    with pytest.raises(DataError, match="of 0 samples leaves the search split empty"):
        split(0, 0.0, 0)
