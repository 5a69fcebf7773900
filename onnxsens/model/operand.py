"""A tensor that consists of stored elements, moved but not computed: what stands between a weight and its operator.

Knows moves, cuts and joins of elements; the operators that do them are in `structure`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray, IntArray
from onnxsens.model.coding import FLOATS, Affine, Coding, Plain, merged
from onnxsens.model.layout import Move, Reshape, Shape, Transpose
from onnxsens.model.stored import Stored


@dataclass(frozen=True, eq=False)
class Operand:
    """Stored elements under another shape.

    Attributes:
        sources: stored tensors that elements come from.
        moves: from the only source, whole; None where elements were cut or joined.
        positions: makes, for each element, its place in the flat row of all sources; as many as the shape has.
        elem_type: ONNX's number of the type seen here.
        codings: for each source, how its elements become the numbers seen here; None while they are bare integers.
        through: operators on the way.
        steps: scale and zero point of a QuantizeLinear on the way, until it is undone.
    """

    shape: Shape
    sources: tuple[Stored, ...]
    moves: tuple[Move, ...] | None
    positions: Callable[[], IntArray] = field(repr=False)
    elem_type: int
    codings: tuple[Coding | None, ...]
    through: tuple[str, ...] = ()
    steps: Affine | None = None

    def moved(self, move: Move, shape: Shape, operator: str) -> "Operand":
        """The same elements after a reshape or transpose."""
        before = self.positions
        return replace(
            self,
            shape=shape,
            moves=None if self.moves is None else (*self.moves, move),
            positions=lambda: move.forward(before()),
            through=(*self.through, operator),
        )

    def reshaped(self, shape: Shape, operator: str) -> "Operand":
        """Under another shape."""
        return self.moved(Reshape(self.shape, shape), shape, operator)

    def transposed(self, order: Sequence[int], operator: str) -> "Operand":
        """With axes in another order."""
        return self.moved(Transpose(tuple(order)), tuple(self.shape[axis] for axis in order), operator)

    def cut(self, taken: Callable[[AnyArray], AnyArray], operator: str) -> "Operand":
        """Some of the elements: what `taken` leaves of an array of this shape."""
        before = self.positions
        # A stand-in of one element, seen under the whole shape, tells the shape that is left.
        shape = taken(np.broadcast_to(np.int8(0), self.shape)).shape
        return replace(
            self, shape=shape, moves=None, positions=lambda: taken(before()), through=(*self.through, operator)
        )

    def read_as(self, elem_type: int, codings: Sequence[Coding | None], operator: str, **changes: Any) -> "Operand":
        """The same elements, taken for other numbers."""
        return replace(self, elem_type=elem_type, codings=tuple(codings), through=(*self.through, operator), **changes)

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    def reached(self) -> list[Stored]:
        """The sources that elements are left of; a cut may have left none of some."""
        if self.moves is not None or (len(self.sources) == 1 and self.size):
            return list(self.sources)
        offsets = np.array(self.offsets())
        numbers = np.unique(np.searchsorted(offsets, self.positions().reshape(-1), side="right") - 1)
        return [self.sources[number] for number in numbers]

    def offsets(self) -> list[int]:
        """Where each source begins in the flat row of all."""
        return [0, *np.cumsum([prod(source.shape) for source in self.sources]).tolist()]

    def to_sources(self, values: AnyArray) -> list[AnyArray]:
        """What belongs to each source of `values`, which broadcast against this operand's shape.

        Each result broadcasts against its source's shape; NaN, or 0 in integers, where this operand does not reach.
        """
        if self.moves is not None:
            if values.size == 1:
                return [values.reshape(())]
            if not self.moves:
                return [values]
            full = np.broadcast_to(values, self.shape)
            for move in reversed(self.moves):
                full = move.back(full)
            return [full]
        offsets = self.offsets()
        nowhere = np.nan if values.dtype.kind == "f" else 0
        row = np.full(offsets[-1], nowhere, dtype=values.dtype)
        row[self.positions()] = np.broadcast_to(values, self.shape)
        return [
            row[start:stop].reshape(source.shape)
            for source, start, stop in zip(self.sources, offsets, offsets[1:], strict=False)
        ]

    def dequantized(self, scale: FloatArray, zero_point: AnyArray) -> list[Coding | None]:
        """Codings for a scale and zero point that broadcast against this operand's shape."""
        return [
            Affine(of_scale, of_zero)
            for of_scale, of_zero in zip(self.to_sources(scale), self.to_sources(zero_point), strict=True)
        ]


def whole(source: Stored) -> Operand:
    """A stored tensor as it is."""
    shape, size = source.shape, prod(source.shape)
    plain = source.tensor.data_type in FLOATS
    # A table of positions is as large as the weight itself: narrow where that is enough.
    index: Any = np.int32 if size < 2**31 else np.int64
    return Operand(
        shape,
        (source,),
        (),
        lambda: np.arange(size, dtype=index).reshape(shape),
        source.tensor.data_type,
        (Plain() if plain else None,),
    )


def joined(parts: Sequence[Operand], axis: int, operator: str) -> Operand:
    """Operands side by side along an axis."""
    if len(parts) == 1:
        return replace(parts[0], through=(*parts[0].through, operator))
    sources: dict[str, Stored] = {}
    codings: dict[str, Coding | None] = {}
    starts: dict[str, int] = {}
    size = 0
    for part in parts:
        for source, coding in zip(part.sources, part.codings, strict=True):
            if source.name not in sources:
                sources[source.name], codings[source.name], starts[source.name] = source, coding, size
                size += prod(source.shape)
            elif coding is not None:
                codings[source.name] = merged(codings[source.name], coding)

    def positions() -> IntArray:
        placed = []
        for part in parts:
            before = part.positions()
            offsets = np.array(part.offsets())
            number = np.searchsorted(offsets, before, side="right") - 1
            moved = np.array([starts[source.name] for source in part.sources]) - offsets[:-1]
            placed.append(before + moved[number])
        return np.concatenate(placed, axis=axis)

    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    through = tuple(dict.fromkeys(name for part in parts for name in part.through))
    return Operand(
        tuple(shape),
        tuple(sources.values()),
        None,
        positions,
        parts[0].elem_type,
        tuple(codings.values()),
        (*through, operator),
    )
