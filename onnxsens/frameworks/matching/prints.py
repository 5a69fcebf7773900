"""Fingerprints of arrays that stay the same when elements change places: compared before any order is tried.

A print is the sum of a hash of every element, over the whole array and over each slice along each axis. Transposing,
reordering gates, joining and cutting leave them recognisable. They say where to look; only equal values are a match.
"""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from onnxsens.arrays import AnyArray

Hashes = NDArray[np.uint64]
PIECE = 1 << 18  # elements that are hashed at once: what fits into a cache


@dataclass(frozen=True, eq=False)
class Print:
    """Of an array.

    Attributes:
        total: of all elements.
        slices: for each axis, one entry for each index along it.
        constant: whether all elements are equal; then the print says nothing about their order.
    """

    shape: tuple[int, ...]
    total: int
    slices: tuple[Hashes, ...] = field(repr=False)
    constant: bool

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)


def print_of(values: AnyArray) -> Print:
    """The print of an array; equal numbers have equal hashes, so +0.0 and -0.0 do, in one element type."""
    shape = values.shape
    slices = tuple(np.zeros(length, np.uint64) for length in shape)
    if values.size == 0 or not shape:
        total = int(hashed(values.reshape(1)).sum()) if values.size else 0
        return Print(shape, total, slices, constant=True)
    rows = max(PIECE // max(prod(shape[1:]), 1), 1)
    first = values[(0,) * len(shape)]
    constant = True
    for start in range(0, shape[0], rows):
        piece = np.ascontiguousarray(values[start : start + rows])
        constant = constant and bool((piece == first).all())
        marks = hashed(piece)
        for axis in range(len(shape)):
            others = tuple(other for other in range(len(shape)) if other != axis)
            sums = marks.sum(axis=others, dtype=np.uint64)
            if axis == 0:
                slices[0][start : start + rows] = sums
            else:
                slices[axis][:] += sums
    return Print(shape, int(slices[0].sum(dtype=np.uint64)), slices, constant)


def hashed(values: AnyArray) -> Hashes:
    """A 64-bit hash of each element's value, in the same shape."""
    width = values.dtype.itemsize
    bits = np.array(values, copy=True)
    bits[bits == 0] = 0  # the bits of -0.0 differ
    marks = bits.view(f"u{width}").astype(np.uint64)
    # Multiply and shift, twice: sums of what comes out are as good as random (after the finaliser of MurmurHash3).
    marks += np.uint64(0x9E3779B97F4A7C15)
    marks ^= marks >> np.uint64(33)
    marks *= np.uint64(0xFF51AFD7ED558CCD)
    marks ^= marks >> np.uint64(33)
    marks *= np.uint64(0xC4CEB9FE1A85EC53)
    marks ^= marks >> np.uint64(33)
    return marks
