"""Whether two model files are one but for the values of some tensors, looked at from the changed file back.

Shares nothing with how such a file is written but the walk over its messages: the tensors are put back as the first
file has them, and what comes out has to be the first file, to the byte.
"""

from collections.abc import Collection, Iterator
from itertools import chain

import numpy as np
import onnx

from onnxsens.arrays import AnyArray
from onnxsens.errors import ModelError
from onnxsens.model.load import Model
from onnxsens.model.mapping import PIECE
from onnxsens.model.messages import Source, TensorPath
from onnxsens.model.names import shown, text
from onnxsens.model.stored import every_tensor
from onnxsens.model.values import raw_data
from onnxsens.model.wire import Edit, NewTensor, located, rewritten

VALUES = (
    "raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data", "external_data",
    "data_location",
)  # fmt: skip


TYPED = tuple(field for field in VALUES if field.endswith("_data") and field not in ("raw_data", "external_data"))


def what_else_differs(dense: Model, other: Model, changed: Collection[str]) -> str:
    """The first thing that another file of a model has otherwise, besides the values of these tensors.

    External data may lie elsewhere; it has to be the same data.

    Args:
        changed: names in `stored`.
    Returns:
        What it is, in words; empty where there is nothing.
    """
    free = {dense.stored[name].path for name in changed}
    theirs = dict(every_tensor(other.proto))
    edits: dict[TensorPath, Edit] = {}
    own = dense.files.own.map()
    wanted: dict[TensorPath, Edit] = {}
    for path, tensor in every_tensor(dense.proto):
        if path not in free and not dense.files.is_outside(tensor):
            continue
        found = theirs.get(path)
        name = shown(tensor.name) or "without a name"
        if found is None or without_values(found) != without_values(tensor):
            return f"tensor '{name}' has another name, type or shape"
        if sum(bool(getattr(found, field)) for field in TYPED) + found.HasField("raw_data") > 1:
            return f"tensor '{name}' holds its values twice"
        outside = found.data_location == onnx.TensorProto.EXTERNAL
        if found.external_data and not outside:
            return f"tensor '{name}' names a data file that it does not have"
        if path not in free and not same(pieces(dense, tensor), pieces(other, found)):
            return f"tensor '{name}' has other values"
        wanted[path] = NewTensor(b"")
    for path, message in located(own, wanted):
        view = memoryview(own)[message.start : message.end]
        edits[path] = NewTensor(view)  # type: ignore[arg-type] # is passed on in pieces, as bytes would be; no copy
    try:
        back = rewritten(other.files.own.map(), edits)
        return "" if same(back, stretches(own)) else first_difference(dense, other, free)
    except ModelError as error:
        return str(error)


def values_differ(expected: AnyArray, found: AnyArray) -> bool:
    """Whether two tensors differ in type, shape or any bit."""
    if expected.dtype != found.dtype or expected.shape != found.shape:
        return True
    one, other = (np.frombuffer(raw_data(np.ascontiguousarray(each)), np.uint8) for each in (expected, found))
    return not np.array_equal(one, other)


def without_values(tensor: onnx.TensorProto) -> bytes:
    """What a tensor's message says besides its values and where they are."""
    bare = onnx.TensorProto()
    bare.CopyFrom(tensor)
    for field in VALUES:
        bare.ClearField(field)
    return bytes(bare.SerializeToString(deterministic=True))


def pieces(model: Model, tensor: onnx.TensorProto) -> Iterator[bytes]:
    """The bytes of a tensor that lies in a file."""
    place = model.files.place_of(tensor)
    if place is None:
        yield bytes(raw_data(np.ascontiguousarray(model.values(tensor))))
    else:
        yield from place.file.pieces(place.offset, place.length)


def stretches(source: Source) -> Iterator[bytes]:
    """All bytes of a file."""
    for start in range(0, len(source), PIECE):
        yield source[start : start + PIECE]


def same(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Whether two streams hold the same bytes, however they are cut."""
    left = right = b""
    for piece in chain(one, [None]):
        if piece is None:
            return not left and not right and not any(other)
        left += piece
        while left:
            if not right:
                right = next((more for more in other if more), b"")
            size = min(len(left), len(right))
            if not size or left[:size] != right[:size]:
                return False
            left, right = left[size:], right[size:]
    return False


def first_difference(dense: Model, other: Model, free: Collection[TensorPath]) -> str:
    """For the message: a tensor that was to stay as it is, else no more than that something differs."""
    theirs = dict(every_tensor(other.proto))
    for path, tensor in every_tensor(dense.proto):
        found = theirs.get(path)
        if path in free:
            continue
        if found is None or found.name != tensor.name:
            return f"tensor '{shown(text(tensor.name))}' is missing or has another name"
        if tensor.data_type != onnx.TensorProto.STRING and not same(pieces(dense, tensor), pieces(other, found)):
            return f"tensor '{shown(text(tensor.name))}' has other values"
    return "something besides the values of tensors is not as in the model"
