"""Moments of a weight's inputs in two models at once, the dense one and one that is pruned before the weight.

Knows matrices, no models.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array, FloatArray, IntArray
from onnxsens.techniques.moments import Moments, outer


@dataclass(eq=False)
class PairedBuilder:
    """Takes rows of both as they come, and holds sums in float64.

    Products of one batch are made in float32, of what differs from the batch's mean: where an input hardly varies,
    nothing else would be left of it but rounding.

    Attributes:
        taken: rows so far, in each group.
    """

    groups: int
    width: int
    taken: int = 0

    def __post_init__(self) -> None:
        square = (self.groups, self.width, self.width)
        self._inputs = np.zeros(square)
        self._cross: Float64Array | None = None
        self._mean = np.zeros(square[:2])
        self._dense_mean = np.zeros(square[:2])

    def add(self, some: "Sums") -> None:
        """Those of one batch."""
        self.taken += some.taken
        self._inputs += some.inputs
        self._inputs += some.taken * outer(some.mean, some.mean)
        self._mean += some.taken * some.mean
        if some.cross is not None and some.dense_mean is not None:
            self._cross = np.zeros_like(self._inputs) if self._cross is None else self._cross
            self._cross += some.cross
            self._cross += some.taken * outer(some.dense_mean, some.mean)
            self._dense_mean += some.taken * some.dense_mean

    def made(self) -> Moments:
        """Means over all rows, of which at least one was taken; in the place of the sums, so it is asked for once."""
        for sums in (self._inputs, self._mean, self._dense_mean, *([] if self._cross is None else [self._cross])):
            np.divide(sums, self.taken, out=sums)
        if self._cross is None:
            return Moments(self._inputs, self._mean, rows=self.taken)
        return Moments(self._inputs, self._mean, self._cross, self._dense_mean, self.taken)


@dataclass(frozen=True, eq=False)
class Sums:
    """Over the rows of one batch: products of what differs from their means, and the means."""

    taken: int
    inputs: AnyArray
    mean: Float64Array
    cross: AnyArray | None
    dense_mean: Float64Array | None

    @classmethod
    def of(cls, rows: AnyArray, dense: AnyArray | None) -> "Sums":
        """Rows `[groups, taken, in]` as pruned so far, and what the dense model has at the same places.

        Args:
            dense: None while nothing before the weight has changed; then for all batches.
        """
        mean = rows.mean(axis=1, dtype=np.float64)
        rows = less(rows, mean)
        inputs = rows.transpose(0, 2, 1) @ rows
        if dense is None:
            return cls(rows.shape[1], inputs, mean, None, None)
        dense_mean = dense.mean(axis=1, dtype=np.float64)
        return cls(rows.shape[1], inputs, mean, less(dense, dense_mean).transpose(0, 2, 1) @ rows, dense_mean)


def less(rows: AnyArray, mean: Float64Array) -> FloatArray:
    """Rows `[groups, taken, in]` less means `[groups, in]`."""
    found: FloatArray = (rows - mean[:, None, :].astype(rows.dtype)).astype(np.float32, copy=False)
    return found


def places_to_look_at(places: int, share: int, rng: np.random.Generator) -> IntArray:
    """All places of a batch, or a share of them, spread at random and in order."""
    if share >= places:
        return np.arange(places)
    return np.sort(rng.choice(places, share, replace=False, shuffle=False))
