"""Which operator multiplies by which of its inputs, how that weight reads as a matrix, and what it costs.

The *matrix view* of a weight is `[out, in]`: a row holds everything that makes one output channel, input channels
fastest. Nothing outside this package knows an operator. Adding one is an entry in `OPERATORS` and a test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from onnxsens.arrays import AnyArray

Attributes = Mapping[str, Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Reshape to `split`, transpose by `order`, reshape to `[rows, -1]`; exactly invertible.

    Attributes:
        shape: the weight's own.
    """

    shape: Shape
    split: Shape
    order: tuple[int, ...]
    rows: int

    def to_matrix(self, weight: AnyArray) -> AnyArray:
        """`shape` to `[out, in]`."""
        return weight.reshape(self.split).transpose(self.order).reshape(self.rows, -1)

    def from_matrix(self, matrix: AnyArray) -> AnyArray:
        """`[out, in]` to `shape`; `from_matrix(to_matrix(w))` is `w` to the bit."""
        inverse = sorted(range(len(self.order)), key=self.order.__getitem__)
        return matrix.reshape([self.split[axis] for axis in self.order]).transpose(inverse).reshape(self.shape)


def plain(shape: Shape, order: tuple[int, ...], rows: int) -> Layout:
    """A layout that splits no axis."""
    return Layout(shape, shape, order, rows)


def conv(shape: Shape, attributes: Attributes) -> Layout:
    """`[out, in / groups, *kernel]`: kernel positions, then input channels."""
    return plain(shape, (0, *range(2, len(shape)), 1), shape[0])


def conv_transpose(shape: Shape, attributes: Attributes) -> Layout:
    """`[in, out / groups, *kernel]`: a group's outputs see that group's inputs only."""
    groups = attributes.get("group", 1)
    split = (groups, shape[0] // groups, *shape[1:])
    return Layout(shape, split, (0, 2, *range(3, len(split)), 1), groups * shape[1])


def gemm_left(shape: Shape, attributes: Attributes) -> Layout:
    """`A` of `A' B'`: a row of A' makes a row of the output."""
    order = (1, 0) if attributes.get("transA", 0) else (0, 1)
    return plain(shape, order, shape[order[0]])


def gemm_right(shape: Shape, attributes: Attributes) -> Layout:
    """`B` of `A' B'`: a column of B' makes a column of the output."""
    order = (0, 1) if attributes.get("transB", 0) else (1, 0)
    return plain(shape, order, shape[order[0]])


def matmul_left(shape: Shape, attributes: Attributes) -> Layout:
    """`[..., out, in]`."""
    return plain(shape, tuple(range(len(shape))), prod(shape[:-1]))


def matmul_right(shape: Shape, attributes: Attributes) -> Layout:
    """`[..., in, out]`."""
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return plain(shape, order, prod(shape) // shape[-2])


def recurrent(shape: Shape, attributes: Attributes) -> Layout:
    """W `[directions, gates * hidden, in]` and R `[directions, gates * hidden, hidden]`."""
    return plain(shape, (0, 1, 2), shape[0] * shape[1])


def macs_by_output(layout: Layout, data: Shape, output: Shape) -> int:
    """Each row is used once for every position of its output channel."""
    return prod(layout.shape) * prod(output) // layout.rows


def macs_by_input(layout: Layout, data: Shape, output: Shape) -> int:
    """Transposed convolution: each element is used once for every position of its input channel `[n, in, ...]`."""
    return prod(layout.shape) * prod(data) // layout.shape[0]


def macs_by_step(layout: Layout, data: Shape, output: Shape) -> int:
    """Recurrent: each element is used once a time step and sequence; data is `[time, n, in]` or `[n, time, in]`."""
    return prod(layout.shape) * prod(data[:-1])


@dataclass(frozen=True)
class Slot:
    """One weight input of an operator.

    Attributes:
        index: which input the weight is.
        rank: how many dimensions it must have, or None for 2 and more.
        view: shape and attributes to layout.
        macs: layout, shape of the data input, shape of the first output, to multiply-accumulates of one run.
        data: which input is the other factor.
    """

    index: int
    view: Callable[[Shape, Attributes], Layout]
    macs: Callable[[Layout, Shape, Shape], int] = macs_by_output
    data: int = 0
    rank: int | None = None

    def fits(self, shape: Shape, attributes: Attributes) -> bool:
        """Whether a weight of this shape can stand here."""
        groups = attributes.get("group", 1)
        whole = groups >= 1 and len(shape) >= 1 and shape[0] % groups == 0
        return whole and len(shape) >= 2 and self.rank in (None, len(shape)) and prod(shape) > 0


RECURRENT = (Slot(1, recurrent, macs_by_step, rank=3), Slot(2, recurrent, macs_by_step, rank=3))

OPERATORS: Mapping[str, tuple[Slot, ...]] = {
    "Conv": (Slot(1, conv),),
    "ConvTranspose": (Slot(1, conv_transpose, macs_by_input),),
    "Gemm": (Slot(1, gemm_right, rank=2), Slot(0, gemm_left, data=1, rank=2)),
    "MatMul": (Slot(1, matmul_right), Slot(0, matmul_left, data=1)),
    "GRU": RECURRENT,
    "LSTM": RECURRENT,
    "RNN": RECURRENT,
}


def slot_of(operator: str, domain: str, index: int) -> Slot | None:
    """The weight slot at input `index`, or None where that input is no weight."""
    if domain not in ("", "ai.onnx"):
        return None
    return next((slot for slot in OPERATORS.get(operator, ()) if slot.index == index), None)
