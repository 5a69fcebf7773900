"""Which operator multiplies by which of its inputs, how that input reads as a matrix, and what it costs.

One table. Adding an operator is an entry in `OPERATORS` and a test. Sources: the operator specifications of ONNX
(github.com/onnx/onnx, docs/Operators.md) and of ONNX Runtime (docs/ContribOperators.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from onnxsens.model.layout import Move, Reshape, Shape, Transpose

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """How an operand becomes a matrix: moves, then `[rows, -1]`."""

    moves: tuple[Move, ...]
    rows: int


def turned(shape: Shape, order: tuple[int, ...], rows: int) -> View:
    """Axes in this order, then cut into rows."""
    return View((Transpose(order),), rows)


def conv(shape: Shape, attributes: Attributes) -> View:
    """`[out, in / groups, *kernel]`: kernel positions, then input channels."""
    return turned(shape, (0, *range(2, len(shape)), 1), shape[0])


def conv_transpose(shape: Shape, attributes: Attributes) -> View:
    """`[in, out / groups, *kernel]`: a group's outputs see that group's inputs only."""
    groups = attributes.get("group", 1)
    split = (groups, shape[0] // groups, *shape[1:])
    order = (0, 2, *range(3, len(split)), 1)
    return View((Reshape(shape, split), Transpose(order)), groups * shape[1])


def gemm_left(shape: Shape, attributes: Attributes) -> View:
    """`A` of `A' B'`: a row of A' makes a row of the output."""
    order = (1, 0) if attributes.get("transA", 0) else (0, 1)
    return turned(shape, order, shape[order[0]])


def gemm_right(shape: Shape, attributes: Attributes) -> View:
    """`B` of `A' B'`: a column of B' makes a column of the output."""
    order = (0, 1) if attributes.get("transB", 0) else (1, 0)
    return turned(shape, order, shape[order[0]])


def matmul_left(shape: Shape, attributes: Attributes) -> View:
    """`[..., out, in]`; FusedMatMul may turn the last two."""
    if attributes.get("transA", 0):
        return matmul_right(shape, {})
    return View((), prod(shape[:-1]))


