"""What `apply` should have done, found out by another road; shares nothing with onnxsens.

Reads the original and the written file with `onnx.load`, finds each planned weight by its name, and says in one line
what is wrong. Then it makes a pruned model itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.conformance.eyes import Eyes, eyes_of

# Magnitudes of quantized and wide types are compared in another precision than the tool may rank them in.
ROUNDING = 1e-6

Holder = onnx.TensorProto | onnx.SparseTensorProto | onnx.AttributeProto
DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "external_data")


@dataclass
class Place:
    """Where a weight is stored: a tensor, a sparse tensor, or the list of floats of a Constant node.

    Attributes:
        name: the tool's name for it.
        used_as: what nodes call it.
        scope: nodes of the graph it lives in, and of the graphs around that.
    """

    holder: Holder
    name: str
    used_as: str
    scope: Sequence[onnx.NodeProto]

    def values(self) -> np.ndarray:
        """In the shape that operators see."""
        holder = self.holder
        if isinstance(holder, onnx.TensorProto):
            return numpy_helper.to_array(holder)
        if isinstance(holder, onnx.AttributeProto):
            return np.array(holder.floats, np.float32)
        stored = numpy_helper.to_array(holder.values)
        array = np.zeros(tuple(holder.dims), stored.dtype)
        array.reshape(-1)[self._positions(holder)] = stored
        return array

    def put(self, array: np.ndarray) -> None:
        """Store other values, in the same kind of holder."""
        holder = self.holder
        if isinstance(holder, onnx.TensorProto):
            name = holder.name
            holder.CopyFrom(numpy_helper.from_array(array, name))
        elif isinstance(holder, onnx.AttributeProto):
            holder.floats[:] = array.tolist()
        else:
            chosen = array.reshape(-1)[self._positions(holder)]
            holder.values.CopyFrom(numpy_helper.from_array(chosen, holder.values.name))

    def blank(self) -> None:
        """Take the values out, so that what is left of two files can be compared."""
        holder = self.holder
        if isinstance(holder, onnx.AttributeProto):
            del holder.floats[:]
            return
        tensors = [holder] if isinstance(holder, onnx.TensorProto) else [holder.values, holder.indices]
        for tensor in tensors:
            for field in DATA_FIELDS:
                tensor.ClearField(field)
            tensor.ClearField("data_location")
            if tensor is not holder:
                del tensor.dims[:]

    @staticmethod
    def _positions(holder: onnx.SparseTensorProto) -> np.ndarray:
        indices = numpy_helper.to_array(holder.indices)
        return indices if indices.ndim == 1 else np.ravel_multi_index(tuple(indices.T), tuple(holder.dims))


def places(model: onnx.ModelProto) -> dict[str, Place]:
    """Every stored tensor by the tool's name for it."""
    found = {place.name: place for place in in_graph(model.graph, "", ())}
    for function in model.functions:
        found |= {place.name: place for place in in_nodes(function.node, f"{function.domain}::{function.name}/", ())}
    return found


def in_graph(graph: onnx.GraphProto, prefix: str, around: Sequence[onnx.NodeProto]) -> Iterator[Place]:
    """Initializers of a graph, then what its nodes hold."""
    scope = (*graph.node, *around)
    for tensor in graph.initializer:
        yield Place(tensor, prefix + tensor.name, tensor.name, scope)
    for sparse in graph.sparse_initializer:
        yield Place(sparse, prefix + sparse.values.name, sparse.values.name, scope)
    yield from in_nodes(graph.node, prefix, around)


def in_nodes(nodes: Sequence[onnx.NodeProto], prefix: str, around: Sequence[onnx.NodeProto]) -> Iterator[Place]:
    """Values of Constant nodes by their output, and bodies under `<first output>/<attribute>/`."""
    scope = (*nodes, *around)
    for node in nodes:
        first = node.output[0] if node.output else ""
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield Place(attribute.t, prefix + first, first, scope)
            if node.op_type == "Constant" and attribute.name == "sparse_value":
                yield Place(attribute.sparse_tensor, prefix + first, first, scope)
            if node.op_type == "Constant" and attribute.name == "value_floats":
                yield Place(attribute, prefix + first, first, scope)
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from in_graph(attribute.g, f"{prefix}{first}/{attribute.name}/", scope)


