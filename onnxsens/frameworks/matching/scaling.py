"""Stored tensors that are a parameter times a factor for each slice along an axis: what folding a BatchNorm leaves.

First by numbers that neither a factor nor an order changes, the ratio of a slice's norms; then by the cosine of every
pair of slices.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from onnxsens.arrays import AnyArray, BoolArray, Float64Array
from onnxsens.frameworks.matching.alignment import orders
from onnxsens.frameworks.matching.source import Source

SAME = 1e-5  # how far a cosine may be from 1 where both hold float32
ROUNDED = 2e-3  # where one of them is quantized or has 16 bits
FREEDOM = 16  # elements less factors: with fewer, a factor a slice explains anything
CLEARLY = 4.0  # by how much the best has to be nearer to 1 than the next one


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
    order: tuple[int, ...]
    axis: int
    scale: Float64Array = field(repr=False)
    off: float
    freedom: int


class Shapes:
    """Ratios of norms of sources along their axes, each computed once."""

    def __init__(self) -> None:
        self._known: dict[str, list[Float64Array]] = {}

    def of(self, source: Source) -> list[Float64Array]:
        """For each axis."""
        if source.name not in self._known:
            self._known[source.name] = ratios(source.values())
        return self._known[source.name]


def ratios(values: AnyArray) -> list[Float64Array]:
    """For each axis and index: sum of magnitudes over the root of the sum of squares times the number; NaN for 0."""
    sizes = np.abs(values.astype(np.float32, copy=False))
    found = []
    for axis in range(values.ndim):
        others = tuple(other for other in range(values.ndim) if other != axis)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            peak = sizes.max(axis=others, keepdims=True, initial=0)
            relative = sizes / peak  # squares of tiny numbers are 0 in float32
            one = relative.sum(axis=others, dtype=np.float64)
            two = np.square(relative, out=relative).sum(axis=others, dtype=np.float64)
            count = values.size / max(values.shape[axis], 1)
            found.append(one / np.sqrt(two * count))
    return found


def scaled_matches(values: AnyArray, sources: Iterable[Source], shapes: Shapes, *, rounded: bool) -> list[Scaled]:
    """Every way in which the tensor is a parameter times factors, the nearest first; each parameter at most once.

    Args:
        sources: of the tensor's size.
        rounded: whether the tensor's numbers are less exact than float32.
    """
    own = ratios(values)
    limit = ROUNDED if rounded else SAME
    found: list[Scaled] = []
    for source in sources:
        if source.print.constant:
            continue
        candidates = [
            scaled
            for axis, theirs in pairs(own, shapes.of(source), values.shape, source.shape, rounded=rounded)
            for scaled in compared(values, source, axis, theirs, limit)
        ]
        if candidates:
            found.append(min(candidates, key=lambda scaled: (scaled.off > limit / 100, -scaled.freedom, scaled.off)))
    return sorted(found, key=lambda scaled: scaled.off)


def pairs(
    own: list[Float64Array],
    theirs: list[Float64Array],
    shape: tuple[int, ...],
    source_shape: tuple[int, ...],
    *,
    rounded: bool,
) -> Iterator[tuple[int, int]]:
    """Axes of the tensor and of the source whose slices may differ by factors only."""
    for axis, length in enumerate(shape):
        for source_axis, source_length in enumerate(source_shape):
            if length != source_length:
                continue
            one, other = own[axis], theirs[source_axis]
            live = np.isfinite(one) & np.isfinite(other)
            if 2 * live.sum() > length and np.abs(one - other)[live].max() < (0.05 if rounded else 1e-4):
                yield axis, source_axis


def compared(values: AnyArray, source: Source, axis: int, source_axis: int, limit: float) -> Iterator[Scaled]:
    """Every order of the source's other axes in which each slice along `axis` is a multiple of the tensor's."""
    length = values.shape[axis]
    target = np.moveaxis(values, axis, 0).reshape(length, -1).astype(np.float64)
    held = source.values()
    seen: set[tuple[int, ...]] = set()
    for order in orders(held.shape):
        inner = [other for other in order if other != source_axis]
        key = tuple(other for other in inner if held.shape[other] > 1)
        if key in seen:
            continue
        seen.add(key)
        moved = held.transpose(source_axis, *inner).reshape(length, -1).astype(np.float64)
        off, scale, live = cosines(target, moved)
        if live.sum() * 2 > length and off < limit:
            full = place_axis(inner, source_axis, axis, held.shape, values.shape)
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
        cosine = np.abs(dot) / np.sqrt(one * other)
        scale = np.where(live, dot / other, 0.0)
    return float(np.max(1 - cosine[live])), scale, live


def place_axis(
    inner: list[int], source_axis: int, axis: int, shape: tuple[int, ...], to_shape: tuple[int, ...]
) -> tuple[int, ...] | None:
    """The order of all source axes that puts `source_axis` where the tensor has `axis`; None where none does."""
    before = int(np.prod(to_shape[:axis], dtype=np.int64))
    size = 1
    for position in range(len(inner) + 1):
        if size == before:
            return (*inner[:position], source_axis, *inner[position:])
        if position < len(inner):
            size *= shape[inner[position]]
    return None
