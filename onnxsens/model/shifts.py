"""For each weight, the stored vector that can take a constant in its operator's output: a bias, or a mean after it.

A pruned weight loses some of its output's mean. Where the graph has a bias there, that can be put right without a
node more: the file differs in values only. Works on the normal form.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import numpy as np
import onnx

from onnxsens.arrays import AnyArray, Float64Array, IntArray
from onnxsens.model.load import Model
from onnxsens.model.normal import graphs, reads
from onnxsens.model.operators import standard
from onnxsens.model.stored import Stored
from onnxsens.model.tracing import value_of
from onnxsens.model.weights import Inventory, Weight

FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
RECURRENT = {"RNN": 1, "LSTM": 4, "GRU": 3}  # gates
BIAS = 2  # input of Conv, ConvTranspose, Gemm
RECURRENT_BIAS = 3
MEAN, VARIANCE = 3, 4  # inputs of BatchNormalization


@dataclass(frozen=True, eq=False)
class Shift:
    """A stored vector that a constant can be put into.

    Attributes:
        name: of the stored tensor.
        sign: +1 where the output grows with it, -1 where it is subtracted, such as a mean.
        positions: `[out]`, which of its elements each row of the weight's matrix has.
    """

    name: str
    sign: Literal[1, -1]
    positions: IntArray = field(repr=False)

    def moved(self, values: AnyArray, by: Float64Array) -> AnyArray:
        """The vector, of any shape, with which the output has more by `by`, `[out]`."""
        flat = values.reshape(-1).astype(np.float64)
        flat[self.positions] += self.sign * by
        return flat.astype(values.dtype).reshape(values.shape)


@dataclass(frozen=True)
class Statistics:
    """The mean and the variance of a BatchNormalization that takes a weight's output and nothing else: stored names.

    Attributes:
        bias: what the weight's operator adds before that; empty for nothing.
    """

    mean: str
    variance: str
    bias: str = ""


class Shifts:
    """Looked up once.

    Attributes:
        by_weight: for weights that have one; nothing else reads it.
        statistics: for weights with a BatchNormalization right after them.
    """

    def __init__(self, model: Model, inventory: Inventory) -> None:
        self._graph = inventory.normal.proto.graph
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        self._nodes = {node.name: node for node in self._graph.node}
        for node in self._graph.node:
            for name in reads(node):
                self._readers.setdefault(name, []).append(node)
        self._outputs = {value.name for value in self._graph.output}
        self._stored = self._vectors(model, inventory)
        self.by_weight: dict[str, Shift] = {}
        self.statistics: dict[str, Statistics] = {}
        taken: set[str] = set()
        for weight in inventory.weights:
            node = self._nodes.get(weight.consumers[0].site)
            if node is None or len(weight.consumers) > 1 or weight.readers:
                continue
            statistics = self._normalised(node, weight)
            if statistics is not None:
                self.statistics[weight.name] = statistics
            shift = self._shift(node, weight)
            if shift is not None and (shift.name not in taken or node.op_type in RECURRENT):
                taken.add(shift.name)
                self.by_weight[weight.name] = shift

    @property
    def names(self) -> set[str]:
        """All stored tensors that may be given other values."""
        found = {shift.name for shift in self.by_weight.values()}
        return found | {name for each in self.statistics.values() for name in (each.mean, each.variance)}

    def _vectors(self, model: Model, inventory: Inventory) -> Mapping[str, Stored]:
        """Name in the graph to stored vectors of the main graph that are no weights and of ordinary numbers."""
        weights = {weight.name for weight in inventory.weights}
        tensors = {tensor.name: tensor for tensor in self._graph.initializer}
        for node in self._graph.node:
            if node.op_type == "Constant" and not node.domain and node.output:
                tensors.update((node.output[0], each.t) for each in node.attribute if each.HasField("t"))
        found = {name: inventory.normal.of(tensor) for name, tensor in tensors.items() if tensor.doc_string}
        # What a function holds is there once for each call of it.
        times = Counter(stored.name for stored in found.values())
        bodies = {name for graph in graphs(self._graph) if graph is not self._graph for name in names_of(graph)}
        return {
            name: stored
            for name, stored in found.items()
            if stored.name not in weights
            and stored.name in model.stored
            and stored.tensor.data_type in FLOATS
            and stored.indices is None
            and times[stored.name] == 1
            and name not in bodies
        }

    def _shift(self, node: onnx.NodeProto, weight: Weight) -> Shift | None:
        kind, rows = node.op_type, weight.layout.rows
        if standard(node.domain) not in {"", "com.microsoft"}:
            return None
        if kind in RECURRENT:
            return self._recurrent(node, weight)
        if kind in {"Conv", "ConvTranspose", "Gemm", "FusedConv", "FusedGemm"}:
            stored = self._alone(node, BIAS)
            scaled = any(each.name == "beta" and value_of(each) != 1 for each in node.attribute)
            if "Gemm" in kind and weight.consumers[0].slot.index != 1:
                stored = None  # the rows of a left factor run along the other axis
            across = stored is not None and stored.shape[-1:] == (rows,)  # a column of a Gemm is one for each sample
            if stored is not None and across and prod(stored.shape) == rows and not scaled:
                return Shift(stored.name, 1, np.arange(rows))
            if len(node.input) > BIAS and node.input[BIAS]:
                return None
        if kind in {"MatMul", "Gemm"} and weight.consumers[0].slot.index == 1:
            return self._added(node, rows)
        statistics = self.statistics.get(weight.name)
        return None if statistics is None else Shift(statistics.mean, -1, np.arange(rows))

    def _alone(self, node: onnx.NodeProto, index: int) -> Stored | None:
        """A stored input of a node that nothing else reads."""
        name = node.input[index] if len(node.input) > index else ""
        alone = len(self._readers.get(name, [])) == 1 and name not in self._outputs
        return self._stored.get(name) if alone else None

    def _next(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The only node that reads the output."""
        readers = self._readers.get(node.output[0], []) if node.output else []
        return readers[0] if len(readers) == 1 and node.output[0] not in self._outputs else None

    def _added(self, node: onnx.NodeProto, rows: int) -> Shift | None:
        """What an Add after a product adds to its last axis."""
        after = self._next(node)
        if after is None or after.op_type != "Add" or after.domain:
            return None
        stored = self._alone(after, 1 if after.input[0] == node.output[0] else 0)
        if stored is None or not stored.shape or stored.shape[-1] != rows or prod(stored.shape) != rows:
            return None
        return Shift(stored.name, 1, np.arange(rows))

    def _normalised(self, node: onnx.NodeProto, weight: Weight) -> Statistics | None:
        after = self._next(node)
        if node.op_type != "Conv" or after is None or after.op_type != "BatchNormalization" or after.domain:
            return None
        if any(each.name == "training_mode" and each.i for each in after.attribute):
            return None
        mean, variance = self._alone(after, MEAN), self._alone(after, VARIANCE)
        if mean is None or variance is None or {mean.shape, variance.shape} != {(weight.layout.rows,)}:
            return None
        if len(node.input) <= BIAS or not node.input[BIAS]:
            return Statistics(mean.name, variance.name)
        bias = self._stored.get(node.input[BIAS])
        return None if bias is None else Statistics(mean.name, variance.name, bias.name)

    def _recurrent(self, node: onnx.NodeProto, weight: Weight) -> Shift | None:
        """Of `[directions, 2 * gates * hidden]`, the first half is added to what W makes, the second to R's."""
        stored = self._alone(node, RECURRENT_BIAS)
        index = weight.consumers[0].slot.index
        if (
            stored is None
            or len(stored.shape) != 2
            or 2 * weight.layout.rows != prod(stored.shape)
            or index not in {1, 2}
        ):
            return None
        numbers = np.arange(prod(stored.shape)).reshape(stored.shape[0], 2, -1)
        return Shift(stored.name, 1, numbers[:, index - 1].reshape(-1))


def names_of(graph: onnx.GraphProto) -> set[str]:
    """All that nodes of a body read."""
    return {name for node in graph.node for name in node.input}
