"""The parameters of a checkpoint, indexed by what their elements add up to. Values are read when needed, not kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.checkpoints import Parameter
from onnxsens.frameworks.matching.prints import Print, print_of

FLOATS = ("float", "bfloat")
MOST_PLACES = 32  # slices with one print that are remembered: rows of zeros would fill the index


@dataclass(frozen=True, eq=False)
class Source:
    """A parameter, and those that hold the very same numbers.

    Attributes:
        twins: parameters of their own that are equal to it.
        print: of its values in the type that it is compared in.
    """

    parameter: Parameter
    print: Print = field(repr=False)
    dtype: np.dtype
    twins: tuple[Parameter, ...] = ()

    @property
    def name(self) -> str:
        """Of the first."""
        return self.parameter.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the parameter."""
        return self.parameter.shape

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parameters with these numbers; ties that the file shows are one parameter."""
        return (self.name, *(twin.name for twin in self.twins))

    def values(self) -> AnyArray:
        """Read now, in the type that it is compared in."""
        return read_as(self.parameter, self.dtype)


@dataclass(frozen=True)
class Place:
    """One index along one axis of a source."""

    source: Source
    axis: int
    index: int


class Library:
    """All floating-point parameters of a checkpoint, in one element type."""

    def __init__(self, parameters: Iterable[Parameter], dtype: np.dtype) -> None:
        self.dtype = dtype
        self.sources: list[Source] = []
        self._by_total: dict[tuple[int, int], list[int]] = {}
        for parameter in parameters:
            if parameter.dtype.startswith(FLOATS) and parameter.shape and 0 not in parameter.shape:
                self._add(Source(parameter, print_of(read_as(parameter, dtype)), dtype))

    def _add(self, source: Source) -> None:
        key = source.print.size, source.print.total
        for number in self._by_total.get(key, []):
            known = self.sources[number]
            if not known.print.constant and are_equal(known, source):
                self.sources[number] = replace(known, twins=(*known.twins, source.parameter))
                return
        self._by_total.setdefault(key, []).append(len(self.sources))
        self.sources.append(source)

    def with_total(self, found: Print) -> list[Source]:
        """Sources of the same elements, in whatever order."""
        return [self.sources[number] for number in self._by_total.get((found.size, found.total), [])]

    def of_size(self, size: int) -> Iterator[Source]:
        """Sources of so many elements."""
        return (source for source in self.sources if source.print.size == size)

    @cached_property
    def places(self) -> dict[tuple[int, int], list[Place]]:
        """Size and sum of a slice to where there are slices like it; made when first asked for."""
        found: dict[tuple[int, int], list[Place]] = {}
        for source in self.sources:
            if source.print.constant:
                continue
            for axis, slices in enumerate(source.print.slices):
                width = source.print.size // max(len(slices), 1)
                if len(slices) < 2 or width < 2:
                    continue
                for index, mark in enumerate(slices.tolist()):
                    places = found.setdefault((width, mark), [])
                    if len(places) < MOST_PLACES:
                        places.append(Place(source, axis, index))
        return found


def read_as(parameter: Parameter, dtype: np.dtype) -> AnyArray:
    """A parameter's values in another type, rounded as exporters round."""
    with np.errstate(over="ignore", under="ignore"):
        return parameter.read().astype(dtype, copy=False)


def are_equal(one: Source, other: Source) -> bool:
    """Whether two sources hold equal numbers in the same places."""
    if one.shape != other.shape or any(
        not np.array_equal(a, b) for a, b in zip(one.print.slices, other.print.slices, strict=True)
    ):
        return False
    return bool(np.array_equal(one.values(), other.values()))
