"""Write a model with other weights and touch nothing else.

Node and tensor names, metadata, opset imports, IR version and every byte of the other tensors stay as they are.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

import numpy as np
import onnx

from onnxsens.arrays import AnyArray
from onnxsens.errors import ModelError
from onnxsens.files import write_atomically
from onnxsens.model.load import Model, one_line
from onnxsens.model.mapping import PIECE
from onnxsens.model.messages import TensorPath
from onnxsens.model.names import shown
from onnxsens.model.stored import Stored, every_tensor
from onnxsens.model.values import flat_indices, is_of_type, raw_data, stored_size, with_values
from onnxsens.model.wire import Edit, NewPayload, NewTensor, rewritten

ALIGNMENT = 64  # so that ONNX Runtime can map a tensor without copying it


def write_model(model: Model, replacements: Mapping[str, AnyArray], path: Path) -> None:
    """Write `model` to `path` with other values in these tensors, complete or not at all.

    Of the file itself only those tensors' data differ. External data goes to a new file beside `path`, named after its
    content, so that an older model in the same folder keeps its own; data first, model last. Values pass through in
    pieces; `replacements` is asked for one tensor at a time, and of external data twice.

    Args:
        replacements: name in `model.stored` to values of the same type and shape, of a sparse tensor the dense shape.
    Raises:
        ModelError: no such tensor, another type or shape, or a sparse tensor would need more stored values.
        StorageError: the disk is full or cannot be written.
    """
    changed = changes(model, replacements)
    edits: dict[TensorPath, Edit] = {}
    moved: list[Moved] = []
    for place, tensor in every_tensor(model.proto):
        values = changed.get(place)
        if model.files.is_outside(tensor):
            moved.append(Moved(place, tensor, values))
        elif values is not None:
            edits[place] = edit_of(tensor, values())
    if not moved:
        write_atomically(path, rewritten(model.files.own.map(), edits))
        return
    digest = hashlib.sha256()
    for piece in contents(model, moved):
        digest.update(piece)
    data = path.parent / f"{path.stem}-{digest.hexdigest()[:12]}.data"
    offset = 0
    for tensor_moved in moved:
        tensor = onnx.TensorProto()
        tensor.CopyFrom(tensor_moved.tensor)
        point_to(tensor, data.name, offset, stored_size(tensor))
        edits[tensor_moved.place] = NewTensor(tensor.SerializeToString())
        offset += padded(stored_size(tensor))
    is_new = not data.exists()
    write_atomically(data, contents(model, moved))
    before = which(path)
    try:
        write_atomically(path, rewritten(model.files.own.map(), edits))
    except BaseException:
        if is_new and which(path) == before:  # else the model is there, and only not known to be on disk
            with contextlib.suppress(OSError):
                data.unlink()
        raise


def which(path: Path) -> tuple[int, int] | None:
    """The file that has this name, told apart from one that takes its place."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


@dataclass(frozen=True)
class Moved:
    """A tensor with external data, which gets a place in the new data file; `values` gives others for it."""

    place: TensorPath
    tensor: onnx.TensorProto
    values: Callable[[], AnyArray] | None


def changes(model: Model, replacements: Mapping[str, AnyArray]) -> dict[TensorPath, Callable[[], AnyArray]]:
    """Where the changed tensors are, and what gives the values that each is to store."""
    found: dict[TensorPath, Callable[[], AnyArray]] = {}
    for name in replacements:
        stored = model.stored.get(name)
        if stored is None:
            raise ModelError(f"'{model.path}' stores no tensor '{shown(name)}'; see 'onnxsens inspect {model.path}'")
        found[stored.path] = partial(new_values, model, stored, replacements)
    return found


def new_values(model: Model, stored: Stored, replacements: Mapping[str, AnyArray]) -> AnyArray:
    """What a tensor is to store: the replacement, or its values at a sparse tensor's indices."""
    values = replacements[stored.name]
    if values.shape != stored.shape or not is_of_type(values, stored.tensor):
        raise ModelError(
            f"new values of '{shown(stored.name)}' are {values.dtype} {list(values.shape)}, and it stores "
            f"{onnx.TensorProto.DataType.Name(stored.tensor.data_type).lower()} {list(stored.shape)}"
        )
    if stored.indices is None:
        return values
    flat = flat_indices(model.values(stored.indices), stored.shape, prod(stored.tensor.dims), stored.name)
    kept = values.reshape(-1)[flat]
    if np.count_nonzero(values) != np.count_nonzero(kept):
        raise ModelError(f"sparse tensor '{shown(stored.name)}' has no room for values at other indices than it stores")
    return kept.reshape(tuple(stored.tensor.dims))


def edit_of(tensor: onnx.TensorProto, values: AnyArray) -> Edit:
    """How a tensor of the file itself gets these values: in place where its payload was not parsed."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return NewPayload(raw_data(values))
    return NewTensor(with_values(tensor, values).SerializeToString())


def contents(model: Model, moved: Iterable[Moved]) -> Iterator[bytes]:
    """The new data file: each tensor, and zeros up to where the next one may begin."""
    for tensor_moved in moved:
        size = stored_size(tensor_moved.tensor)
        if tensor_moved.values is not None:
            content = raw_data(tensor_moved.values())
            for start in range(0, size, PIECE):
                yield bytes(content[start : start + PIECE])
        else:
            place = model.files.place_of(tensor_moved.tensor)
            assert place is not None
            yield from place.file.pieces(place.offset, place.length)
        yield bytes(padded(size) - size)


def padded(size: int) -> int:
    """Up to the next place where a tensor may begin."""
    return size + -size % ALIGNMENT


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
