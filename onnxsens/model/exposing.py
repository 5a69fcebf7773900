"""A working copy whose outputs are tensors from inside the model, or their shapes, and nothing else."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from onnxsens.files import write_scratch
from onnxsens.model.input_rows import Port
from onnxsens.model.lifting import names_in
from onnxsens.model.naming import drop_idle_nodes
from onnxsens.model.surgery import serialized
from onnxsens.model.working import WorkingCopy

Place = tuple[str, Port]  # a node's name, and which of its inputs or outputs


@dataclass(frozen=True)
class ExposingCopy:
    """A model file for sessions.

    Attributes:
        names: of the tensor at each place.
        outputs: tensor to the output that has it, or its shape; a tensor that is fed has none.
    """

    copy: WorkingCopy
    names: dict[Place, str]
    outputs: dict[str, str]


def write_exposing_copy(
    copy: WorkingCopy, places: Collection[Place], path: Path, *, fed: Collection[str], shapes: bool = False
) -> ExposingCopy:
    """Write the copy; only nodes that these tensors depend on are left.

    Args:
        copy: stays as it is, and where it is: its data is used.
        places: in the main graph.
        fed: inputs of the model, which need not be given back.
        shapes: give the tensors' shapes in place of the tensors.
    """
    proto = onnx.ModelProto()
    proto.ParseFromString(copy.path.read_bytes())
    graph = proto.graph
    nodes = {node.name: node for node in graph.node}
    taken = names_in(graph) | set(fed)
    names = {place: name_at(nodes[place[0]], place[1], taken) for place in places}
    outputs: dict[str, str] = {}
    for number, name in enumerate(name for name in dict.fromkeys(names.values()) if name not in fed):
        outputs[name] = name
        if shapes:
            outputs[name] = fresh(f"onnxsens.shape.{number}", taken)
            graph.node.append(onnx.helper.make_node("Shape", [name], [outputs[name]]))
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs.values())
    if shapes and not any(entry.domain in {"", "ai.onnx"} for entry in proto.opset_import):
        proto.opset_import.append(onnx.helper.make_opsetid("", 13))
    drop_idle_nodes(graph)
    write_scratch(path, [serialized(proto)])
    folder = copy.data_folder if copy.data_folder is not None else copy.path.parent
    return ExposingCopy(replace(copy, path=path, data_folder=folder), names, outputs)


def name_at(node: onnx.NodeProto, port: Port, taken: set[str]) -> str:
    """Name of the tensor; an output that the node left out gets one."""
    names = node.input if port.kind == "input" else node.output
    if port.kind == "output":
        names.extend([""] * (port.index + 1 - len(names)))
        names[port.index] = names[port.index] or fresh(f"onnxsens.output.{len(taken)}", taken)
    return str(names[port.index])


def fresh(name: str, taken: set[str]) -> str:
    """A name that nothing has; taken from now on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name
