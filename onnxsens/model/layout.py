"""How the elements of a stored tensor are arranged as a matrix `[out, in]`, and back.

A row holds everything that makes one output channel, input channels fastest. Knows shapes and positions, no operators.
"""

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Protocol, TypeAlias

import numpy as np

from onnxsens.arrays import AnyArray, IntArray

Shape: TypeAlias = tuple[int, ...]

# A scattered layout keeps its table up to this many elements; above that it is made anew each time.
KEPT_TABLE = 2**24


@dataclass(frozen=True)
class Reshape:
    """The same elements in the same order, under another shape."""

    before: Shape
    after: Shape

    def forward(self, values: AnyArray) -> AnyArray:
        """`before` to `after`."""
        return values.reshape(self.after)

    def shape_of(self, shape: Shape) -> Shape:
        """The shape afterwards."""
        return self.after

    def back(self, values: AnyArray) -> AnyArray:
        """`after` to `before`."""
        return values.reshape(self.before)


@dataclass(frozen=True)
class Transpose:
    """Axes in another order."""

    order: tuple[int, ...]

    def forward(self, values: AnyArray) -> AnyArray:
        """Axis `order[i]` becomes axis `i`."""
        return values.transpose(self.order)

    def shape_of(self, shape: Shape) -> Shape:
        """The shape afterwards."""
        return tuple(shape[axis] for axis in self.order)

    def back(self, values: AnyArray) -> AnyArray:
        """Axis `i` becomes axis `order[i]`."""
        return values.transpose(sorted(range(len(self.order)), key=self.order.__getitem__))


Move: TypeAlias = Reshape | Transpose


class Layout(Protocol):
    """A stored tensor as a matrix; exactly invertible: `from_matrix(to_matrix(w))` is `w` to the bit."""

    @property
    def shape(self) -> Shape:
        """The stored tensor's own."""

    @property
    def rows(self) -> int:
        """Output channels, over all uses."""

    def to_matrix(self, weight: AnyArray) -> AnyArray:
        """`shape` to `[out, in]`."""

    def from_matrix(self, matrix: AnyArray) -> AnyArray:
        """`[out, in]` to `shape`."""


@dataclass(frozen=True)
class Arranged:
    """Reshapes and transposes in a row; the last one leaves `[out, in]`."""

    shape: Shape
    moves: tuple[Move, ...]
    rows: int

    def to_matrix(self, weight: AnyArray) -> AnyArray:
        """A view where numpy can make one."""
        for move in self.moves:
            weight = move.forward(weight)
        return weight.reshape(self.rows, -1)

    def from_matrix(self, matrix: AnyArray) -> AnyArray:
        """A view where numpy can make one."""
        shape = self.shape
        for move in self.moves:
            shape = move.shape_of(shape)
        values = matrix.reshape(shape)
        for move in reversed(self.moves):
            values = move.back(values)
        return values.reshape(self.shape)


class Table(Protocol):
    """Makes the positions of a scattered layout."""

    def __call__(self) -> IntArray:
        """`[out, in]` flat positions in the stored tensor, each exactly once."""


@dataclass(frozen=True, eq=False)
class Scattered:
    """A tensor that operators see in parts: any permutation of its elements.

    Args:
        table: made when first needed.
    """

    shape: Shape
    rows: int
    table: Table = field(repr=False)

    @cached_property
    def _kept(self) -> IntArray:
        return self.table()

    @property
    def _positions(self) -> IntArray:
        return self._kept if prod(self.shape) <= KEPT_TABLE else self.table()

    def to_matrix(self, weight: AnyArray) -> AnyArray:
        """A copy."""
        matrix: AnyArray = weight.reshape(-1)[self._positions]
        return matrix

    def from_matrix(self, matrix: AnyArray) -> AnyArray:
        """A copy."""
        values = np.empty(prod(self.shape), dtype=matrix.dtype)
        values[self._positions] = matrix
        return values.reshape(self.shape)
