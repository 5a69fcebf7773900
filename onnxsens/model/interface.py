"""What a model takes and gives, as its file declares it: kinds of values, element types, shapes, axes of samples.

Nothing is inferred but which axis of an input the samples lie along. That is axis 0, unless the inputs together say
otherwise:

- Some input leaves its first axis free: its name, if it has one, is the batch's, wherever else it stands (recurrent
  states are `[layers, batch, hidden]`). An input that fixes its first axis to more than 1 has the batch on its only
  axis without name and length; with no such axis it has none.
- All inputs fix their first axis, to different lengths: the batch is the one of these that every input has on its
  first axis, or else on exactly one other; the first input's length, if several lengths are in all inputs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from onnxsens.arrays import TensorSpec


def feedable(graph: onnx.GraphProto) -> tuple[TensorSpec, ...]:
    """Every input of a graph: those to be fed first, then initializers that may be fed, which come with a default."""
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    stored = {tensor.name for tensor in graph.initializer} - sparse
    specs = [tensor_spec(value) for value in graph.input if value.name not in sparse]
    required = [spec for spec in specs if spec.name not in stored]
    defaults = [replace(spec, presence="default") for spec in specs if spec.name in stored and spec.dtype is not None]
    return with_batch_axes((*required, *defaults))


def with_batch_axes(specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The same inputs, each with the axis that samples lie along; the module's docstring has the rules."""
    telling = [spec for spec in specs if spec.shape and spec.presence != "default"]
    heads = [spec.shape[0] for spec in telling if spec.shape]
    if not heads:
        return tuple(specs)
    if all(isinstance(head, int) for head in heads):
        length = fixed_length(telling)
        return tuple(specs if length is None else (replace(spec, batch_axis=axis_of(spec, length)) for spec in specs))
    name = batch_name(telling)
    return tuple(replace(spec, batch_axis=free_axis(spec, name)) for spec in specs)


def batch_name(specs: Sequence[TensorSpec]) -> str | None:
    """The name of a first axis that most inputs have; of equals that which most begin with, then the earliest."""
    heads = Counter(spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], str))
    return max(
        (name for name in heads if isinstance(name, str)),
        key=lambda name: (sum(name in (spec.shape or ()) for spec in specs), heads[name]),
        default=None,
    )


def free_axis(spec: TensorSpec, name: str | None) -> int | None:
    """The axis of samples where some input leaves its first axis free; `name` is what they call it."""
    if not spec.shape:
        return 0
    if name is not None and spec.shape[0] != name and spec.shape.count(name) == 1:
        return spec.shape.index(name)
    if not isinstance(spec.shape[0], int) or spec.shape[0] == 1:
        return 0
    return spec.shape.index(None) if spec.shape.count(None) == 1 else None


def fixed_length(specs: Sequence[TensorSpec]) -> int | None:
    """The batch that fixed shapes agree on; None where there is no such length."""
    heads = [spec.shape[0] for spec in specs if spec.shape and isinstance(spec.shape[0], int)]
    length = next((head for head in heads if all(head in (spec.shape or ()) for spec in specs)), None)
    return length if length is not None and all(axis_of(spec, length) is not None for spec in specs) else None


def axis_of(spec: TensorSpec, length: int) -> int | None:
    """Axis 0 where it is that long, else the only other axis that is; None where there is none or several."""
    if not spec.shape or spec.shape[0] == length:
        return 0
    return spec.shape.index(length) if spec.shape.count(length) == 1 else None


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, type and shape as the file declares them."""
    kind = value.type.WhichOneof("value")
    if kind == "tensor_type":
        return dense_spec(value.name, value.type.tensor_type)
    if kind == "optional_type" and value.type.optional_type.elem_type.HasField("tensor_type"):
        spec = dense_spec(value.name, value.type.optional_type.elem_type.tensor_type)
        return replace(spec, presence="optional")
    described = type_words(value.type)
    if kind == "sparse_tensor_type":
        return TensorSpec(value.name, None, None, "sparse tensor", described)
    inner = value.type.optional_type.elem_type if kind == "optional_type" else value.type
    if inner.HasField("sequence_type"):
        return TensorSpec(value.name, None, None, "sequence", described)
    if inner.HasField("map_type"):
        return TensorSpec(value.name, None, None, "map", described)
    return TensorSpec(value.name, None, None, "untyped", described)


def dense_spec(name: str, tensor: onnx.TypeProto.Tensor) -> TensorSpec:
    """Of a tensor's type."""
    dtype = element_dtype(tensor.elem_type)
    described = "unsupported type" if dtype is not None else element_name(tensor.elem_type)
    if not tensor.HasField("shape"):
        return TensorSpec(name, dtype, None, described=described)
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        kind = dim.WhichOneof("value")
        # Some exporters write -1 for what is free; ONNX Runtime takes it so.
        fixed = dim.dim_value if kind == "dim_value" and dim.dim_value >= 0 else None
        dims.append((dim.dim_param or None) if kind == "dim_param" else fixed)
    return TensorSpec(name, dtype, tuple(dims), described=described)


def type_words(kind: onnx.TypeProto) -> str:
    """A type in words: `sequence of float32 tensors`, `map from int64 to float32`."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return f"{element_name(kind.tensor_type.elem_type)} tensor"
    if which == "sparse_tensor_type":
        return f"sparse {element_name(kind.sparse_tensor_type.elem_type)} tensor"
    if which == "sequence_type":
        return f"sequence of {type_words(kind.sequence_type.elem_type)}s"
    if which == "map_type":
        value = type_words(kind.map_type.value_type).removesuffix(" tensor")
        return f"map from {element_name(kind.map_type.key_type)} to {value}"
    if which == "optional_type":
        return f"optional {type_words(kind.optional_type.elem_type)}"
    return "of a type that the file does not say" if which is None else which.removesuffix("_type")


def element_name(elem_type: int) -> str:
    """An element type as ONNX calls it, in lower case; numpy's name where it has one."""
    dtype = element_dtype(elem_type)
    if dtype is not None:
        return str(dtype)
    known = elem_type in onnx.TensorProto.DataType.values()
    return onnx.TensorProto.DataType.Name(elem_type).lower() if known else f"element type {elem_type}"


def element_dtype(elem_type: int) -> np.dtype | None:
    """numpy's own type for an ONNX element type; None where numpy has none (strings, bfloat16, float8, int4)."""
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
    except KeyError:
        return None
    # float8_e5m2 calls itself a float too; what is not built into numpy cannot be fed.
    return dtype if dtype.kind in "biufc" and dtype.isbuiltin == 1 else None


def operand_types(graph: onnx.GraphProto, operator: str, node_name: str) -> tuple[str, ...]:
    """Element types that a node's operands are known to have, sorted.

    Of all nodes of that kind, where none has the name. For saying why a runtime has no kernel: only declared and
    stored types are known here.
    """
    known = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in (*graph.value_info, *graph.input, *graph.output):
        known.setdefault(value.name, value.type.tensor_type.elem_type)
    for node in graph.node:
        known |= {
            name: attribute.i
            for attribute in node.attribute
            if node.op_type == "Cast" and attribute.name == "to"
            for name in node.output
        }
    alike = [node for node in graph.node if node.op_type == operator]
    named = [node for node in alike if node.name == node_name] if node_name else []
    operands = [name for node in named or alike for name in (*node.input, *node.output)]
    return tuple(sorted({element_name(known[name]) for name in operands if known.get(name)}))
