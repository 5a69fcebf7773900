"""Parts of a working copy as models of their own: what lies downstream of a weight, and what comes before.

Changing a weight changes nothing upstream of it. The tensors that cross from "not downstream" to "downstream" are its
*frontier*. What depends on no input of the graph is never cut off from its readers: a DequantizeLinear of a constant
stays beside the MatMul that it is fused with. Graph work only; nothing runs here.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import onnx

from onnxsens.arrays import TensorSpec
from onnxsens.files import write_scratch
from onnxsens.model.normal import graphs, reads
from onnxsens.model.operators import standard

# Operators that draw random numbers. The state they draw from belongs to a session, so runs of two sessions differ.
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Sampling"}
)
DROPOUTS = frozenset({"Dropout", "BiasDropout", "BitmaskDropout", "BitmaskBiasDropout"})
TRAINING_INPUT = {"Dropout": 2, "BitmaskDropout": 2, "BiasDropout": 4, "BitmaskBiasDropout": 4}
BUILT_IN = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})


@dataclass(frozen=True)
class Segment:
    """Consecutive nodes, as what they take from before and what they give to those after.

    Attributes:
        takes: names of tensors, graph inputs among them.
        gives: names of tensors.
    """

    takes: tuple[str, ...]
    gives: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class CutModel:
    """A model made of some nodes of another.

    Attributes:
        inputs: what it has to be fed, in order: cut tensors, graph inputs, weights that are inputs.
        initializers: the stored tensors it has.
        weight_bytes: of those.
    """

    proto: onnx.ModelProto
    inputs: tuple[str, ...]
    initializers: frozenset[str]
    weight_bytes: int

    def write(self, path: Path) -> None:
        """Put it into a file; its external data is wherever the whole model's is."""
        write_scratch(path, [self.proto.SerializeToString()])


