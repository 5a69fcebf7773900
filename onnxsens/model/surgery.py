"""Write a model with other weights and touch nothing else; and the copies that the engine works on.

Node and tensor names, metadata, opset imports, IR version and every byte of the other tensors stay as they are.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx

from onnxsens.arrays import AnyArray
from onnxsens.errors import ModelError
from onnxsens.files import storage_errors, write_all, write_atomically
from onnxsens.model.load import Model, all_tensors, one_line

WORKING_DATA = "weights.bin"
ALIGNMENT = 64  # so that ONNX Runtime can map a tensor without copying it


def write_model(model: Model, replacements: Mapping[str, AnyArray], path: Path) -> None:
    """Write `model` to `path` with these initializers replaced, complete or not at all.

    External data goes to a new file beside `path`, named after its content, so that an older model in the same
    folder keeps its own; data first, model last.

    Args:
        replacements: initializer name to values of the same shape and type.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    external = []
    for tensor, named in tensors_by_role(proto.graph):
        replaced = replacements.get(tensor.name) if named else None
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            external.append((tensor, replaced))
        elif replaced is not None:
            set_values(tensor, replaced)

    def contents() -> Iterator[tuple[bytes, int]]:
        """What each external tensor holds, and how many bytes of it are not padding."""
        for tensor, replaced in external:
            content = little_endian(model.values(tensor) if replaced is None else replaced)
            yield content + b"\0" * (-len(content) % ALIGNMENT), len(content)

    if external:
        digest = hashlib.sha256()
        places = []
        offset = 0
        for content, length in contents():
            digest.update(content)
            places.append((offset, length))
            offset += len(content)
        location = f"{path.stem}-{digest.hexdigest()[:12]}.data"
        write_atomically(path.parent / location, (content for content, _ in contents()))
        for (tensor, _), (offset, length) in zip(external, places, strict=True):
            point_to(tensor, location, offset, length)
    write_atomically(path, [serialized(proto)])


def tensors_by_role(graph: onnx.GraphProto) -> Iterator[tuple[onnx.TensorProto, bool]]:
    """Every stored tensor, and whether it is an initializer of the main graph.

    Only those are known by name: a tensor inside a node or a body may have the same one.
    """
    for position, tensor in enumerate(all_tensors(graph)):
        yield tensor, position < len(graph.initializer)


def set_values(tensor: onnx.TensorProto, values: AnyArray) -> None:
    """Put `values` into an inline float tensor, in the field that held the old ones."""
    if tensor.HasField("raw_data"):
        tensor.raw_data = little_endian(values)
    else:
        del tensor.float_data[:]
        tensor.float_data.extend(values.ravel().tolist())


def little_endian(values: AnyArray) -> bytes:
    """The bytes that ONNX stores."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()


def point_to(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Make a tensor's data live at `offset` of the file `location`."""
    for field in ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def serialized(proto: onnx.ModelProto) -> bytes:
    """The file's bytes.

    Raises:
        ModelError: over the 2 GB that one protobuf file can hold.
    """
    try:
        return bytes(proto.SerializeToString(deterministic=True))
    except ValueError as error:  # protobuf's EncodeError is one
        raise ModelError(
            f"the model cannot be written in one file: {one_line(error)}; save it with external data"
        ) from error


def write_working_copy(
    model: Model, directory: Path, probed: Collection[str], extra_outputs: Collection[str] = ()
) -> Path:
    """A copy for the engine: `probed` weights and all external data in one data file, the rest inline.

    A session of this file takes other values for a probed weight by `add_external_initializers`, which is right at
    every optimisation level and refuses wrong names and shapes. `add_initializer`, its older sibling, is silently
    ignored once a Conv has been fused.

    Args:
        directory: an empty folder that only this process uses.
        extra_outputs: tensors to expose as graph outputs.
    Returns:
        Path of the model file.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    offset = 0
    path = directory / "model.onnx"
    with storage_errors(directory):
        with (directory / WORKING_DATA).open("wb") as file:
            for tensor, named in tensors_by_role(proto.graph):
                moved = named and tensor.name in probed
                if tensor.data_location != onnx.TensorProto.EXTERNAL and not moved:
                    continue
                content = little_endian(model.values(tensor))
                point_to(tensor, WORKING_DATA, offset, len(content))
                content += b"\0" * (-len(content) % ALIGNMENT)
                offset += len(content)
                write_all(file, [content])
        # A weight that is also a graph input would be a variable to the optimiser, and take another code path.
        stored = {tensor.name for tensor in proto.graph.initializer}
        kept = [value for value in proto.graph.input if value.name not in stored]
        del proto.graph.input[:]
        proto.graph.input.extend(kept)
        present = {value.name for value in proto.graph.output}
        for name in extra_outputs:
            if name not in present:
                proto.graph.output.add().name = name
        path.write_bytes(serialized(proto))
    return path


def trivial_model() -> bytes:
    """The smallest model that runs anywhere: `y = x + x`, opset 13. For asking whether a provider starts."""
    vector = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "x"], ["y"])], "trivial", [vector], [result])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=7)
    return bytes(proto.SerializeToString())
