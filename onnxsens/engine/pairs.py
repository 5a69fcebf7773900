"""Moments of a weight's inputs in two models at once, the dense one and one that is pruned before the weight.

Knows matrices, no models.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array, IntArray
from onnxsens.techniques.moments import Moments


@dataclass(eq=False)
class PairedBuilder:
    """Takes rows of both as they come, and holds sums in float64; products of one batch are made in float32.

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
        self._mean += some.mean
        if some.cross is not None:
            self._cross = np.zeros_like(self._inputs) if self._cross is None else self._cross
            self._cross += some.cross
            self._dense_mean += some.dense_mean

    def made(self) -> Moments:
        """Means over all rows; at least one was taken."""
        inputs, mean = self._inputs / self.taken, self._mean / self.taken
        if self._cross is None:
            return Moments(inputs, mean, rows=self.taken)
        return Moments(inputs, mean, self._cross / self.taken, self._dense_mean / self.taken, self.taken)


@dataclass(frozen=True, eq=False)
class Sums:
    """Over the rows of one batch."""

    taken: int
    inputs: AnyArray
    mean: AnyArray
    cross: AnyArray | None
    dense_mean: AnyArray | None

    @classmethod
    def of(cls, rows: AnyArray, dense: AnyArray | None) -> "Sums":
        """Rows `[groups, taken, in]` as pruned so far, and what the dense model has at the same places.

        Args:
            dense: None while nothing before the weight has changed; then for all batches.
        """
        rows = rows.astype(np.float32, copy=False)
        inputs, mean = rows.transpose(0, 2, 1) @ rows, rows.sum(axis=1, dtype=np.float64)
        if dense is None:
            return cls(rows.shape[1], inputs, mean, None, None)
        dense = dense.astype(np.float32, copy=False)
        return cls(rows.shape[1], inputs, mean, dense.transpose(0, 2, 1) @ rows, dense.sum(axis=1, dtype=np.float64))


def places_to_look_at(places: int, share: int, rng: np.random.Generator) -> IntArray:
    """All places of a batch, or a share of them, spread at random and in order."""
    if share >= places:
        return np.arange(places)
    return np.sort(rng.choice(places, share, replace=False, shuffle=False))
