"""A copy of a model whose weight-consuming nodes have names to find them by, and in which nothing is idle."""

from collections.abc import Collection
from pathlib import Path

import onnx

from onnxsens.files import write_scratch
from onnxsens.model.lifting import refill
from onnxsens.model.load import Model
from onnxsens.model.normal import free_names, graphs
from onnxsens.model.stored import bodies
from onnxsens.model.surgery import serialized
from onnxsens.model.weights import Inventory
from onnxsens.model.working import WorkingCopy, write_working_copy

TOKEN = "onnxsens#"


def write_named_copy(
    model: Model, inventory: Inventory, directory: Path, *, fed: Collection[str] = (), ir_version: int | None = None
) -> tuple[WorkingCopy, dict[str, str]]:
    """Write a working copy; nodes that no output depends on are left out.

    Returns:
        The copy, and consumer site to the token in its node's name.
    """
    copy = write_working_copy(model, inventory, directory, fed=fed, ir_version=ir_version)
    sites = dict.fromkeys(consumer.site for weight in inventory.weights for consumer in weight.consumers)
    tokens = {site: f"{TOKEN}{number}" for number, site in enumerate(sites)}
    proto = onnx.ModelProto()
    proto.ParseFromString(copy.path.read_bytes())
    drop_idle_nodes(proto.graph)
    for number, node in enumerate(node for graph in graphs(proto.graph) for node in graph.node):
        node.name = tokens.get(node.name, f"node {number}")
    write_scratch(copy.path, [serialized(proto)])
    return copy, tokens


def drop_idle_nodes(graph: onnx.GraphProto) -> None:
    """Remove every node that no output of the graph depends on, in bodies too; order and names stay.

    ONNX Runtime without optimisation runs such nodes all the same, so that having run would say nothing of them.
    """
    nodes = list(graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output if name}
    needed = [False] * len(nodes)
    wanted = [value.name for value in graph.output]
    while wanted:
        number = makers.get(wanted.pop())
        if number is None or needed[number]:
            continue
        needed[number] = True
        wanted.extend(nodes[number].input)
        for attribute in nodes[number].attribute:
            for body in bodies(attribute):
                drop_idle_nodes(body)
                wanted.extend(free_names(body))
    refill(graph.node, [node for node, kept in zip(nodes, needed, strict=True) if kept])
