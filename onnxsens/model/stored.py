"""Every tensor that a model stores, wherever it is, under a name of its own."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import onnx

from onnxsens.model.messages import TensorPath
from onnxsens.model.names import prefixing, text

Kind: TypeAlias = Literal["initializer", "sparse initializer", "constant", "sparse constant", "attribute"]


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored tensor.

    Attributes:
        name: unique in the model, and the initializer's own name where it is one of the main graph. A Constant goes by
            its first output, another attribute by `node/attribute`. Prefixes say where it lives: `node/attribute/` for
            a body, `domain::name/` for a function, where a node is its first output. A name that is taken gets `#2`.
        path: where the file has it; of a sparse tensor, where it has the stored values.
        tensor: the message; of a sparse tensor, that of the stored values.
        shape: of the tensor; of a sparse one, of the dense tensor that it stands for.
        indices: of a sparse tensor, where its values are.
        owner: "" for the main graph, else in words what it is part of.
    """

    name: str
    path: TensorPath
    tensor: onnx.TensorProto
    shape: tuple[int, ...]
    kind: Kind
    indices: onnx.TensorProto | None
    owner: str


def stored_tensors(proto: onnx.ModelProto) -> tuple[Stored, ...]:
    """All of them: the main graph's initializers, its nodes' attributes in order, then functions and training graphs.

    Constants that are lists of numbers (`value_floats`) are no tensors.
    """
    found = [*in_graph(proto.graph, (("graph", 0),), "", "")]
    for number, function in enumerate(proto.functions):
        called = f"{text(function.domain)}::{text(function.name)}"
        called += f":{text(function.overload)}" if function.overload else ""
        path: TensorPath = (("functions", number),)
        prefix, owner = prefixing(f"{called}/"), prefixing(f"function '{called}'")
        for ordinal, attribute in enumerate(function.attribute_proto):
            found += in_attribute(attribute, (*path, ("attribute_proto", ordinal)), prefix, owner, owner)
        found += in_nodes(function.node, path, prefix, owner)
    for number, info in enumerate(proto.training_info):
        for field in ("initialization", "algorithm"):
            if info.HasField(field):
                path = (("training_info", number), (field, 0))
                found += in_graph(getattr(info, field), path, f"training {number} {field}/", f"training {field}")
    return tuple(with_unique_names(found))


def every_tensor(proto: onnx.ModelProto) -> Iterator[tuple[TensorPath, onnx.TensorProto]]:
    """Every tensor message and where the file has it: those of `stored_tensors`, and the indices of sparse ones."""
    for stored in stored_tensors(proto):
        yield stored.path, stored.tensor
        if stored.indices is not None:
            yield (*stored.path[:-1], ("indices", 0)), stored.indices


def with_unique_names(found: list[Stored]) -> Iterator[Stored]:
    """The same, each under a name that none before it has."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for stored in found:
        name = stored.name
        while name in taken:
            counts[stored.name] = counts.get(stored.name, 1) + 1
            name = f"{stored.name}#{counts[stored.name]}"
        taken.add(name)
        yield stored if name == stored.name else renamed(stored, name)


def renamed(stored: Stored, name: str) -> Stored:
    """The same tensor under another name."""
    return Stored(name, stored.path, stored.tensor, stored.shape, stored.kind, stored.indices, stored.owner)


def in_graph(graph: onnx.GraphProto, path: TensorPath, prefix: str, owner: str) -> Iterator[Stored]:
    """Initializers, then what nodes hold."""
    for number, tensor in enumerate(graph.initializer):
        place = (*path, ("initializer", number))
        yield Stored(prefix + text(tensor.name), place, tensor, tuple(tensor.dims), "initializer", None, owner)
    for number, sparse in enumerate(graph.sparse_initializer):
        place = (*path, ("sparse_initializer", number))
        yield of_sparse(sparse, place, prefix + text(sparse.values.name), "sparse initializer", owner)
    yield from in_nodes(graph.node, path, prefix, owner)


def in_nodes(nodes: Iterable[onnx.NodeProto], path: TensorPath, prefix: str, owner: str) -> Iterator[Stored]:
    """What the attributes of these nodes hold, bodies included."""
    for number, node in enumerate(nodes):
        if not node.attribute:
            continue
        called = text(next((output for output in node.output if output), node.op_type))
        constant = node.op_type == "Constant" and node.domain in ("", "ai.onnx")
        within = prefixing(f"body of {text(node.op_type)} '{called}'" + (f" in {owner}" if owner else ""))
        for ordinal, attribute in enumerate(node.attribute):
            place = (*path, ("node", number), ("attribute", ordinal))
            if constant and attribute.name == "value" and attribute.HasField("t"):
                shape = tuple(attribute.t.dims)
                yield Stored(prefix + called, (*place, ("t", 0)), attribute.t, shape, "constant", None, owner)
            elif constant and attribute.name == "sparse_value" and attribute.HasField("sparse_tensor"):
                sparse_place = (*place, ("sparse_tensor", 0))
                yield of_sparse(attribute.sparse_tensor, sparse_place, prefix + called, "sparse constant", owner)
            else:
                yield from in_attribute(attribute, place, prefixing(f"{prefix}{called}/"), owner, within)


def in_attribute(
    attribute: onnx.AttributeProto, path: TensorPath, prefix: str, owner: str, within: str
) -> Iterator[Stored]:
    """What one attribute holds, other than a Constant's value."""
    name = prefixing(prefix + text(attribute.name))
    if attribute.HasField("t"):
        tensor = attribute.t
        yield Stored(name, (*path, ("t", 0)), tensor, tuple(tensor.dims), "attribute", None, owner)
    for number, tensor in enumerate(attribute.tensors):
        place = (*path, ("tensors", number))
        yield Stored(f"{name}[{number}]", place, tensor, tuple(tensor.dims), "attribute", None, owner)
    if attribute.HasField("sparse_tensor"):
        yield of_sparse(attribute.sparse_tensor, (*path, ("sparse_tensor", 0)), name, "attribute", owner)
    for number, sparse in enumerate(attribute.sparse_tensors):
        yield of_sparse(sparse, (*path, ("sparse_tensors", number)), f"{name}[{number}]", "attribute", owner)
    if attribute.HasField("g"):
        yield from in_graph(attribute.g, (*path, ("g", 0)), f"{name}/", within)
    for number, graph in enumerate(attribute.graphs):
        yield from in_graph(graph, (*path, ("graphs", number)), f"{name}[{number}]/", within)


def of_sparse(sparse: onnx.SparseTensorProto, path: TensorPath, name: str, kind: Kind, owner: str) -> Stored:
    """The record of a sparse tensor."""
    place = (*path, ("values", 0))
    return Stored(name, place, sparse.values, tuple(sparse.dims), kind, sparse.indices, owner)


def all_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every stored tensor: initializers first, then Constant values and other tensor attributes, bodies included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in bodies(attribute):
                yield from all_tensors(body)


def bodies(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """The graphs that an attribute holds (bodies of If, Loop, Scan)."""
    return ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs)
