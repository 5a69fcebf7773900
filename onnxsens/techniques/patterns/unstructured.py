"""Any element may go: the whole weight is one group."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxsens.arrays import FloatArray, IntArray, Mask

PIECE = 2**18  # elements looked at together, so that nothing as large as the weight is made
SHIFT = 16  # of a score's 32 bits, the upper ones tell its bin
KEPT_BINS = 2**24  # elements up to which every score's bin is kept, which makes many levels quicker


@dataclass(frozen=True)
class RankedElements:
    """The scores of one weight, ready to be cut at any rank.

    Neither an order nor sorted scores are kept: an order takes twice as much memory as the weight itself.

    Attributes:
        scores: flat.
        filled: how many scores are in each bin or a lower one; bins are in the order of scores.
        binned: the bin of each score, or None where there are many.
    """

    scores: FloatArray
    filled: IntArray
    binned: NDArray[np.uint16] | None
    shape: tuple[int, ...]

    def mask(self, sparsity: float) -> Mask:
        """Keep the highest scores; exactly `round(sparsity * size)` elements are zeroed.

        Ties zero the lower index first, so a mask is reproducible and never misses its sparsity. Masks are nested:
        what is zeroed at s stays zeroed above s.
        """
        zeros = zero_count(self.scores.size, sparsity)
        if zeros == 0:
            return np.ones(self.shape, dtype=np.bool_)
        threshold = self._smallest(zeros)
        kept = self.scores > threshold
        missing = zeros - sum(int(np.count_nonzero(piece < threshold)) for piece in pieces(self.scores))
        for number, piece in enumerate(pieces(self.scores)):
            # Those below the threshold go; of the tied ones as many as are missing.
            tied = np.flatnonzero(piece == threshold)
            kept[number * PIECE + tied[missing:]] = True
            missing -= min(missing, tied.size)
        return kept.reshape(self.shape)

    def _smallest(self, rank: int) -> np.float32:
        """The score of this rank, from 1, ascending."""
        chosen = int(np.searchsorted(self.filled, rank))
        before = int(self.filled[chosen - 1]) if chosen else 0
        if self.binned is not None:
            found = self.scores[self.binned == chosen]
        else:
            found = np.concatenate([piece[bins(piece) == chosen] for piece in pieces(self.scores)])
        smallest: np.float32 = np.partition(found, rank - 1 - before)[rank - 1 - before]
        return smallest


def pieces(scores: FloatArray) -> Iterator[FloatArray]:
    """The flat scores, some at a time."""
    for start in range(0, scores.size, PIECE):
        yield scores[start : start + PIECE]


def bins(scores: FloatArray) -> NDArray[np.uint16]:
    """A small number for each score that grows with it; equal scores, equal number."""
    bits = (scores + np.float32(0)).view(np.uint32)  # adding 0 makes -0.0 the 0.0 that it equals
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> SHIFT).astype(np.uint16)


@dataclass(frozen=True)
class Unstructured:
    """Every element competes with every other of the same weight."""

    def rank(self, scores: FloatArray) -> RankedElements:
        """Count once, mask at many levels."""
        flat = scores.reshape(-1)
        counts = np.zeros(1 << (32 - SHIFT), np.int64)
        binned = np.empty(flat.size, np.uint16) if flat.size <= KEPT_BINS else None
        for number, piece in enumerate(pieces(flat)):
            own = bins(piece)
            counts += np.bincount(own, minlength=counts.size)
            if binned is not None:
                binned[number * PIECE : number * PIECE + piece.size] = own
        return RankedElements(flat, np.cumsum(counts), binned, scores.shape)

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """How many elements a mask of this sparsity zeroes."""
        return zero_count(shape[0] * shape[1], sparsity)

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Any weight will do."""
        return None


def zero_count(size: int, sparsity: float) -> int:
    """`round(sparsity * size)`, halves to even."""
    return round(sparsity * size)
