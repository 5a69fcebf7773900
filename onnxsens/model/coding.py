"""What a stored element is to the operator that multiplies by it: a number, whatever type it is kept in.

`decode` gives float32 for ranking and changing; `encode` goes back, and leaves alone the bits of what did not change.
A pruned element is zero in the operator's eyes: +0.0 in a floating-point type, the zero point in a quantized one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
from onnx import TensorProto

from onnxsens.arrays import AnyArray, BoolArray, FloatArray

# Element types that hold plain numbers, and whose zero is +0.0.
FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
# Element types that stand for other numbers by a scale and a zero point.
INTEGERS = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32})
# Element types of indices, lengths and flags.
COUNTS = frozenset({TensorProto.INT64, TensorProto.UINT64, TensorProto.UINT32, TensorProto.BOOL, TensorProto.STRING})

TINY = np.float32(np.finfo(np.float32).smallest_subnormal)
LARGEST = np.float32(np.finfo(np.float32).max)
# No difference of two integers of at most 32 bits, times a smaller scale than this, is beyond float32.
SAFE_SCALE = LARGEST / np.float32(2.0**34)
# Elements that are decoded at once where they are only counted.
PIECE = 2**20


class Coding(Protocol):
    """Stored elements to float32 and back, in the stored shape."""

    def decode(self, stored: AnyArray) -> FloatArray:
        """What the operator sees; 0 where and only where it sees 0."""

    def encode(self, values: FloatArray, stored: AnyArray) -> AnyArray:
        """A new stored array for these values; elements equal to the decoded `stored` keep its bits."""

    def zeros(self, stored: AnyArray) -> int:
        """How many elements decode to 0, counted without decoding them all at once."""

    def broken(self, stored: AnyArray) -> int:
        """How many elements decode to NaN or an infinity, counted in the same way."""


@dataclass(frozen=True)
class Plain:
    """Floating-point numbers as they are."""

    def decode(self, stored: AnyArray) -> FloatArray:
        """A view where they are float32 already.

        float64 has smaller and larger numbers than float32; they must not look like zeros or infinities.
        """
        if stored.dtype != np.float64:
            return stored.astype(np.float32, copy=False)
        with np.errstate(over="ignore", under="ignore"):
            narrow = stored.astype(np.float32)
        vanished = (narrow == 0) & (stored != 0)
        narrow[vanished] = np.copysign(TINY, stored[vanished])
        overflown = np.isinf(narrow) & np.isfinite(stored)
        narrow[overflown] = np.copysign(LARGEST, stored[overflown])
        return narrow

    def encode(self, values: FloatArray, stored: AnyArray) -> AnyArray:
        """Rounded to the stored type."""
        if stored.dtype == np.float32:
            return np.ascontiguousarray(values)
        new = stored.copy()
        changed = ~unchanged(values, self.decode(stored))
        pruned = changed & (values == 0) & ~np.signbit(values)
        np.copyto(new, stored.dtype.type(0), where=pruned)
        changed &= ~pruned
        new[changed] = values[changed].astype(stored.dtype)
        return new

    def zeros(self, stored: AnyArray) -> int:
        """In the stored type: decoding makes no zero, and loses none."""
        return stored.size - int(np.count_nonzero(stored))

    def broken(self, stored: AnyArray) -> int:
        """In the stored type: decoding makes no infinity."""
        with np.errstate(invalid="ignore"):  # of some types, a NaN warns when it is looked at
            return stored.size - int(np.count_nonzero(np.isfinite(stored)))


@dataclass(frozen=True, eq=False)
class Affine:
    """`(stored - zero_point) * scale`. Source: ONNX operator DequantizeLinear.

    Attributes:
        scale, zero_point: broadcast against the stored shape; the zero point is of the stored type.
    """

    scale: FloatArray
    zero_point: AnyArray

    def decode(self, stored: AnyArray) -> FloatArray:
        """A copy, and no other array of its size. A scale of 0 makes everything 0, for the operator too."""
        steps = stored.astype(np.float32)
        np.subtract(steps, self.zero_point, out=steps, dtype=np.float32, casting="same_kind")
        with np.errstate(over="ignore", invalid="ignore"):
            steps *= self.scale
        return steps

    def encode(self, values: FloatArray, stored: AnyArray) -> AnyArray:
        """Rounded half to even, clipped to the stored type's range."""
        new = stored.copy()
        changed = ~unchanged(values, self.decode(stored))
        pruned = changed & (values == 0)
        np.copyto(new, self.zero_point, where=pruned)
        changed &= ~pruned
        if changed.any():
            scale = np.broadcast_to(self.scale, stored.shape)[changed]
            zero_point = np.broadcast_to(self.zero_point, stored.shape)[changed]
            limits = np.iinfo(stored.dtype)
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                steps = np.rint(np.nan_to_num(values[changed] / scale)) + zero_point
            new[changed] = np.clip(steps, limits.min, limits.max).astype(stored.dtype)
        return new

    def zeros(self, stored: AnyArray) -> int:
        """Those at the zero point, where that can be said of the integers themselves.

        It cannot where a scale is 0 or not finite, or where two integers are one number in float32.
        """
        distinct = stored.dtype.itemsize < 4 or not np.any(self.zero_point)
        if distinct and np.all(np.isfinite(self.scale)) and np.all(self.scale):
            return int(np.count_nonzero(stored == self.zero_point))
        return sum(values.size - int(np.count_nonzero(values)) for values in self._pieces(stored))

    def broken(self, stored: AnyArray) -> int:
        """None, where no scale is so large."""
        if np.all(np.abs(self.scale) < SAFE_SCALE):
            return 0
        return sum(values.size - int(np.count_nonzero(np.isfinite(values))) for values in self._pieces(stored))

    def _pieces(self, stored: AnyArray) -> Iterator[FloatArray]:
        """Decoded, some of the first axis at a time."""
        if stored.ndim == 0:
            yield self.decode(stored)
            return
        scale = np.broadcast_to(self.scale, stored.shape)
        zero_point = np.broadcast_to(self.zero_point, stored.shape)
        rows = max(PIECE // max(prod(stored.shape[1:]), 1), 1)
        for start in range(0, len(stored), rows):
            piece = slice(start, start + rows)
            yield Affine(scale[piece], zero_point[piece]).decode(stored[piece])


def unchanged(values: FloatArray, dense: FloatArray) -> BoolArray:
    """Where the bits agree: a -0.0 that is pruned becomes +0.0, and NaN equals itself."""
    same: BoolArray = np.ascontiguousarray(values).view(np.uint32) == np.ascontiguousarray(dense).view(np.uint32)
    return same


def merged(one: Coding | None, other: Coding | None) -> Coding | None:
    """One coding for a tensor that is read by both, or in part by each; None where they disagree on what is zero."""
    if isinstance(one, Plain) and isinstance(other, Plain):
        return one
    if not (isinstance(one, Affine) and isinstance(other, Affine)):
        return None
    first, second = ~np.isnan(one.scale), ~np.isnan(other.scale)
    if np.any(first & second & (one.zero_point != other.zero_point)):
        return None
    if first.all():
        return one
    return Affine(np.where(first, one.scale, other.scale), np.where(first, one.zero_point, other.zero_point))
