"""How many elements a file stores, counted straight from the protobuf; shares nothing with onnxsens."""

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path

import onnx


def stored_elements(path: Path) -> dict[str, int]:
    """Elements by how they are stored: initializers, sparse initializers (of their dense shape), tensors of attributes.

    In the main graph, in bodies, and in functions. A Constant that is a list of numbers holds no tensor.
    """
    model = onnx.load(str(path), load_external_data=False)
    totals = {"initializers": 0, "sparse initializers": 0, "attributes": 0}
    for graph in graphs_of(model):
        totals["initializers"] += sum(prod(tensor.dims) for tensor in graph.initializer)
        totals["sparse initializers"] += sum(prod(tensor.dims) for tensor in graph.sparse_initializer)
    for node in all_nodes(model):
        totals["attributes"] += sum(elements(attribute) for attribute in node.attribute)
    return totals


def elements(value: onnx.AttributeProto) -> int:
    """Of an attribute's tensors."""
    dense = [*([value.t] if value.HasField("t") else []), *value.tensors]
    sparse = [*([value.sparse_tensor] if value.HasField("sparse_tensor") else []), *value.sparse_tensors]
    return sum(prod(tensor.dims) for tensor in (*dense, *sparse))


def graphs_of(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The main graph and every body."""
    yield model.graph
    for node in all_nodes(model):
        yield from bodies(node)


def all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Nodes of the main graph, of functions, and of their bodies."""
    for start in (model.graph, *model.functions):
        yield from inner(start.node)


def inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """These nodes and those in their bodies."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from inner(body.node)


def bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs among a node's attributes."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