def matmul_right(shape: Shape, attributes: Attributes) -> View:
    """`[..., in, out]`; FusedMatMul may turn the last two."""
    if attributes.get("transB", 0):
        return matmul_left(shape, {})
    order = (*range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
    return turned(shape, order, prod(shape) // shape[-2])


def recurrent(shape: Shape, attributes: Attributes) -> View:
    """W `[directions, gates * hidden, in]` and R `[directions, gates * hidden, hidden]`."""
    return View((), shape[0] * shape[1])


def recurrent_turned(shape: Shape, attributes: Attributes) -> View:
    """DynamicQuantizeLSTM and the attention of AttnLSTM keep them the other way: `[directions, in, out]`."""
    return turned(shape, (0, 2, 1), shape[0] * shape[2])


def table(shape: Shape, attributes: Attributes) -> View:
    """Gather along an axis: a lookup is a product with a one-hot vector, so that axis is the input."""
    axis = attributes.get("axis", 0) % len(shape)
    order = (*(other for other in range(len(shape)) if other != axis), axis)
    return turned(shape, order, prod(shape) // shape[axis])


def first_axis_table(shape: Shape, attributes: Attributes) -> View:
    """An embedding `[entries, features]`, whatever attributes its operator has."""
    return table(shape, {})


def einsum(shape: Shape, attributes: Attributes, operand: int) -> View:
    """Labels that the output keeps make rows, those that are summed over make columns."""
    labels, kept = einsum_labels(attributes["equation"], operand, len(shape))
    out = [axis for axis, label in enumerate(labels) if label in kept]
    summed = [axis for axis, label in enumerate(labels) if label not in kept]
    return turned(shape, (*out, *summed), prod(shape[axis] for axis in out))


def einsum_labels(equation: str, operand: int, rank: int) -> tuple[list[str], set[str]]:
    """One label for each axis of an operand, and the labels of the output; axes of an ellipsis are kept ones."""
    terms, arrow, output = equation.replace(" ", "").partition("->")
    term = terms.split(",")[operand]
    before, dots, after = term.partition("...")
    spread = [f"...{axis}" for axis in range(rank - len(before) - len(after))] if dots else []
    labels = [*before, *spread, *after]
    if not arrow:
        letters = terms.replace(",", "").replace("...", "")
        output = "".join(label for label in letters if letters.count(label) == 1)
    return labels, {*output.replace("...", ""), *spread}


def macs_by_output(size: int, rows: int, shape: Shape, data: Shape, output: Shape) -> int:
    """Each row is used once for every position of its output channel."""
    return size * prod(output) // rows if rows else 0


def macs_by_input(size: int, rows: int, shape: Shape, data: Shape, output: Shape) -> int:
    """Transposed convolution: each element is used once for every position of its input channel `[n, in, ...]`."""
    return size * prod(data) // shape[0]


def macs_by_step(size: int, rows: int, shape: Shape, data: Shape, output: Shape) -> int:
    """Each element is used once a position; data is `[time, n, in]` or `[n, time, in]`."""
    return size * prod(data[:-1])


def no_macs(size: int, rows: int, shape: Shape, data: Shape, output: Shape) -> int:
    """A lookup multiplies nothing."""
    return 0


@dataclass(frozen=True)
class Quantized:
    """Where an operator is given scale and zero point of its weight.

    Attributes:
        scale, zero_point: which inputs; no scale where the operator leaves it to a later one.
        axes: of the weight, that the dimensions of a vector or matrix of them run along.
        turned: an attribute that swaps the last two axes of the weight.
    """

    scale: int | None
    zero_point: int
    axes: tuple[int, ...]
    turned: str = ""

    def axes_in(self, rank: int, attributes: Attributes) -> tuple[int, ...]:
        """The axes, counted from 0."""
        axes = tuple(axis % rank for axis in self.axes)
        if not attributes.get(self.turned, 0):
            return axes
        return tuple({rank - 1: rank - 2, rank - 2: rank - 1}.get(axis, axis) for axis in axes)


@dataclass(frozen=True)
class Slot:
    """One weight input of an operator.

    Attributes:
        index: which input the weight is.
        rank: how many dimensions it must have, or None for 2 and more.
        view: shape and attributes to the moves that make a matrix.
        macs: elements of the weight, rows and shape of what the operator sees, shapes of the data input and of the
            first output, to multiply-accumulates of one execution.
        data: which input is the other factor.
        quantized: for operators that take integers and are told what they stand for.
        equation: whether an equation says what the axes are.
    """

    index: int
    view: Callable[[Shape, Attributes], View]
    macs: Callable[[int, int, Shape, Shape, Shape], int] = macs_by_output
    data: int = 0
    rank: int | None = None
    quantized: Quantized | None = None
    equation: bool = False

    def fits(self, shape: Shape, attributes: Attributes) -> bool:
        """Whether a weight of this shape can stand here; attributes may be anything that a file can hold."""
        if len(shape) < 2 or self.rank not in (None, len(shape)) or prod(shape) <= 0:
            return False
        if self.equation:
            equation = attributes.get("equation")
            return isinstance(equation, str) and einsum_fits(shape, equation, self.index)
        groups, axis = attributes.get("group", 1), attributes.get("axis", 0)
        if not isinstance(groups, int) or not isinstance(axis, int):
            return False
        turned_batches = len(shape) > 2 and (attributes.get("transBatchA", 0) or attributes.get("transBatchB", 0))
        return groups >= 1 and shape[0] % groups == 0 and -len(shape) <= axis < len(shape) and not turned_batches


def einsum_fits(shape: Shape, equation: str, operand: int) -> bool:
    """Whether the equation has this operand, with one label an axis and none twice."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if len(terms) < 2 or operand >= len(terms):
        return False
    labels, _ = einsum_labels(equation, operand, len(shape))
    return len(labels) == len(shape) == len(set(labels))


CONV = Slot(1, conv)
MATMUL = (Slot(1, matmul_right), Slot(0, matmul_left, data=1))
GEMM = (Slot(1, gemm_right, rank=2), Slot(0, gemm_left, data=1, rank=2))
RECURRENT = (Slot(1, recurrent, macs_by_step, rank=3), Slot(2, recurrent, macs_by_step, rank=3))
PROJECTION = partial(Slot, view=matmul_right, macs=macs_by_step, rank=2)
ATTENTION_LAYER = partial(Slot, view=recurrent_turned, macs=macs_by_step, rank=3)
EMBEDDING = partial(Slot, view=first_axis_table, macs=no_macs, rank=2)

OPERATORS: Mapping[tuple[str, str], tuple[Slot, ...]] = {
    ("", "Conv"): (CONV,),
    ("", "CausalConvWithState"): (CONV,),
    ("", "ConvTranspose"): (Slot(1, conv_transpose, macs_by_input),),
    ("", "DeformConv"): (CONV,),
    ("", "Gemm"): GEMM,
    ("", "MatMul"): MATMUL,
    ("", "GRU"): RECURRENT,
    ("", "LSTM"): RECURRENT,
    ("", "RNN"): RECURRENT,
    ("", "Gather"): (Slot(0, table, no_macs, data=1),),
    ("", "Einsum"): tuple(
        Slot(index, partial(einsum, operand=index), data=0 if index else 1, equation=True) for index in range(8)
    ),
    ("", "QLinearConv"): (Slot(3, conv, quantized=Quantized(4, 5, (0,))),),
    ("", "QLinearMatMul"): (
        Slot(3, matmul_right, quantized=Quantized(4, 5, (-1,))),
        Slot(0, matmul_left, data=3, quantized=Quantized(1, 2, (-2,))),
    ),
    ("", "ConvInteger"): (Slot(1, conv, quantized=Quantized(None, 3, (0,))),),
    ("", "MatMulInteger"): (
        Slot(1, matmul_right, quantized=Quantized(None, 3, (-1,))),
        Slot(0, matmul_left, data=1, quantized=Quantized(None, 2, (-2,))),
    ),
    ("com.microsoft", "CausalConvWithState"): (CONV,),
    ("com.microsoft", "FusedConv"): (CONV,),
    ("com.microsoft", "NhwcConv"): (CONV,),
    ("com.microsoft", "NhwcFusedConv"): (CONV,),
    ("com.microsoft", "ConvTransposeWithDynamicPads"): (Slot(1, conv_transpose, macs_by_input),),
    ("com.microsoft", "FusedGemm"): GEMM,
    ("com.microsoft", "FusedMatMul"): MATMUL,
    ("com.microsoft", "TransposeMatMul"): MATMUL,
    ("com.microsoft", "FusedMatMulActivation"): MATMUL,
    ("com.microsoft", "GemmFastGelu"): (Slot(1, matmul_right),),
    # Projections of queries, keys and values, side by side. MultiHeadAttention has none: its projections are the
    # MatMul nodes before it.
    ("com.microsoft", "Attention"): (PROJECTION(1),),
    ("com.microsoft", "PackedAttention"): (PROJECTION(1),),
    ("com.microsoft", "DecoderMaskedSelfAttention"): (PROJECTION(1),),
    ("com.microsoft", "LongformerAttention"): (PROJECTION(1), PROJECTION(4)),
    ("com.microsoft", "DecoderAttention"): (PROJECTION(2), PROJECTION(3, data=1)),
    ("com.microsoft", "QAttention"): (PROJECTION(1, quantized=Quantized(4, 7, (-1,))),),
    ("com.microsoft", "EmbedLayerNormalization"): (EMBEDDING(2), EMBEDDING(3), EMBEDDING(4)),
    ("com.microsoft", "QEmbedLayerNormalization"): tuple(
        EMBEDDING(index, quantized=Quantized(index + 6, index + 11, ())) for index in (2, 3, 4)
    ),
    ("com.microsoft", "QLinearConv"): (Slot(3, conv, quantized=Quantized(4, 5, (0,))),),
    ("com.microsoft", "QGemm"): (Slot(3, gemm_right, rank=2, quantized=Quantized(4, 5, (-1,), "transB")),),
    ("com.microsoft", "DynamicQuantizeMatMul"): (Slot(1, matmul_right, quantized=Quantized(2, 3, (-1,))),),
    ("com.microsoft", "MatMulIntegerToFloat"): (Slot(1, matmul_right, quantized=Quantized(3, 5, (-1,))),),
    # Layers of the attention over the memory beside those of the LSTM.
    ("com.microsoft", "AttnLSTM"): (
        *RECURRENT,
        ATTENTION_LAYER(8),
        ATTENTION_LAYER(9, data=11),
        ATTENTION_LAYER(13),
    ),
    ("com.microsoft", "DynamicQuantizeLSTM"): (
        Slot(1, recurrent_turned, macs_by_step, rank=3, quantized=Quantized(8, 9, (0, 2))),
        Slot(2, recurrent_turned, macs_by_step, rank=3, quantized=Quantized(10, 11, (0, 2))),
    ),
}

# Operators whose weights are stored in a form of their own: several elements in a byte, or blocks in another order.
PACKED: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("com.microsoft", "MatMulNBits"): (1,),
    ("com.microsoft", "MatMulBnb4"): (1,),
    ("com.microsoft", "MatMulFpQ4"): (1,),
    ("com.microsoft", "GatherBlockQuantized"): (0,),
    ("com.microsoft", "GemmFloat8"): (1,),
    ("com.microsoft", "MatMulBlockQuantizedFp4Weight"): (1,),
    ("com.microsoft", "MatMulBlockQuantizedFp8Weight"): (1,),
    ("com.microsoft", "MatMulNBitsMlp"): (3, 6),
    ("com.microsoft", "MatMulNBitsQkv"): (3, 6, 9),
    ("com.microsoft", "QMoE"): (2, 5, 8),
    ("com.microsoft", "QOrderedMatMul"): (2,),
    ("com.microsoft", "QOrderedAttention"): (5, 6, 7),
    ("com.microsoft", "QOrderedLongformerAttention"): (2, 8),
    ("com.microsoft.nchwc", "Conv"): (1,),
}


def standard(domain: str) -> str:
    """ONNX's own domain has two names."""
    return "" if domain == "ai.onnx" else domain


def slot_of(operator: str, domain: str, index: int) -> Slot | None:
    """The weight slot at input `index`, or None where that input is no weight."""
    slots = OPERATORS.get((standard(domain), operator), ())
    return next((slot for slot in slots if slot.index == index), None)


def is_packed(operator: str, domain: str, index: int) -> bool:
    """Whether input `index` is a weight in a packed form that is not pruned."""
    return index in PACKED.get((standard(domain), operator), ())
