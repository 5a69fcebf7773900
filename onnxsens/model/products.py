"""Input rows of matrix products: MatMul and Gemm on either side, Einsum, and what is made of them.

Sources: the specifications of MatMul, Gemm and Einsum (github.com/onnx/onnx, docs/Operators.md), and of FusedMatMul
and Attention (github.com/microsoft/onnxruntime, docs/ContribOperators.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.model.input_rows import InputRows, NoRowsError, Port, RowMaker, taken
from onnxsens.model.layout import Shape
from onnxsens.model.operators import Attributes, einsum_labels


@dataclass(frozen=True)
class Products:
    """Rows of a product with a matrix, or with one for each group.

    Attributes:
        batch: axes of the weight before its last two: each matrix is a group.
        turned: whether the data has its rows along the last axis.
        scale: what the product is multiplied by.
    """

    ports: tuple[Port, ...]
    batch: Shape
    turned: bool
    scale: float = 1.0

    @property
    def groups(self) -> int:
        """One for each matrix."""
        return prod(self.batch)

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Rows of the data, those that several groups share counted once."""
        view, groups = self._view(arrays[0])
        return prod(view.shape[groups:-1])

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """Data that is broadcast to several groups is repeated."""
        rows = taken(*self._view(arrays[0]), chosen)
        return rows if self.scale == 1 else rows * np.float32(self.scale)

    def _view(self, data: AnyArray) -> tuple[AnyArray, int]:
        """`[*groups, *places, in]` and how many axes are groups."""
        if data.ndim == 1:
            data = data[None]
        elif self.turned:
            data = data.swapaxes(-1, -2)
        full = np.broadcast_shapes(data.shape[:-2], self.batch)
        data = np.broadcast_to(data, (*full, *data.shape[-2:]))
        own = (*(1,) * (len(full) - len(self.batch)), *self.batch)
        groups = [axis for axis, length in enumerate(own) if length > 1]
        others = [axis for axis in range(data.ndim) if axis not in groups]
        return data.transpose(*groups, *others), len(groups)


def right_rows(shape: Shape, attributes: Attributes, given: Sequence[bool], *, data: int = 0) -> Products:
    """The weight is the right factor: `data' @ weight'`."""
    refuse_turned_batches(attributes)
    scale = attributes.get("alpha", 1.0)
    return Products((Port("input", data),), shape[:-2], bool(attributes.get("transA", 0)), scale)


def left_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> Products:
    """The weight is the left factor: `weight' @ data'`, whose columns are the rows."""
    refuse_turned_batches(attributes)
    scale = attributes.get("alpha", 1.0)
    return Products((Port("input", 1),), shape[:-2], not attributes.get("transB", 0), scale)


def refuse_turned_batches(attributes: Attributes) -> None:
    """FusedMatMul can take its batches from between the axes of a matrix."""
    if attributes.get("transBatchA", 0) or attributes.get("transBatchB", 0):
        raise NoRowsError("its data has batches between the axes of a matrix")


def projection_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> Products:
    """Attention: all projections side by side, of data `[batch, steps, in]`."""
    return Products((Port("input", 0),), (), turned=False)


@dataclass(frozen=True)
class Sums:
    """Rows of an Einsum of two factors.

    Attributes:
        operand: which factor the weight is.
        shape: of the weight.
    """

    equation: str
    operand: int
    shape: Shape

    @property
    def ports(self) -> tuple[Port, ...]:
        """The other factor."""
        return (Port("input", 1 - self.operand),)

    @property
    def groups(self) -> int:
        """One for each value of the labels that both factors and the output have."""
        mine, kept = self._mine
        theirs = self.equation.replace(" ", "").partition("->")[0].split(",")[1 - self.operand]
        return prod(length for label, length in zip(mine, self.shape, strict=True) if label in kept and label in theirs)

    @property
    def _mine(self) -> tuple[list[str], set[str]]:
        return einsum_labels(self.equation, self.operand, len(self.shape))

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Positions along labels that the data and the output have."""
        view, groups = self._view(arrays[0])
        return prod(view.shape[groups:-1])

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """Labels that only the data has are summed over first."""
        return taken(*self._view(arrays[0]), chosen)

    def _view(self, data: AnyArray) -> tuple[AnyArray, int]:
        """`[*groups, *places, in]` and how many axes are groups."""
        mine, kept = self._mine
        theirs, kept_of_theirs = einsum_labels(self.equation, 1 - self.operand, data.ndim)
        kept = kept | kept_of_theirs
        if len(set(theirs)) < len(theirs):
            raise NoRowsError("its data has a label twice")
        groups = [label for label in mine if label in kept and label in theirs]
        summed = [label for label in mine if label not in kept]
        if [label for label in mine if label in kept][: len(groups)] != groups:
            raise NoRowsError("its groups are not next to each other in its matrix")
        if any(label not in theirs for label in summed):
            raise NoRowsError("it is summed over by itself")
        lengths = dict(zip(mine, self.shape, strict=True))
        if any(lengths[label] != data.shape[theirs.index(label)] for label in [*groups, *summed]):
            raise NoRowsError("its data is repeated to fit it")
        alone = tuple(axis for axis, label in enumerate(theirs) if label not in kept and label not in mine)
        if alone:
            data = data.sum(axis=alone)
            theirs = [label for axis, label in enumerate(theirs) if axis not in alone]
        places = [label for label in theirs if label in kept and label not in mine]
        turned = data.transpose([theirs.index(label) for label in [*groups, *places, *summed]])
        shape = turned.shape[: len(groups) + len(places)]
        # One place where there is none, and one column where nothing is summed: a product of single elements.
        return turned.reshape((*shape[: len(groups)], *(shape[len(groups) :] or (1,)), -1)), len(groups)


def sum_rows(shape: Shape, attributes: Attributes, given: Sequence[bool], *, operand: int) -> InputRows:
    """Einsum with the weight as factor `operand`."""
    equation: str = attributes["equation"]
    factors = equation.replace(" ", "").partition("->")[0].split(",")
    if len(factors) != 2:
        raise NoRowsError(f"it is one of {len(factors)} factors")
    if "..." in factors[operand]:
        raise NoRowsError("it has an ellipsis in its equation")
    return Sums(equation, operand, shape)


RIGHT: RowMaker = right_rows
LEFT: RowMaker = left_rows
SUMS: tuple[RowMaker, RowMaker] = (partial(sum_rows, operand=0), partial(sum_rows, operand=1))