def judge(original: Path, written: Path, zeros: Mapping[str, int], oracle: Path) -> list[str]:
    """What is wrong with the written file; and the oracle's own pruned model, saved at `oracle`.

    Args:
        zeros: planned weights, and how many zeros each has to have.
    """
    before, after = onnx.load(str(original)), onnx.load(str(written))
    old, new = places(before), places(after)
    known = {place.used_as: place for place in old.values()}
    complaints = []
    for name, count in zeros.items():
        if name not in old or name not in new:
            complaints.append(f"planned weight '{name}' is not found by its name")
            continue
        arrays = old[name].values(), new[name].values()
        seen = eyes_of(old[name].used_as, old[name].scope, known)
        complaint = compare(*arrays, seen, count)
        if complaint:
            complaints.append(f"weight '{name}' {complaint}")
        old[name].put(np.where(zero_mask(arrays[1], seen), zero_of(arrays[0], seen), arrays[0]))
    onnx.save(before, str(oracle))
    for name in zeros:
        for found in (old, new):
            if name in found:
                found[name].blank()
    if without_places(before) != without_places(after):
        complaints.append("something besides the planned weights was changed")
    return complaints


def zero_of(array: np.ndarray, seen: Eyes) -> np.ndarray:
    """What stands for zero at each element, in the stored type."""
    return np.broadcast_to(seen.zero_point, array.shape).astype(array.dtype)


def zero_mask(array: np.ndarray, seen: Eyes) -> np.ndarray:
    """Which elements are zero in the operator's eyes."""
    return np.asarray(array == zero_of(array, seen))


def compare(before: np.ndarray, after: np.ndarray, seen: Eyes, count: int) -> str:
    """What is wrong with the new values of one weight; "" where nothing is."""
    if before.shape != after.shape or before.dtype != after.dtype:
        return f"was {before.dtype} {list(before.shape)} and is {after.dtype} {list(after.shape)}"
    zeroed = zero_mask(after, seen)
    changed = bits(before) != bits(after)
    if (changed & ~zeroed).any():
        return f"has {int((changed & ~zeroed).sum())} elements that changed to something else than zero"
    if (bits(after) != bits(zero_of(after, seen)))[changed].any():
        return "has zeros of another bit pattern than +0"
    if int(zeroed.sum()) != count:
        return f"has {int(zeroed.sum())} zeros, and its plan says {count}"
    sizes = np.abs(seen.scale * (before.astype(np.float64) - np.asarray(seen.zero_point, np.float64)))
    kept = sizes[~zeroed]
    if changed.any() and kept.size and sizes[changed].max() > kept.min() * (1 + ROUNDING):
        return f"lost a magnitude of {sizes[changed].max():g} and kept one of {kept.min():g}"
    return ""


def bits(array: np.ndarray) -> np.ndarray:
    """Its bytes as unsigned integers, element by element."""
    whole = np.ascontiguousarray(array)
    return np.frombuffer(whole.tobytes(), f"u{whole.dtype.itemsize}").reshape(array.shape)


def without_places(model: onnx.ModelProto) -> bytes:
    """A file's bytes in a fixed order."""
    return model.SerializeToString(deterministic=True)


def same(one: Any, other: Any) -> bool:
    """Whether outputs are equal to the bit; NaN equals NaN."""
    if isinstance(one, list) or isinstance(other, list):
        missing = object()
        return all(same(*pair) for pair in zip_longest(one, other, fillvalue=missing))
    if not isinstance(one, np.ndarray):
        return type(one) is type(other) and bool(one == other)
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind in "fc"))
