"""A stored tensor's bytes as an array, and back, for every element type ONNX has.

Knows nothing of where the bytes are. Shapes are checked before anything is computed from them: numpy would read -1 as
"whatever is left".
"""

import sys
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxsens.arrays import AnyArray
from onnxsens.errors import ModelError
from onnxsens.model.messages import DAMAGED
from onnxsens.model.names import shown

# Element types that share bytes: raw data packs them.
PACKED_BITS: dict[int, int] = {
    getattr(onnx.TensorProto, name): bits
    for name, bits in (
        ("UINT4", 4),
        ("INT4", 4),
        ("FLOAT4E2M1", 4),
        ("UINT2", 2),
        ("INT2", 2),
        ("FLOAT6E2M3", 6),
        ("FLOAT6E3M2", 6),
    )
    if hasattr(onnx.TensorProto, name)  # the newest ones are not in every onnx that is supported
}
MOST_BYTES = 2**63 - 1
MOST_AXES = 32  # that every numpy has
LARGE = 2**20  # elements, from which a tensor is looked at before it is read
TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def check_dims(dims: tuple[int, ...], name: str | bytes) -> None:
    """Refuse a shape that no tensor has.

    Raises:
        ModelError: too many dimensions, a negative one, or more elements than can be counted, were none of them 0.
    """
    if len(dims) > MOST_AXES:
        raise ModelError(f"tensor '{shown(name)}' has {len(dims)} axes, and at most {MOST_AXES} are read; {DAMAGED}")
    if any(dim < 0 for dim in dims) or prod(dim for dim in dims if dim) > MOST_BYTES // 16:
        raise ModelError(f"tensor '{shown(name)}' has the shape {list(dims)}; {DAMAGED}")


def numpy_type(data_type: int, name: str | bytes) -> np.dtype:
    """numpy's type, or that of ml_dtypes, for an element type.

    Raises:
        ModelError: ONNX has no such type.
    """
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(data_type)
    except KeyError:
        raise ModelError(f"tensor '{shown(name)}' has the element type {data_type}, which onnx does not know") from None


def stored_size(tensor: onnx.TensorProto) -> int:
    """How many bytes the tensor's elements take as raw data.

    Raises:
        ModelError: strings have no such form; an unknown element type; an impossible shape.
    """
    dims = tuple(tensor.dims)
    check_dims(dims, tensor.name)
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(f"tensor '{shown(tensor.name)}' holds strings as raw data, which ONNX forbids; {DAMAGED}")
    dtype = numpy_type(tensor.data_type, tensor.name)
    bits = PACKED_BITS.get(tensor.data_type, 8 * dtype.itemsize)
    return int(prod(dims) * bits + 7) // 8


def refuse_unfilled(tensor: onnx.TensorProto) -> None:
    """What claims to be large has to hold its elements: whoever follows them makes room for all that are claimed.

    Raises:
        ModelError: it holds fewer, or more.
    """
    size = prod(tensor.dims)
    if size < LARGE or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    if tensor.HasField("raw_data"):
        given, wanted = len(tensor.raw_data), stored_size(tensor)
    else:
        given = max(len(getattr(tensor, field)) for field in TYPED_FIELDS)
        bits = PACKED_BITS.get(tensor.data_type)
        wanted = size if bits is None else (size * bits + 7) // 8
    if given != wanted and given != 2 * wanted:  # complex numbers are two
        raise ModelError(
            f"tensor '{shown(tensor.name)}' of shape {list(tensor.dims)} takes {wanted:,} bytes or elements and holds "
            f"{given:,}; {DAMAGED}"
        )


def from_message(tensor: onnx.TensorProto) -> AnyArray:
    """The values of a tensor that holds them itself, read-only.

    Raises:
        ModelError: they do not fill the shape, or the type is unknown.
    """
    dims = tuple(tensor.dims)
    check_dims(dims, tensor.name)
    given = None
    if tensor.HasField("raw_data"):
        given = len(tensor.raw_data)
    elif PACKED_BITS.get(tensor.data_type, 8) in (2, 4):
        given = len(tensor.int32_data)
    if given is not None and given != stored_size(tensor):
        raise ModelError(
            f"tensor '{shown(tensor.name)}' of shape {list(dims)} takes {stored_size(tensor)} bytes and holds {given}; "
            f"{DAMAGED}"
        )
    try:
        values = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"values of '{shown(tensor.name)}' cannot be read: {reason}; {DAMAGED}") from error
    values.setflags(write=False)
    return values


