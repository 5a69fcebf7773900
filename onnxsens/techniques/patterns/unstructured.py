"""Any element may go: the whole weight is one group."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray, IntArray, Mask


@dataclass(frozen=True)
class RankedElements:
    """All elements of one weight, least important first."""

    order: IntArray
    shape: tuple[int, ...]

    def mask(self, sparsity: float) -> Mask:
        """Keep the highest scores; exactly `round(sparsity * size)` elements are zeroed.

        Ties zero the lower index first, so a mask is reproducible and never misses its sparsity. Masks are nested:
        what is zeroed at s stays zeroed above s.
        """
        kept = np.ones(self.order.size, dtype=np.bool_)
        kept[self.order[: zero_count(self.order.size, sparsity)]] = False
        return kept.reshape(self.shape)


@dataclass(frozen=True)
class Unstructured:
    """Every element competes with every other of the same weight."""

    def rank(self, scores: FloatArray) -> RankedElements:
        """Sort once, mask at many levels."""
        return RankedElements(np.argsort(scores, axis=None, kind="stable"), scores.shape)

    def zeros(self, size: int, sparsity: float) -> int:
        """How many elements a mask of this sparsity zeroes."""
        return zero_count(size, sparsity)


def zero_count(size: int, sparsity: float) -> int:
    """`round(sparsity * size)`, halves to even."""
    return round(sparsity * size)
