"""Read and edit models on the protobuf alone, knowing tensors by a tag in their doc_string. No code of the package."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message
from onnx import helper, numpy_helper


def messages(message: Message) -> Iterator[Message]:
    """A message and all messages inside it, whatever field holds them."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for inner in value if isinstance(value, list) or hasattr(value, "add") else [value]:
                yield from messages(inner)


def stored_elements(proto: onnx.ModelProto) -> int:
    """Elements of all tensors in the file; a sparse one counts as the dense one that it stands for."""
    dense = [list(found.dims) for found in messages(proto) if isinstance(found, onnx.TensorProto)]
    total = sum(int(np.prod(dims)) for dims in dense)
    for sparse in messages(proto):
        if isinstance(sparse, onnx.SparseTensorProto):
            total += int(np.prod(sparse.dims)) - int(np.prod(sparse.values.dims)) - int(np.prod(sparse.indices.dims))
    return total


def tensor_of(values: np.ndarray, name: str, tag: str = "", *, raw: bool = True) -> onnx.TensorProto:
    """A tagged tensor, its values as bytes or in the field of its type."""
    tensor = numpy_helper.from_array(values, name)
    tensor.doc_string = tag
    if not raw:
        tensor.ClearField("raw_data")
        put(tensor, values)
    return tensor


def put(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    """Other values, in the field that has the old ones."""
    if tensor.HasField("raw_data"):
        tensor.raw_data = values.tobytes()
        return
    field = helper.tensor_dtype_to_field(tensor.data_type)
    flat = values.reshape(-1)
    if field == "int32_data" and values.dtype.kind not in "iu":
        flat = flat.view(np.uint16)
    del getattr(tensor, field)[:]
    getattr(tensor, field).extend(flat.tolist())


def sparse_of(values: np.ndarray, name: str, tag: str = "") -> onnx.SparseTensorProto:
    """The elements that are not 0, by their places in the flat tensor."""
    places = np.flatnonzero(values)
    return helper.make_sparse_tensor(
        tensor_of(values.reshape(-1)[places], name, tag),
        numpy_helper.from_array(places.astype(np.int64), f"{name}.places"),
        list(values.shape),
    )


def tagged(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Every tensor with a tag; of a sparse one, its values."""
    tensors = (found for found in messages(proto) if isinstance(found, onnx.TensorProto))
    return {tensor.doc_string: tensor for tensor in tensors if tensor.doc_string}


def edited(proto: onnx.ModelProto, changes: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A copy with other dense values, by tag. A sparse tensor keeps its places."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    sparse = {
        found.values.doc_string: numpy_helper.to_array(found.indices)
        for found in messages(copy)
        if isinstance(found, onnx.SparseTensorProto)
    }
    tensors = tagged(copy)
    for tag, values in changes.items():
        put(tensors[tag], values.reshape(-1)[sparse[tag]] if tag in sparse else values)
    return copy


def renamed(proto: onnx.ModelProto, rule: Callable[[str], str]) -> onnx.ModelProto:
    """A copy in which every tensor and node has another name; `rule` must be one to one."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)

    def all_of(names: Any) -> None:
        names[:] = [name and rule(name) for name in names]

    for found in messages(copy):
        if isinstance(found, onnx.NodeProto | onnx.FunctionProto):
            all_of(found.input)
            all_of(found.output)
        if isinstance(found, onnx.NodeProto | onnx.TensorProto | onnx.ValueInfoProto):
            found.name = found.name and rule(found.name)
    return copy


def reordered(proto: onnx.ModelProto, rng: np.random.Generator) -> onnx.ModelProto:
    """A copy with nodes and initializers of the main graph and of bodies in another order."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for found in list(messages(copy)):
        if isinstance(found, onnx.GraphProto):
            for items in (found.node, found.initializer, found.sparse_initializer):
                shuffled = [items[place] for place in rng.permutation(len(items))]
                kept = [type(item).FromString(item.SerializeToString()) for item in shuffled]
                del items[:]
                items.extend(kept)
    return copy


def runs(proto: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> bool:
    """Whether a plain session takes the model as it was made.

    ONNX Runtime's own optimiser (1.31.1) makes a QuantizeLinear node now and then that it refuses itself: seen with
    int8 whose zero point is left out.
    """
    try:
        outputs(proto, feed)
    except Exception:  # native code raises many types here
        return False
    return True


def outputs(proto: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What a plain session says. Node names are taken off first: ONNX Runtime refuses a name that two nodes have."""
    import onnxruntime

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for found in messages(copy):
        if isinstance(found, onnx.NodeProto):
            found.name = ""
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(feed)))
