"""In which order the axes of one array have to stand for it to be another one: tried, element by element."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from math import prod

import numpy as np

from onnxsens.arrays import AnyArray

MOST_AXES = 4  # above that only the orders that frameworks use are tried, not all
PROBES = 64

Alignment = tuple[tuple[int, ...], tuple[int, ...]]  # order, flip


def alignments(source: AnyArray, target: AnyArray, *, flips: bool = False) -> list[Alignment]:
    """Every order of the source's axes, and flips, that give the target's elements, whatever shape these have.

    Axes of length 1 do not count and come last. Several orders are right where an array is symmetric.

    Args:
        flips: try all axes after the target's first two backwards too, as some convolutions are exported.
    """
    found: list[Alignment] = []
    for order in orders(source.shape):
        moved = source.transpose(order)
        if same(moved, target):
            found.append((order, ()))
        elif flips:
            axes = spatial(source.shape, order, target.shape)
            if axes and same(np.flip(source, axes).transpose(order), target):
                found.append((order, axes))
    return found


def orders(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """The orders worth trying; those that differ in axes of length 1 only count once."""
    long = [axis for axis, length in enumerate(shape) if length > 1]
    short = [axis for axis, length in enumerate(shape) if length <= 1]
    if len(long) <= MOST_AXES:
        for order in permutations(long):
            yield (*order, *short)
        return
    # Channels last to channels first, and back, with input and output channels either way round.
    last = long[-1], long[-2]
    seen = set()
    usual: tuple[list[int], ...] = (
        long,
        long[::-1],
        [*last, *long[:-2]],
        [*last[::-1], *long[:-2]],
        [long[-1], *long[:-1]],
        [*long[1:], long[0]],
        [long[1], long[0], *long[2:]],
        [*long[2:], long[1], long[0]],
        [*long[2:], long[0], long[1]],
    )
    for each in usual:
        if tuple(each) not in seen:
            seen.add(tuple(each))
            yield (*each, *short)


def same(one: AnyArray, other: AnyArray) -> bool:
    """Whether two arrays of one size hold equal elements in the same order, whatever their shapes."""
    if prod(one.shape) != prod(other.shape):
        return False
    probes = np.linspace(0, one.size - 1, min(one.size, PROBES)).astype(np.int64)
    picked = one[np.unravel_index(probes, one.shape)], other[np.unravel_index(probes, other.shape)]
    if not (picked[0] == picked[1]).all():
        return False
    return bool((one.reshape(-1) == other.reshape(-1)).all())


def spatial(shape: Sequence[int], order: Sequence[int], to_shape: Sequence[int]) -> tuple[int, ...]:
    """Which axes of a source are those after the first two of the target; empty where axes do not correspond."""
    long = [axis for axis in order if shape[axis] > 1]
    to_long = [axis for axis, length in enumerate(to_shape) if length > 1]
    if [shape[axis] for axis in long] != [to_shape[axis] for axis in to_long]:
        return ()
    return tuple(sorted(axis for axis, to_axis in zip(long, to_long, strict=True) if to_axis >= 2))
