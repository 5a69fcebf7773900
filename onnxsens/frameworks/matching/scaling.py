"""Stored tensors that are a parameter times a factor for each slice along an axis: what folding a BatchNorm leaves.

First by numbers that neither a factor nor an order changes, the ratio of a slice's norms; then by the cosine of every
pair of slices.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from math import prod

import numpy as np

from onnxsens.arrays import AnyArray, BoolArray, Float64Array
from onnxsens.frameworks.matching.alignment import orders
from onnxsens.frameworks.matching.source import Source

Axes = tuple[int, ...]

# How far a cosine may be from 1: where both hold float32, where one was rounded to 16 bits, where one is quantized.
SAME = 1e-10
HALF = 1e-6  # float16
BRAIN = 1e-5  # bfloat16
QUANTIZED = 0.05  # where half a step is the proof
FREEDOM = 16  # elements less factors: with fewer, a factor a slice explains anything
CLEARLY = 4.0  # by how much the best has to be nearer to 1 than the next one
NEAREST = 1e-12  # below that distance nothing is nearer than another
MERGED_RANK = 4  # of sources of which two axes together may be one of the tensor: depthwise kernels


@dataclass(frozen=True, eq=False)
class Scaled:
    """A parameter that a tensor is, up to factors.

    Attributes:
        order: of the source's axes.
        axis: of the tensor, along which factors differ.
        scale: `[length]`, tensor over parameter; 0 where either is zero.
        off: the largest distance of a cosine from 1 (or -1).
        freedom: elements of live slices less the number of these.
    """

    source: Source
    order: Axes
    axis: int
    scale: Float64Array = field(repr=False)
    off: float
    freedom: int


class Shapes:
    """Ratios of norms of sources along their axes, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, Axes], Float64Array] = {}

    def of(self, source: Source, axes: Axes) -> Float64Array:
        """Along these axes together, the last one fastest."""
        key = source.name, axes
        if key not in self._known:
            self._known[key] = ratios(source.values(), axes)
        return self._known[key]


def ratios(values: AnyArray, axes: Axes) -> Float64Array:
    """For each slice: sum of magnitudes over the root of the sum of squares times the number; NaN where all is 0."""
    others = tuple(other for other in range(values.ndim) if other not in axes)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        relative = np.abs(values.astype(np.float32, copy=False))
        relative = relative / relative.max(axis=others, keepdims=True, initial=0)  # squares of tiny numbers are 0
        one = relative.sum(axis=others, dtype=np.float64)
        two = np.square(relative, out=relative).sum(axis=others, dtype=np.float64)
        found = one / np.sqrt(two * (values.size / max(one.size, 1)))
    kept = sorted(axes)
    return np.asarray(found.transpose([kept.index(axis) for axis in axes]).reshape(-1))


def limit_for(source: Source, dtype: np.dtype, *, exact: bool) -> float:
    """How far cosines may be from 1.

    Args:
        dtype: of the tensor.
        exact: whether the tensor's numbers are as they were stored; quantized ones are not.
    """
    if not exact:
        return QUANTIZED
    if "bfloat16" in (source.parameter.dtype, dtype.name):
        return BRAIN
    return HALF if min(dtype.itemsize, itemsize_of(source)) < 4 else SAME


def itemsize_of(source: Source) -> int:
    """Bytes of an element in the checkpoint."""
    return np.dtype(source.parameter.dtype).itemsize


def scaled_matches(values: AnyArray, sources: Iterable[Source], shapes: Shapes, *, exact: bool) -> list[Scaled]:
    """Every way in which the tensor is a parameter times factors, the nearest first.

    Args:
        sources: of the tensor's size.
        exact: whether the tensor's numbers are as they were stored.
    """
    own = [ratios(values, (axis,)) for axis in range(values.ndim)]
    found: list[Scaled] = []
    for source in sources:
        if source.print.constant:
            continue
        limit = limit_for(source, values.dtype, exact=exact)
        near = 1e-4 if limit == SAME else 0.05 if exact else 0.3
        for axis, axes in pairs(own, source, shapes, near):
            found += compared(values, source, axis, axes, limit)
    return sorted(found, key=lambda scaled: scaled.off)


def pairs(own: list[Float64Array], source: Source, shapes: Shapes, near: float) -> Iterator[tuple[int, Axes]]:
    """An axis of the tensor, and axes of the source that together have the slices along it, up to factors."""
    shape = source.shape
    choices: list[Axes] = [(axis,) for axis in range(len(shape))]
    if len(shape) == MERGED_RANK:
        choices += [pair for pair in permutations(range(len(shape)), 2) if min(shape[axis] for axis in pair) > 1]
    for axis, one in enumerate(own):
        for axes in choices:
            if prod(shape[each] for each in axes) != len(one):
                continue
            other = shapes.of(source, axes)
            live = np.isfinite(one) & np.isfinite(other)
            if live.any() and np.abs(one - other)[live].max() < near:
                yield axis, axes


def compared(values: AnyArray, source: Source, axis: int, axes: Axes, limit: float) -> Iterator[Scaled]:
    """Every order of the source's other axes in which each slice along `axis` is a multiple of the tensor's."""
    length = values.shape[axis]
    target = np.moveaxis(values, axis, 0).reshape(length, -1).astype(np.float64)
    held = source.values()
    seen: set[Axes] = set()
    for order in orders(held.shape):
        inner = [other for other in order if other not in axes]
        key = tuple(other for other in inner if held.shape[other] > 1)
        if key in seen:
            continue
        seen.add(key)
        moved = held.transpose(*axes, *inner).reshape(length, -1).astype(np.float64)
        off, scale, live = cosines(target, moved)
        if live.any() and off < limit:
            full = placed(inner, axes, axis, held.shape, values.shape)
            if full is not None:
                yield Scaled(source, full, axis, scale, off, int(live.sum()) * (target.shape[1] - 1))


def cosines(target: Float64Array, source: Float64Array) -> tuple[float, Float64Array, BoolArray]:
    """The largest distance of a cosine from 1 or -1 over live rows, the factor of each row, and which rows are live."""
    dot = np.einsum("ij,ij->i", target, source)
    one = np.einsum("ij,ij->i", target, target)
    other = np.einsum("ij,ij->i", source, source)
    live = (one > 0) & (other > 0)
    if not live.any() or ((one > 0) & (other == 0)).any():
        return 1.0, np.zeros(len(target)), live
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(live, dot / other, 0.0)
        # The sine's square, from what is left: 1 - cosine would be lost in rounding.
        left = target - scale[:, None] * source
        sine = np.einsum("ij,ij->i", left, left)[live] / one[live]
    return float(sine.max() / 2), scale, live


def placed(inner: list[int], axes: Axes, axis: int, shape: Axes, to_shape: Axes) -> Axes | None:
    """The order of all source axes that puts `axes` where the tensor has `axis`; None where none does."""
    before = prod(to_shape[:axis])
    size = 1
    for position in range(len(inner) + 1):
        if size == before:
            return (*inner[:position], *axes, *inner[position:])
        if position < len(inner):
            size *= shape[inner[position]]
    return None
