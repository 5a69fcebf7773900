"""Find the weights that can be pruned, and account for every other stored tensor with the reason it is left alone.

The account is complete: planned and skipped parameters add up to all parameters in the file.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
import onnx

from onnxsens.arrays import FloatArray
from onnxsens.errors import ModelError
from onnxsens.model.layout import Layout, Slot, slot_of
from onnxsens.model.load import Model, all_tensors, bodies, element_dtype


@dataclass(frozen=True)
class Consumer:
    """A node that multiplies by the weight.

    Attributes:
        data, output: tensor names of the other factor and of the first output; what MACs are computed from.
    """

    operator: str
    node: str
    slot: Slot
    layout: Layout
    data: str
    output: str


@dataclass(frozen=True)
class Weight:
    """A prunable initializer.

    Attributes:
        name: the initializer's name, the id of the weight everywhere.
        consumers: all that multiply by it; a tied weight has several, and its matrix view is the first one's.
        readers: operators that use it in any other way (a tied embedding's Gather).
        zeros: elements that are zero already.
        sha256: of the little-endian bytes.
    """

    name: str
    shape: tuple[int, ...]
    consumers: tuple[Consumer, ...]
    readers: tuple[str, ...]
    zeros: int
    sha256: str

    @property
    def operator(self) -> str:
        """Operator of the first consumer."""
        return self.consumers[0].operator

    @property
    def layout(self) -> Layout:
        """Matrix view of the first consumer."""
        return self.consumers[0].layout

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Skipped:
    """Stored parameters that are not planned: one tensor, or a row of `tensors` small ones."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    parameters: int
    reason: str
    tensors: int = 1


@dataclass(frozen=True)
class Inventory:
    """Every stored parameter of a model, in graph order: those that can be pruned, and the rest."""

    weights: tuple[Weight, ...]
    skipped: tuple[Skipped, ...]

    @property
    def planned_parameters(self) -> int:
        """Elements of the prunable weights; a tied one counts once."""
        return sum(weight.size for weight in self.weights)

    @property
    def parameters(self) -> int:
        """All elements in the file."""
        return self.planned_parameters + sum(row.parameters for row in self.skipped)

    @cached_property
    def _by_name(self) -> dict[str, Weight]:
        return {weight.name: weight for weight in self.weights}

    def weight(self, name: str) -> Weight:
        """The weight called `name`."""
        return self._by_name[name]


def take_inventory(model: Model) -> Inventory:
    """Read every stored tensor of the model once, and sort them into prunable and not.

    Raises:
        ModelError: nothing can be pruned.
    """
    graph = model.proto.graph
    consumers, readers = uses(model)
    in_bodies = names_used_in_bodies(graph)
    weights: list[Weight] = []
    skipped: list[Skipped] = []
    order = {name: position for position, name in enumerate(consumers)}
    for tensor in sorted(graph.initializer, key=lambda tensor: order.get(tensor.name, len(order))):
        if not is_listed(tensor):
            continue
        found = consumers.get(tensor.name, ())
        reason = why_not(tensor, found, readers.get(tensor.name, ()), in_bodies.get(tensor.name))
        if reason is None:
            values = model.array(tensor.name)
            broken = values.size - int(np.isfinite(values).sum())
            if broken:
                reason = f"{broken} of its values are NaN or infinite"
            else:
                weights.append(weigh(tensor.name, values, found, readers.get(tensor.name, ())))
                continue
        skipped.append(listed(tensor, reason))
    skipped += elsewhere(graph)
    skipped += small_rows(graph)
    if not weights:
        raise ModelError(
            f"'{model.path}' has nothing to prune: none of its {len(skipped)} groups of stored tensors is the weight "
            f"of a supported operator; see 'onnxsens inspect {model.path}'"
        )
    return Inventory(tuple(weights), tuple(skipped))


def weigh(name: str, values: FloatArray, consumers: tuple[Consumer, ...], readers: tuple[str, ...]) -> Weight:
    """The record of a prunable initializer."""
    digest = hashlib.sha256(np.ascontiguousarray(values).astype("<f4", copy=False).tobytes()).hexdigest()
    return Weight(name, values.shape, consumers, readers, values.size - int(np.count_nonzero(values)), digest)


def uses(model: Model) -> tuple[dict[str, tuple[Consumer, ...]], dict[str, tuple[str, ...]]]:
    """Who multiplies by each initializer of the main graph, and who reads it otherwise; both in node order."""
    multiplied: dict[str, tuple[Consumer, ...]] = {}
    read: dict[str, tuple[str, ...]] = {}
    for node in model.proto.graph.node:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        for index, name in enumerate(node.input):
            tensor = model.initializers.get(name)
            if tensor is None:
                continue
            shape = tuple(tensor.dims)
            slot = slot_of(node.op_type, node.domain, index)
            if slot is None or not slot.fits(shape, attributes):
                read[name] = (*read.get(name, ()), f"{node.op_type} input {index}")
                continue
            consumer = Consumer(
                node.op_type,
                node.name or next((output for output in node.output if output), ""),
                slot,
                slot.view(shape, attributes),
                node.input[slot.data],
                next((output for output in node.output if output), ""),
            )
            multiplied[name] = (*multiplied.get(name, ()), consumer)
    return multiplied, read


def why_not(
    tensor: onnx.TensorProto, consumers: tuple[Consumer, ...], readers: tuple[str, ...], body: str | None
) -> str | None:
    """Why an initializer is not planned, or None where it is."""
    if body:
        return f"used inside the body of {body}, which is not read yet"
    if not consumers and not readers:
        return "no node reads it"
    if not consumers:
        return f"not the weight of a supported operator ({readers[0]})"
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return f"element type {type_name(tensor)} is not read yet"
    return None


def is_float(tensor: onnx.TensorProto) -> bool:
    """Whether it holds floating-point numbers, of the kinds that numpy does not know too."""
    return type_name(tensor).startswith(("float", "double", "bfloat"))


def type_name(tensor: onnx.TensorProto) -> str:
    """ONNX's name of the element type, in lower case; `type N` for a number ONNX has no name for."""
    try:
        return str(onnx.TensorProto.DataType.Name(tensor.data_type)).lower()
    except ValueError:
        return f"type {tensor.data_type}"


def is_listed(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor gets a row of its own: floating point, two dimensions or more."""
    return is_float(tensor) and len(tensor.dims) >= 2


def listed(tensor: onnx.TensorProto, reason: str, name: str = "") -> Skipped:
    """The row of one tensor."""
    dtype = element_dtype(tensor.data_type)
    shape = tuple(tensor.dims)
    return Skipped(name or tensor.name, shape, str(dtype) if dtype else type_name(tensor), prod(shape), reason)


def elsewhere(graph: onnx.GraphProto) -> Iterator[Skipped]:
    """Parameters that are not initializers of the main graph: sparse ones, Constants, and those of bodies."""
    for sparse in graph.sparse_initializer:
        shape = tuple(sparse.dims)
        yield Skipped(
            sparse.values.name, shape, type_name(sparse.values), prod(shape), "a sparse initializer is not read yet"
        )
    for node in graph.node:
        label = f"{node.op_type} '{node.name or next(iter(node.output), '')}'"
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t") and is_listed(attribute.t):
                yield listed(attribute.t, "value of a Constant node, which is not read yet", next(iter(node.output)))
            for body in bodies(attribute):
                for tensor in all_tensors(body):
                    if is_listed(tensor):
                        yield listed(tensor, f"stored inside the body of {label}, which is not read yet")


def small_rows(graph: onnx.GraphProto) -> Iterator[Skipped]:
    """One row for the vectors and scalars, one for the tensors that are not floating point."""
    inner = [
        tensor
        for node in graph.node
        for attribute in node.attribute
        for body in bodies(attribute)
        for tensor in all_initializers(body)
    ]
    rest = [tensor for tensor in [*graph.initializer, *inner] if not is_listed(tensor)]
    for floating, name, reason in (
        (True, "(1-D and scalar tensors)", "biases, norms and other vectors are not pruned"),
        (False, "(tensors that are not floating point)", "indices, shapes and integer values are not pruned"),
    ):
        group = [tensor for tensor in rest if is_float(tensor) is floating]
        if group:
            yield Skipped(name, (), "", sum(prod(tensor.dims) for tensor in group), reason, len(group))


def all_initializers(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Initializers of a body and of the bodies inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            for body in bodies(attribute):
                yield from all_initializers(body)


def names_used_in_bodies(graph: onnx.GraphProto) -> dict[str, str]:
    """Names that a body takes from the main graph, with the node that holds the body."""
    found: dict[str, str] = {}
    for node in graph.node:
        for attribute in node.attribute:
            for body in bodies(attribute):
                for name in free_names(body):
                    found.setdefault(name, f"{node.op_type} '{node.name or next(iter(node.output), '')}'")
    return found


def free_names(graph: onnx.GraphProto) -> set[str]:
    """Names that a graph reads and does not define."""
    used = {value.name for value in graph.output}
    own = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    own |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:
        own.update(node.output)
        used.update(node.input)
        for attribute in node.attribute:
            for body in bodies(attribute):
                used |= free_names(body)
    return used - own