class Wiring:
    """Which nodes of a model read what.

    Args:
        proto: a working copy: nodes sorted, weights initializers of the main graph. Not to be changed.

    Attributes:
        outputs: names, each once.
        varying: tensors that depend on an input of the graph, the inputs included.
    """

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto = proto
        graph = proto.graph
        self.nodes = tuple(graph.node)
        self.reads = tuple(frozenset(reads(node)) for node in self.nodes)
        self.outputs = tuple(dict.fromkeys(value.name for value in graph.output))
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        self._inputs = {value.name: value for value in graph.input}
        self._maker = {name: number for number, node in enumerate(self.nodes) for name in node.output if name}
        self._leading: dict[frozenset[str], frozenset[int]] = {}
        self.varying = self._reached(frozenset(self._inputs))[1] | frozenset(self._inputs)

    @classmethod
    def of_file(cls, path: Path) -> "Wiring":
        """Of the working copy at `path`; its external data is not read."""
        return cls(onnx.load(str(path), load_external_data=False))

    @property
    def weight_bytes(self) -> int:
        """Of all initializers."""
        return sum(size_of(tensor) for tensor in self._initializers.values())

    def is_input(self, name: str) -> bool:
        """Whether the graph is fed it."""
        return name in self._inputs

    def random(self, *, libraries: bool) -> str | None:
        """Why two runs may differ; None where they cannot.

        Args:
            libraries: whether custom operators are loaded; nobody knows what those do.
        """
        for node in self._all_nodes:
            if standard(node.domain) in ("", "com.microsoft") and node.op_type in RANDOM:
                return f"operator '{node.op_type}' draws random numbers"
            if node.op_type in DROPOUTS and self._may_train(node):
                return f"operator '{node.op_type}' may be in training mode and draw random numbers"
            if node.op_type == "BatchNormalization" and keeps_statistics(node):
                return f"operator '{node.op_type}' is in training mode and keeps statistics from run to run"
            if libraries and node.domain not in BUILT_IN and (node.domain, node.op_type) not in self._functions:
                return f"operator '{node.op_type}' of domain '{node.domain}' may draw random numbers"
        return None

    @cached_property
    def _all_nodes(self) -> list[onnx.NodeProto]:
        own = [node for graph in graphs(self.proto.graph) for node in graph.node]
        return own + [node for function in self.proto.functions for node in function.node]

    @cached_property
    def _functions(self) -> set[tuple[str, str]]:
        return {(function.domain, function.name) for function in self.proto.functions}

    def _may_train(self, node: onnx.NodeProto) -> bool:
        """Whether its input for training mode is there; one that is always false is the optimiser's business."""
        place = TRAINING_INPUT[node.op_type]
        if len(node.input) <= place or not node.input[place]:
            return False
        stored = self._initializers.get(node.input[place]) or self._constants.get(node.input[place])
        if stored is None or stored.data_location == onnx.TensorProto.EXTERNAL:
            return True
        return bool(onnx.numpy_helper.to_array(stored).any())

    @cached_property
    def _constants(self) -> dict[str, onnx.TensorProto]:
        made = (node for node in self._all_nodes if node.op_type == "Constant" and not node.domain)
        return {node.output[0]: attribute.t for node in made for attribute in node.attribute if attribute.HasField("t")}

    def downstream(self, initializer: str) -> frozenset[str]:
        """Tensors that may change with it, itself included."""
        return self._reached(frozenset({initializer}))[1] | {initializer}

    def frontier(self, initializer: str, wanted: Collection[str]) -> tuple[str, ...]:
        """What has to be known beside an initializer to compute the outputs `wanted` that are downstream of it."""
        numbers, changed = self._changed(initializer, wanted)
        taken = {name for number in numbers for name in self.reads[number]}
        return tuple(sorted((taken & self.varying) - changed, key=self._place))

    def changed_nodes(self, initializer: str, wanted: Collection[str]) -> list[int]:
        """The places of the nodes that depend on an initializer and lead to the outputs `wanted`, in order."""
        return sorted(self._changed(initializer, wanted)[0])

    def _changed(self, initializer: str, wanted: Collection[str]) -> tuple[frozenset[int], frozenset[str]]:
        """Nodes downstream of an initializer that lead to these outputs, and all tensors that are downstream of it."""
        numbers, changed = self._reached(frozenset({initializer}))
        return numbers & self._needed(frozenset(wanted) & changed), changed

    def first_reader(self, initializer: str) -> int:
        """The place of the first node that reads it; past the last node where none does."""
        return self._first_readers.get(initializer, len(self.nodes))

    @cached_property
    def _first_readers(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, names in enumerate(self.reads):
            for name in names:
                found.setdefault(name, number)
        return found

    def _needed(self, wanted: frozenset[str]) -> frozenset[int]:
        """Nodes that lead to these outputs; kept, since nearly all weights are asked about the same ones."""
        if wanted not in self._leading:
            self._leading[wanted] = self.leading_to(wanted)
        return self._leading[wanted]

    def chain(
        self, boundaries: Collection[int], targets: Collection[str], uncrossable: Collection[str] = ()
    ) -> tuple[Segment, ...]:
        """The nodes that `targets` need, cut at these places; each of their tensors is made in one segment.

        A segment's results so depend on no choice that is made while it runs. What has no nodes is left out.

        Args:
            uncrossable: tensors that cannot be taken from one model to another; no cut comes between those that make
                and those that read one.
        """
        needed = sorted(number for number in self.leading_to(targets) if self.varies(number))
        closed = {
            place
            for number in needed
            for name in self.reads[number].intersection(uncrossable)
            for place in range(self.made_at(name) + 1, number + 1)
        }
        ordered = sorted(set(boundaries) - closed)
        part = {number: bisect_right(ordered, number) for number in needed}
        last: dict[str, int] = {}
        takes: dict[int, set[str]] = {}
        for number in needed:
            for name in self.reads[number] & self.varying:
                last[name] = part[number]
                if self._maker.get(name) is None or part[self._maker[name]] < part[number]:
                    takes.setdefault(part[number], set()).add(name)
        gives: dict[int, set[str]] = {}
        for number in needed:
            for name in self.nodes[number].output:
                if name in targets or last.get(name, -1) > part[number]:
                    gives.setdefault(part[number], set()).add(name)
        return tuple(
            Segment(tuple(sorted(takes.get(each, ()), key=self._place)), tuple(sorted(gives[each], key=self._place)))
            for each in sorted(gives)
        )

    def made_at(self, name: str) -> int:
        """The place of the node that makes a tensor; -1 of what none makes."""
        return self._maker.get(name, -1)

    def cut(
        self, given: Mapping[str, TensorSpec], wanted: Sequence[str], as_inputs: Mapping[str, TensorSpec] | None = None
    ) -> CutModel:
        """The model that computes `wanted` from `given`, graph inputs and initializers.

        Args:
            given: tensors at hand: their types, and shapes as far as known.
            as_inputs: initializers that become inputs.
        """
        inputs = as_inputs or {}
        stops = {name for name in given if name in self._maker}
        numbers = sorted(self.leading_to(wanted, stops))
        names = {name for number in numbers for name in self.reads[number]} | set(wanted)
        proto = onnx.ModelProto()
        for field in ("ir_version", "domain", "model_version", "producer_name"):
            setattr(proto, field, getattr(self.proto, field))
        proto.opset_import.extend(self.proto.opset_import)
        proto.functions.extend(self.proto.functions)
        proto.graph.name = "part"
        proto.graph.node.extend(self.nodes[number] for number in numbers)
        proto.graph.input.extend(described(given[name]) for name in sorted(stops & names, key=self._place))
        proto.graph.input.extend(value for name, value in self._inputs.items() if name in names)
        proto.graph.input.extend(described(inputs[name]) for name in inputs if name in names)
        stored = [self._initializers[n] for n in self._initializers if n in names and n not in inputs]
        proto.graph.initializer.extend(stored)
        proto.graph.sparse_initializer.extend(self._sparse[name] for name in self._sparse if name in names)
        declared = {value.name: value for value in self.proto.graph.output}
        proto.graph.output.extend(declared.get(name, onnx.ValueInfoProto(name=name)) for name in wanted)
        made = {name for number in numbers for name in self.nodes[number].output} - set(wanted)
        proto.graph.value_info.extend(value for value in self.proto.graph.value_info if value.name in made)
        return CutModel(
            proto,
            tuple(value.name for value in proto.graph.input),
            frozenset(tensor.name for tensor in stored),
            sum(size_of(tensor) for tensor in stored),
        )

    def reached_by(self, initializers: frozenset[str]) -> frozenset[int]:
        """The places of the nodes that depend on any of these."""
        return self._reached(initializers)[0]

    def _reached(self, start: frozenset[str]) -> tuple[frozenset[int], frozenset[str]]:
        """Nodes that depend on any of these, and what they make."""
        found: set[str] = set(start)
        numbers = set()
        first = min(map(self.first_reader, start), default=len(self.nodes))
        for number in range(first, len(self.nodes)):
            if not found.isdisjoint(self.reads[number]):
                numbers.add(number)
                found.update(name for name in self.nodes[number].output if name)
        return frozenset(numbers), frozenset(found - start)

    def leading_to(self, wanted: Iterable[str], stops: Collection[str] = ()) -> frozenset[int]:
        """The places of the nodes that are needed to compute these from the tensors in `stops`."""
        found: set[int] = set()
        waiting = [name for name in wanted if name not in stops]
        while waiting:
            number = self._maker.get(waiting.pop())
            if number is not None and number not in found:
                found.add(number)
                waiting.extend(name for name in self.reads[number] if name not in stops)
        return frozenset(found)

    def varies(self, number: int) -> bool:
        """Whether a node depends on an input of the graph."""
        return not self.varying.isdisjoint(self.reads[number])

    def _place(self, name: str) -> tuple[int, str]:
        return self._maker.get(name, -1), name


def keeps_statistics(node: onnx.NodeProto) -> bool:
    """Whether a BatchNormalization is in training mode: ONNX Runtime then updates its running mean in place."""
    return any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)


def described(spec: TensorSpec) -> onnx.ValueInfoProto:
    """An input of this type, and shape where that is known."""
    if spec.dtype is None:
        raise ValueError(f"'{spec.name}' is {spec.text}: no input can be made of it")
    kind = onnx.helper.np_dtype_to_tensor_dtype(spec.dtype)
    return onnx.helper.make_tensor_value_info(spec.name, kind, spec.shape)


def size_of(tensor: onnx.TensorProto) -> int:
    """Bytes of a stored tensor, whether it is in the message or outside."""
    return int(prod(tensor.dims) * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
