"""A stored tensor of an ONNX file as pieces of source parameters: boxes of elements whose axes stand in another order.

One form for all that exporters do to a weight: transposing, casting, reordering gates, joining q, k and v, stacking
the two directions of a recurrent layer, cutting a parameter in two. Knows arrays, no ONNX and no framework.
"""

from collections.abc import Mapping, Sequence
from math import prod

import msgspec
import numpy as np

from onnxsens.arrays import AnyArray


class Piece(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A box of a parameter, and the box of the stored tensor that it fills.

        tensor[to_start:to_stop] == flip(parameter[start:stop], flip).transpose(order).reshape(to_stop - to_start)

    times a factor, where the mapping has one. Boxes have one entry for each axis.

    Attributes:
        flip: axes of the parameter that run backwards in the tensor.
        order: axes of the parameter, in the order in which the tensor has them.
    """

    parameter: str
    start: list[int]
    stop: list[int]
    order: list[int]
    to_start: list[int]
    to_stop: list[int]
    flip: list[int] = []

    @property
    def box(self) -> tuple[slice, ...]:
        """Of the parameter."""
        return tuple(slice(*bounds) for bounds in zip(self.start, self.stop, strict=True))

    @property
    def to_box(self) -> tuple[slice, ...]:
        """Of the stored tensor."""
        return tuple(slice(*bounds) for bounds in zip(self.to_start, self.to_stop, strict=True))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the box of the parameter."""
        return tuple(stop - start for start, stop in zip(self.start, self.stop, strict=True))

    def forward(self, parameter: AnyArray) -> AnyArray:
        """What the stored tensor has in its box, given the whole parameter."""
        shape = tuple(stop - start for start, stop in zip(self.to_start, self.to_stop, strict=True))
        values: AnyArray = np.flip(parameter[self.box], tuple(self.flip)).transpose(self.order).reshape(shape)
        return values

    def back(self, tensor: AnyArray) -> AnyArray:
        """What the parameter has in its box, given the whole stored tensor."""
        box = self.shape
        moved = tensor[self.to_box].reshape([box[axis] for axis in self.order])
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        values: AnyArray = np.flip(moved.transpose(inverse), tuple(self.flip))
        return values


def whole(parameter: str, shape: Sequence[int], to_shape: Sequence[int], order: Sequence[int] | None = None) -> Piece:
    """All of a parameter as all of a tensor."""
    return Piece(
        parameter=parameter,
        start=[0] * len(shape),
        stop=list(shape),
        order=list(range(len(shape)) if order is None else order),
        to_start=[0] * len(to_shape),
        to_stop=list(to_shape),
    )


def assembled(pieces: Sequence[Piece], parameters: Mapping[str, AnyArray], shape: Sequence[int]) -> AnyArray:
    """The stored tensor of this shape that the pieces make up, in the first parameter's type."""
    values = np.zeros(tuple(shape), parameters[pieces[0].parameter].dtype)
    for piece in pieces:
        values[piece.to_box] = piece.forward(parameters[piece.parameter])
    return values


def covers(pieces: Sequence[Piece], shape: Sequence[int]) -> bool:
    """Whether the pieces fill a tensor of this shape, each element once."""
    sizes = [prod(piece.shape) for piece in pieces]
    if sum(sizes) != prod(shape):
        return False
    boxes = [list(zip(piece.to_start, piece.to_stop, strict=True)) for piece in pieces]
    inside = all(0 <= low <= high <= dim for box in boxes for (low, high), dim in zip(box, shape, strict=True))
    if len(boxes) == 1 or not inside:
        return inside
    filled = np.zeros(tuple(shape), np.bool_)
    for piece in pieces:
        filled[piece.to_box] = True
    return bool(filled.all())


def in_words(pieces: Sequence[Piece], shapes: Mapping[str, Sequence[int]], to_shape: Sequence[int]) -> str:
    """What was done to the parameters, for people: `transposed`, `3 blocks reordered`, `joined from 3 parameters`."""
    words = []
    names = list(dict.fromkeys(piece.parameter for piece in pieces))
    if len(names) > 1:
        words.append(f"joined from {len(names)} parameters")
    partly = [name for name in names if taken(pieces, name) < prod(shapes[name])]
    if partly:
        words.append("a part" if len(names) == 1 else "parts of them")
    if any(sum(piece.parameter == name for piece in pieces) > 1 for name in names):
        words.append(f"{len(pieces)} blocks in another order")
    if any(moves_elements(piece) for piece in pieces):
        orders = {tuple(piece.order) for piece in pieces if moves_elements(piece)}
        plain = orders == {(1, 0)}
        words.append("transposed" if plain else f"axes in the order {list(min(orders))}")
    if any(piece.flip for piece in pieces):
        words.append("flipped")
    if not words and list(shapes[names[0]]) != list(to_shape):
        words.append("reshaped")
    return ", ".join(words) or "as it is"


def taken(pieces: Sequence[Piece], name: str) -> int:
    """Elements of a parameter that the pieces have."""
    return sum(prod(piece.shape) for piece in pieces if piece.parameter == name)


def moves_elements(piece: Piece) -> bool:
    """Whether elements stand in another order; axes of length 1 do not matter."""
    long = [axis for axis in piece.order if piece.shape[axis] > 1]
    return long != sorted(long)
