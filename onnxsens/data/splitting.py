"""Which samples choose a plan, and which only check it. Knows only how many samples there are."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import IntArray
from onnxsens.errors import DataError, UsageError


@dataclass(frozen=True, eq=False)
class Split:
    """Two disjoint sets of sample indices that together are all samples, and the seed that drew them."""

    search: IntArray
    holdout: IntArray
    seed: int


def split(samples: int, holdout: float, seed: int) -> Split:
    """Draw the hold-out split: the first `round(samples * holdout)` of a seeded permutation; the rest is for searching.

    Args:
        samples: how many there are.
        holdout: fraction in [0, 1); 0 leaves the hold-out split empty.
        seed: at least 0.

    Raises:
        UsageError: `holdout` or `seed` is out of range.
        DataError: too few samples for both sides to get one.
    """
    if not 0 <= holdout < 1:
        raise UsageError(f"hold-out fraction of {holdout} is not in [0, 1); give one like 0.5")
    generator = seeded(seed)
    held = round(samples * holdout)
    if samples < 1 or held == samples or (holdout > 0 and held == 0):
        empty = "hold-out" if samples > 0 and held == 0 else "search"
        raise DataError(
            f"a hold-out fraction of {holdout} of {samples} samples leaves the {empty} split empty; "
            "give more samples or another fraction"
        )
    order = generator.permutation(samples).astype(np.int64, copy=False)
    return Split(search=order[held:], holdout=order[:held], seed=seed)


def seeded(seed: int) -> np.random.Generator:
    """The generator for `seed`, which must be at least 0."""
    if seed < 0:
        raise UsageError(f"seed {seed} is negative; give 0 or more")
    return np.random.default_rng(seed)
