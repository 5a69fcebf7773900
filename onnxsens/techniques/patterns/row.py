"""Elements compete within their output row only, so that all rows stay equally dense."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.techniques.patterns.unstructured import zero_count


@dataclass(frozen=True)
class RankedRows:
    """The scores of one weight, each row ready to be cut at any rank.

    Attributes:
        scores: `[rows, columns]`.
    """

    scores: FloatArray

    @cached_property
    def _ascending(self) -> FloatArray:
        # Sorted scores take half the memory of an order, and a tenth of the time.
        return np.sort(self.scores, axis=1)

    def mask(self, sparsity: float) -> Mask:
        """Keep the highest scores of every row; exactly `round(sparsity * columns)` elements of each are zeroed."""
        return self.without(zero_count(self.scores.shape[1], sparsity))

    def without(self, zeros: int) -> Mask:
        """Zero so many elements of every row, the lower index first where scores are the same."""
        if zeros == 0:
            return np.ones(self.scores.shape, dtype=np.bool_)
        threshold = self._ascending[:, zeros - 1, None]
        kept: Mask = self.scores > threshold
        tied = self.scores == threshold
        extra = self.scores.shape[1] - zeros - np.count_nonzero(kept, axis=1)  # of the tied ones, the last so many stay
        some = np.flatnonzero(extra)
        tied = tied[some]
        going = np.count_nonzero(tied, axis=1) - extra[some]
        kept[some] |= tied & (np.cumsum(tied, axis=1, dtype=np.int32) > going[:, None])
        return kept


@dataclass(frozen=True)
class Row:
    """Every output row loses the same number of elements."""

    def rank(self, scores: FloatArray) -> RankedRows:
        """Sort when first asked, mask at many levels."""
        return RankedRows(scores)

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """As many in every row."""
        return shape[0] * zero_count(shape[1], sparsity)

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Any weight will do."""
        return None
