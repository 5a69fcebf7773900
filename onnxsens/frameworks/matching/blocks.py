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
class Found:
    """One way to make a tensor.

    Attributes:
        sources: of the pieces, each once.
        ways: of a whole parameter, every order of axes that gives the same; more than one where it is symmetric.
    """

    pieces: tuple[Piece, ...]
    sources: tuple[Source, ...]
    ways: tuple[Alignment, ...] = ()


def whole_matches(values: AnyArray, found: Print, library: Library, *, flips: bool) -> list[Found]:
    """Every parameter that the tensor is, with its axes in some order."""
    matches = []
    for source in library.with_total(found):
        ways = alignments(source.values(), values, flips=flips)
        if ways:
            matches.append(Found((laid_out(source, ways[0], values.shape),), (source,), tuple(ways)))
    return matches


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


def runs(values: AnyArray, found: Print, axis: int, library: Library) -> Found | None:
    """Stretches along an axis that are stretches of parameters, the longest first."""
    marks = found.slices[axis]
    width = found.size // max(len(marks), 1)
    if len(marks) < 2 or width < 2:
        return None
    pieces: list[Piece] = []
    sources: dict[str, Source] = {}
    start = 0
    while start < len(marks):
        if len(pieces) == MOST_PIECES:
            return None
        best: tuple[int, Place] | None = None
        for place in library.places.get((width, int(marks[start])), ()):
            along = place.source.print.slices[place.axis][place.index : place.index + len(marks) - start]
            differs = np.flatnonzero(along != marks[start : start + len(along)])
            length = int(differs[0]) if differs.size else len(along)
            known = place.source.name in sources
            if best is None or (length, known) > (best[0], best[1].source.name in sources):
                best = length, place
        if best is None or best[0] < SHORTEST:
            return None
        piece = proven(values, axis, start, *best)
        if piece is None:
            return None
        pieces.append(piece)
        sources[best[1].source.name] = best[1].source
        start += best[0]
    return Found(tuple(pieces), tuple(sources.values()))


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
    pieces: list[Piece] = []
    sources: dict[str, Source] = {}
    for index in range(values.shape[axis]):
        part = values.take(index, axis)
        own = print_of(part)
        if own.constant:
            return None
        found = next((match for match in whole_matches(part, own, library, flips=False) if len(match.ways) == 1), None)
        if found is None:
            candidates = (runs(part, own, inner, library) for inner in range(part.ndim))
            found = next((match for match in candidates if match is not None), None)
        if found is None:
            return None
        pieces += placed(found.pieces, axis, index)
        sources |= {source.name: source for source in found.sources}
    return Found(tuple(pieces), tuple(sources.values()))


def placed(pieces: tuple[Piece, ...], axis: int, index: int) -> Iterator[Piece]:
    """Pieces of a slice as pieces of what it was cut from."""
    for piece in pieces:
        low, high = list(piece.to_start), list(piece.to_stop)
        low.insert(axis, index)
        high.insert(axis, index + 1)
        yield msgspec.structs.replace(piece, to_start=low, to_stop=high)
