"""Copies of a model for the engine: the same graph, with the weights to be changed where a session can be given others.

A session takes other values for an initializer of the main graph by `add_external_initializers`, which is right at
every optimisation level and refuses wrong names and shapes. (`add_initializer`, its older sibling, is silently ignored
once a Conv has been fused.) So every weight becomes such an initializer: a Constant is lifted, and so is what lives in
a body, which then takes it from outside.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from onnxsens.files import write_scratch
from onnxsens.model.lifting import lift, settle_inputs
from onnxsens.model.load import Model
from onnxsens.model.normal import graphs
from onnxsens.model.stored import Stored, all_tensors, bodies
from onnxsens.model.surgery import ALIGNMENT, point_to, serialized
from onnxsens.model.values import raw_data
from onnxsens.model.weights import Inventory
from onnxsens.model.wire import INSIDE

WORKING_DATA = "weights.bin"


@dataclass(frozen=True)
class WorkingCopy:
    """A model file for sessions.

    Attributes:
        path: of the model.
        data_folder: where its external data lies, for `session.model_external_initializers_file_folder_path`; None for
            beside the model.
        names: weight name to the initializer that stands for it here.
        inline: weights that a session has to be given the dense values of, because the file does not hold them.
    """

    path: Path
    data_folder: Path | None
    names: Mapping[str, str]
    inline: frozenset[str]


def write_working_copy(
    model: Model,
    inventory: Inventory,
    directory: Path,
    *,
    fed: Collection[str] = (),
    ir_version: int | None = None,
    adjustable: Collection[str] = (),
) -> WorkingCopy:
    """Write the copy. External data of the user's is used where it lies; all else goes to one data file.

    Args:
        directory: an empty folder that only this process uses.
        fed: inputs with a stored default value that the samples override.
        ir_version: a lower one than the file's, for a runtime that is older than the file.
        adjustable: stored tensors besides the weights that sessions may be given other values of.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(inventory.normal.proto)
    if ir_version is not None:
        proto.ir_version = min(proto.ir_version, ir_version)
    names = lift(proto.graph, inventory.normal, {weight.name for weight in inventory.weights} | set(adjustable))
    settle_inputs(proto.graph, fed)
    # Before IR 4 every initializer had to be an input too; here they are none.
    proto.ir_version = max(proto.ir_version, 4)
    bring_inside(model, [node for graph in graphs(proto.graph) for node in graph.node])
    for function in proto.functions:
        bring_inside(model, function.node)
        for attribute in function.attribute_proto:
            bring_attribute_inside(model, attribute)
    tensors = [(inventory.normal.of(tensor), tensor) for tensor in proto.graph.initializer]
    if model.external_files:
        folder, inline = use_in_place(model, tensors, names)
    else:
        folder, inline = None, frozenset()
        write_data(model, tensors, names, directory)
    path = directory / "model.onnx"
    write_scratch(path, [serialized(proto)])
    return WorkingCopy(path, folder, names, inline)


def write_data(
    model: Model,
    tensors: Collection[tuple[Stored, onnx.TensorProto]],
    names: Mapping[str, str],
    directory: Path,
) -> None:
    """Put weights and all large tensors into one data file beside the copy."""
    write_scratch(directory / WORKING_DATA, pointed_to(model, tensors, names))


def pointed_to(
    model: Model, tensors: Iterable[tuple[Stored, onnx.TensorProto]], names: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """The data of those tensors one by one, each of which is made to point to where it comes to lie."""
    offset = 0
    for stored, tensor in tensors:
        outside = tensor.data_location == onnx.TensorProto.EXTERNAL or stored.indices is not None
        if not outside and stored.name not in names:
            continue
        content = raw_data(model.array(stored.name))
        densify(tensor, stored)
        point_to(tensor, WORKING_DATA, offset, len(content))
        padding = b"\0" * (-len(content) % ALIGNMENT)
        offset += len(content) + len(padding)
        yield content
        yield padding


def bring_inside(model: Model, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put the data of tensors that are not initializers into the messages: nobody else would look for it outside."""
    for node in nodes:
        for attribute in node.attribute:
            bring_attribute_inside(model, attribute)


def bring_attribute_inside(model: Model, attribute: onnx.AttributeProto) -> None:
    """The same for one attribute; what its bodies hold included."""
    tensors = [*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors]
    sparse = [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors]
    tensors += [part for each in sparse for part in (each.values, each.indices)]
    for body in bodies(attribute):
        tensors += all_tensors(body)
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            content = raw_data(model.values(tensor))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = bytes(content)


def densify(tensor: onnx.TensorProto, stored: Stored) -> None:
    """The shape that `Model.array` gives: a sparse tensor's dense one."""
    del tensor.dims[:]
    tensor.dims.extend(stored.shape)


def use_in_place(
    model: Model, tensors: Collection[tuple[Stored, onnx.TensorProto]], names: Mapping[str, str]
) -> tuple[Path, frozenset[str]]:
    """Let external tensors point at the user's files; what is stored inline stays so, or is given to each session.

    Returns:
        The folder that locations are relative to, and the weights that every session has to be given.
    """
    real = {location: file.path for location, file in model.files.by_location.items()}
    folder = Path(os.path.commonpath([file.parent for file in real.values()]))
    inline = set()
    for stored, tensor in tensors:
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), INSIDE)
        external = tensor.data_location == onnx.TensorProto.EXTERNAL
        if external and location != INSIDE and stored.indices is None:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = real[location].relative_to(folder).as_posix()
        elif stored.name in names:
            densify(tensor, stored)
            point_to(tensor, WORKING_DATA, 0, model.array(stored.name).nbytes)
            inline.add(stored.name)
        elif external or stored.indices is not None:
            content = raw_data(model.array(stored.name))
            densify(tensor, stored)
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = bytes(content)
    return folder, frozenset(inline)


def trivial_model() -> bytes:
    """The smallest model that runs anywhere: `y = x + x`, opset 13. For asking whether a provider starts."""
    vector = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "trivial", [vector], [result])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    return bytes(proto.SerializeToString())