def from_bytes(tensor: onnx.TensorProto, content: NDArray[np.uint8]) -> AnyArray:
    """The values of a tensor whose raw data is `content`, read-only; copied only where elements share bytes.

    Args:
        content: `[stored_size(tensor)]`, at an address that the element size divides.
    """
    dims = tuple(tensor.dims)
    if tensor.data_type in PACKED_BITS or sys.byteorder == "big":
        whole = onnx.TensorProto(name=tensor.name, dims=dims, data_type=tensor.data_type, raw_data=content.tobytes())
        return from_message(whole)
    values: AnyArray = content.view(numpy_type(tensor.data_type, tensor.name)).reshape(dims)
    values.setflags(write=False)
    return values


def raw_data(values: AnyArray) -> bytes | memoryview:
    """The raw data that ONNX stores for these values, without a copy where they are laid out so already."""
    if onnx.helper.np_dtype_to_tensor_dtype(values.dtype) in PACKED_BITS:
        return bytes(numpy_helper.from_array(values).raw_data)
    plain = np.ascontiguousarray(values).reshape(-1)
    if sys.byteorder == "big" and plain.itemsize > 1:
        plain = plain.byteswap()
    return plain.view(np.uint8).data


def with_values(tensor: onnx.TensorProto, values: AnyArray) -> onnx.TensorProto:
    """A copy of a tensor that holds its values itself, with others in the field that has the old ones.

    Args:
        values: of the tensor's own shape and type.
    """
    changed = onnx.TensorProto()
    changed.CopyFrom(tensor)
    if tensor.HasField("raw_data"):
        changed.raw_data = bytes(raw_data(values))
        return changed
    field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
    flat = values.reshape(-1)
    if values.dtype.kind == "c":
        flat = flat.view(np.float32 if values.dtype.itemsize == 8 else np.float64)
    elif PACKED_BITS.get(tensor.data_type, 8) in (2, 4):
        flat = np.frombuffer(raw_data(values), np.uint8)
    elif values.dtype.kind not in "iu" and field == "int32_data":  # a truth, or a float of 16 bits or less: its bits
        flat = flat.view(f"u{values.dtype.itemsize}")
    changed.ClearField(field)
    getattr(changed, field).extend(flat.tolist())
    return changed


def is_of_type(values: AnyArray, tensor: onnx.TensorProto) -> bool:
    """Whether an array has a tensor's element type."""
    return values.dtype == numpy_type(tensor.data_type, tensor.name)


def dense(values: AnyArray, indices: AnyArray, shape: tuple[int, ...], name: str) -> AnyArray:
    """The tensor that a sparse one stands for, read-only.

    Args:
        values: `[count]`.
        indices: as for `flat_indices`.
    """
    flat = flat_indices(indices, shape, values.size, name)
    try:
        full = np.zeros(prod(shape), values.dtype)
    except MemoryError as error:
        raise ModelError(f"sparse tensor '{shown(name)}' of shape {list(shape)} does not fit into memory") from error
    full[flat] = values.reshape(-1)
    full = full.reshape(shape)
    full.setflags(write=False)
    return full


def flat_indices(indices: AnyArray, shape: tuple[int, ...], count: int, name: str) -> AnyArray:
    """Where the values of a sparse tensor are in the flattened dense one, int64 `[count]`.

    Args:
        indices: `[count]`, into the flattened tensor, or `[count, rank]`.
    Raises:
        ModelError: another shape, an index outside of the tensor, or the same one twice.
    """
    if indices.dtype != np.int64 or indices.shape not in ((count,), (count, len(shape))):
        raise ModelError(f"sparse tensor '{shown(name)}' has {indices.dtype} indices {list(indices.shape)}; {DAMAGED}")
    limits = np.array(shape if indices.ndim == 2 else [prod(shape)], np.int64)
    wide = indices if indices.ndim == 2 else indices.reshape(-1, 1)
    if ((wide < 0) | (wide >= limits)).any():
        raise ModelError(f"sparse tensor '{shown(name)}' has an index outside of its shape {list(shape)}; {DAMAGED}")
    flat = indices
    if indices.ndim == 2:
        flat = np.zeros(count, np.int64)
        for axis, dim in enumerate(shape):
            flat = flat * dim + indices[:, axis]
    if len(np.unique(flat)) != count:
        raise ModelError(f"sparse tensor '{shown(name)}' has two values at one index; {DAMAGED}")
    return flat
