"""Stored tensors that are whole parameters, or put together from parts of them: found by prints, proven by values."""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.matching.alignment import Alignment, alignments
from onnxsens.frameworks.matching.prints import Print, print_of
from onnxsens.frameworks.matching.source import Library, Place, Source
from onnxsens.frameworks.pieces import Piece

MOST_PIECES = 256
SHORT_AXIS = 8  # along an axis up to this long each index may be of another parameter: directions, gates, heads
SHORTEST = 2  # slices that a piece has at least; single rows are found anywhere


@dataclass(frozen=True, eq=False)
class Option:
    """One way to fill a part of a tensor.

    Attributes:
        source: of all of its pieces.
        ways: of a whole parameter, every order of axes that gives the same; more than one where it is symmetric.
    """

    pieces: tuple[Piece, ...]
    source: Source
    ways: tuple[Alignment, ...] = ()


@dataclass(frozen=True, eq=False)
class Found:
    """How a tensor can be made: its parts side by side, and for each part every option there is.

    Attributes:
        doubt: why it is not certain, whichever options are taken; empty for nothing.
    """

    parts: tuple[tuple[Option, ...], ...]
    doubt: str = ""


def whole_matches(values: AnyArray, found: Print, library: Library, *, flips: bool) -> list[Option]:
    """Every parameter that the tensor is, with its axes in some order."""
    matches = []
    for source in library.with_total(found):
        ways = alignments(source.values(), values, flips=flips)
        if ways:
            matches.append(Option((laid_out(source, ways[0], values.shape),), source, tuple(ways)))
    return matches


def part_matches(values: AnyArray, found: Print, library: Library) -> list[Option]:
    """Every stretch of a larger parameter that the tensor is."""
    if found.constant:
        return []
    matches = []
    for axis in range(values.ndim):
        for length, place in stretches(found, axis, 0, library):
            piece = proven(values, axis, 0, length, place) if length == values.shape[axis] else None
            if piece is not None and place.source.print.size > found.size:
                matches.append(Option((piece,), place.source))
    unique = {(option.source.name, *option.pieces[0].start, *option.pieces[0].stop): option for option in matches}
    return list(unique.values())


def laid_out(source: Source, way: Alignment, to_shape: tuple[int, ...]) -> Piece:
    """A whole parameter in one of the orders."""
    order, flip = way
    return Piece(
        parameter=source.name,
        start=[0] * len(source.shape),
        stop=list(source.shape),
        flip=list(flip),
        order=list(order),
        to_start=[0] * len(to_shape),
        to_stop=list(to_shape),
    )


def joined_match(values: AnyArray, found: Print, library: Library) -> Found | None:
    """The tensor as pieces of parameters side by side along one axis, or along two; None where some of it is not found.

    A constant stretch is no evidence, so a tensor that is constant is never found here.
    """
    if found.constant or values.ndim == 0:
        return None
    for axis in range(values.ndim):
        pieces = runs(values, found, axis, library)
        if pieces is not None:
            return pieces
    for axis, length in enumerate(values.shape):
        if 1 <= length <= SHORT_AXIS and values.ndim > 1:
            pieces = each_alone(values, axis, library)
            if pieces is not None:
                return pieces
    return None


def stretches(found: Print, axis: int, start: int, library: Library) -> list[tuple[int, Place]]:
    """From an index on, how far the slices along an axis are those of each place that begins like them."""
    marks = found.slices[axis]
    width = found.size // max(len(marks), 1)
    if len(marks) < 2 or width < 2:
        return []
    reached = []
    for place in library.places.get((width, int(marks[start])), ()):
        along = place.source.print.slices[place.axis][place.index : place.index + len(marks) - start]
        differs = np.flatnonzero(along != marks[start : start + len(along)])
        reached.append((int(differs[0]) if differs.size else len(along), place))
    return reached


def runs(values: AnyArray, found: Print, axis: int, library: Library) -> Found | None:
    """Stretches along an axis that are stretches of parameters, the longest first."""
    parts: list[tuple[Option, ...]] = []
    start = 0
    while start < values.shape[axis]:
        reached = stretches(found, axis, start, library)
        length = max((length for length, _ in reached), default=0)
        if length < SHORTEST or len(parts) == MOST_PIECES:
            return None
        made = [(proven(values, axis, start, length, place), place) for far, place in reached if far == length]
        options = tuple(Option((piece,), place.source) for piece, place in made if piece is not None)
        if not options:
            return None
        parts.append(options)
        start += length
    return Found(tuple(parts)) if parts else None


def proven(values: AnyArray, axis: int, start: int, length: int, place: Place) -> Piece | None:
    """The piece, if its elements are equal and its order is the only one."""
    taken = [slice(None)] * values.ndim
    taken[axis] = slice(start, start + length)
    box = [slice(None)] * len(place.source.shape)
    box[place.axis] = slice(place.index, place.index + length)
    ways = alignments(place.source.values()[tuple(box)], values[tuple(taken)])
    if len(ways) != 1:
        return None
    low = [0] * len(place.source.shape)
    high = list(place.source.shape)
    low[place.axis], high[place.axis] = place.index, place.index + length
    to_low, to_high = [0] * values.ndim, list(values.shape)
    to_low[axis], to_high[axis] = start, start + length
    return Piece(
        parameter=place.source.name, start=low, stop=high, order=list(ways[0][0]), to_start=to_low, to_stop=to_high
    )


def each_alone(values: AnyArray, axis: int, library: Library) -> Found | None:
    """Each index along a short axis by itself: a whole parameter, or runs of one."""
    parts: list[tuple[Option, ...]] = []
    for index in range(values.shape[axis]):
        part = values.take(index, axis)
        own = print_of(part)
        if own.constant:
            return None
        whole = whole_matches(part, own, library, flips=False)
        found = Found((tuple(whole),)) if whole and all(len(option.ways) == 1 for option in whole) else None
        if found is None:
            candidates = (runs(part, own, inner, library) for inner in range(part.ndim))
            found = next((match for match in candidates if match is not None), None)
        if found is None:
            return None
        parts += [tuple(moved(option, axis, index) for option in options) for options in found.parts]
    return Found(tuple(parts))


def moved(option: Option, axis: int, index: int) -> Option:
    """Pieces of a slice as pieces of what it was cut from."""
    return Option(tuple(placed(option.pieces, axis, index)), option.source)


def placed(pieces: tuple[Piece, ...], axis: int, index: int) -> Iterator[Piece]:
    """The same in the boxes that they have there."""
    for piece in pieces:
        low, high = list(piece.to_start), list(piece.to_stop)
        low.insert(axis, index)
        high.insert(axis, index + 1)
        yield msgspec.structs.replace(piece, to_start=low, to_stop=high)
