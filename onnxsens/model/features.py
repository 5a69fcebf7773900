"""For each weight, where the rows that its matrix is multiplied by come from; or why that cannot be told.

One table of operators. One that is missing there goes without, with a reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx

from onnxsens.model.input_rows import InputRows, NoRowsError, RowMaker
from onnxsens.model.layout import Arranged
from onnxsens.model.load import Model
from onnxsens.model.products import LEFT, RIGHT, SUMS, projection_rows
from onnxsens.model.sequences import gated_state_rows, input_rows, state_rows
from onnxsens.model.tracing import Use, trace, value_of
from onnxsens.model.weights import Inventory, Weight
from onnxsens.model.windows import conv_rows, conv_transpose_rows

# Operator to the rows of each of its weight inputs.
MAKERS: Mapping[tuple[str, str], Mapping[int, RowMaker]] = {
    ("", "Conv"): {1: conv_rows},
    ("", "ConvTranspose"): {1: conv_transpose_rows},
    ("", "Gemm"): {0: LEFT, 1: RIGHT},
    ("", "MatMul"): {0: LEFT, 1: RIGHT},
    ("", "Einsum"): dict(enumerate(SUMS)),
    ("", "RNN"): {1: input_rows, 2: state_rows},
    ("", "LSTM"): {1: input_rows, 2: state_rows},
    ("", "GRU"): {1: input_rows, 2: gated_state_rows},
    ("com.microsoft", "FusedConv"): {1: conv_rows},
    ("com.microsoft", "FusedGemm"): {0: LEFT, 1: RIGHT},
    ("com.microsoft", "FusedMatMul"): {0: LEFT, 1: RIGHT},
    ("com.microsoft", "TransposeMatMul"): {0: LEFT, 1: RIGHT},
    ("com.microsoft", "Attention"): {1: projection_rows},
}


@dataclass(frozen=True, eq=False)
class Source:
    """The input rows at one consumer of a weight.

    Attributes:
        site: the node's name in the normal form, and in copies made of it.
    """

    site: str
    rows: InputRows


def input_sources(model: Model, inventory: Inventory) -> dict[str, tuple[Source, ...] | str]:
    """By weight: a source for each consumer, all for the weight's own matrix; or why there are none."""
    uses = trace(model, inventory.normal).uses
    nodes = {node.name: node for node in inventory.normal.proto.graph.node}
    found: dict[str, tuple[Source, ...] | str] = {}
    for weight in inventory.weights:
        try:
            found[weight.name] = sources_of(weight, uses[weight.name], nodes)
        except NoRowsError as reason:
            found[weight.name] = str(reason)
    return found


def sources_of(weight: Weight, uses: Sequence[Use], nodes: Mapping[str, onnx.NodeProto]) -> tuple[Source, ...]:
    """Of one weight.

    Raises:
        NoRowsError: at least one of its operators cannot be told the rows of, so that all that can be is a part.
    """
    if weight.readers:
        raise NoRowsError(f"something else reads it too ({weight.readers[0]})")
    sources = tuple(source_of(use, nodes) for use in uses)
    layouts = [layout_of(weight, use) for use in uses]
    if any(layout != layouts[0] and differ(layout, layouts[0]) for layout in layouts):
        raise NoRowsError("its operators see it as different matrices")
    if len({source.rows.groups for source in sources}) > 1:
        raise NoRowsError("its operators see it in different groups")
    return sources


def source_of(use: Use, nodes: Mapping[str, onnx.NodeProto]) -> Source:
    """Of one operator.

    Raises:
        NoRowsError: its rows cannot be told.
    """
    if use.slot.quantized is not None:
        raise NoRowsError(f"{use.operator} computes with integers")
    maker = MAKERS.get((use.domain, use.operator), {}).get(use.slot.index)
    if maker is None:
        raise NoRowsError(f"the inputs of {use.operator} are not read yet")
    if use.site not in nodes:
        raise NoRowsError("it is used in the body of another operator")
    node = nodes[use.site]
    attributes = {attribute.name: value_of(attribute) for attribute in node.attribute}
    return Source(use.site, maker(use.operand.shape, attributes, [bool(name) for name in node.input]))


def layout_of(weight: Weight, use: Use) -> Arranged:
    """How an operator sees all of a weight.

    Raises:
        NoRowsError: it is given a part, or more than this weight.
    """
    if use.operand.moves is None:
        raise NoRowsError(f"{use.operator} is given it in part, or joined with others")
    return Arranged(weight.shape, (*use.operand.moves, *use.view.moves), use.view.rows)


def differ(one: Arranged, other: Arranged) -> bool:
    """Whether two views of a tensor are different matrices, however they came about."""
    numbers = np.arange(prod(one.shape)).reshape(one.shape)
    return one.rows != other.rows or not np.array_equal(one.to_matrix(numbers), other.to_matrix(numbers))
