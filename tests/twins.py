"""The same model in other words: twins that say what a base model says, with its weights kept in another way.

A maker takes a model and the names of initializers, and gives a pair: some ways of keeping round, and then the base has
the rounded values. No code of the package.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from protos import put, renamed, reordered, sparse_of

Changed = tuple[list[onnx.NodeProto], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Pair:
    """Two models that mean the same.

    Attributes:
        tolerance: of outputs, in parts of the largest; 0 where the arithmetic is the same to the bit.
        options: session entries that bring the arithmetic closer.
        close: the tolerance with these.
        ordered: weights come in the same order; else under the same names.
        external: the twin is to be saved with external data.
    """

    base: onnx.ModelProto
    twin: onnx.ModelProto
    tolerance: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)
    close: float = 0.0
    ordered: bool = True
    external: bool = False

    def saved(self, folder: Path) -> tuple[Path, Path]:
        """Both as files."""
        base, twin = folder / "base.onnx", folder / "twin.onnx"
        base.write_bytes(self.base.SerializeToString())
        if self.external:
            onnx.save_model(
                copy_of(self.twin), str(twin), save_as_external_data=True, location="twin.bin", size_threshold=0
            )
        else:
            twin.write_bytes(self.twin.SerializeToString())
        return base, twin


# ONNX Runtime makes MatMulNBits of DequantizeLinear -> MatMul, and that rounds the activations to 8 bits by default.
FLOAT_ACTIVATIONS = {"session.qdq_matmulnbits_accuracy_level": "1"}

Maker = Callable[[onnx.ModelProto, Collection[str]], Pair]


def copy_of(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    return copy


def with_values(proto: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """Other values for some initializers."""
    copy = copy_of(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in values:
            put(tensor, values[tensor.name])
    return copy


def arrays(proto: onnx.ModelProto, names: Collection[str]) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.name in names}


def rebuilt(
    proto: onnx.ModelProto, names: Collection[str], change: Callable[[str, np.ndarray], Changed]
) -> onnx.ModelProto:
    """These initializers made by nodes from others: `change` gives nodes that end in the name, and what they read."""
    copy = copy_of(proto)
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in names]
    nodes: list[onnx.NodeProto] = []
    for name, values in arrays(proto, names).items():
        made, stored = change(name, values)
        nodes += made
        kept += [numpy_helper.from_array(array, own) for own, array in stored.items()]
    del copy.graph.initializer[:], copy.graph.node[:]
    copy.graph.initializer.extend(kept)
    copy.graph.node.extend([*nodes, *proto.graph.node])
    return copy


def quantized(values: np.ndarray, dtype: type, axis: int | None) -> Iterator[np.ndarray]:
    """Integers, scale, zero point, and the numbers that they stand for."""
    others = None if axis is None else tuple(other for other in range(values.ndim) if other != axis)
    low, high = values.min(others, keepdims=axis is not None), values.max(others, keepdims=axis is not None)
    info = np.iinfo(dtype)
    if dtype == np.int8:
        scale = np.float32(np.maximum(abs(low), abs(high)) / 127)
        zero = np.zeros_like(scale, dtype)
    else:
        scale = np.float32((np.maximum(high, 0) - np.minimum(low, 0)) / 255)
        zero = np.rint(-np.minimum(low, 0) / scale).astype(dtype)
    steps = np.clip(np.rint(values / scale) + zero, info.min, info.max).astype(dtype)
    yield steps
    yield np.asarray(scale).reshape([] if axis is None else [-1])
    yield np.asarray(zero).reshape([] if axis is None else [-1])
    yield (steps.astype(np.float32) - zero.astype(np.float32)) * scale


def dequantized(dtype: type, axis: int | None) -> Maker:
    def made(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
        rounded: dict[str, np.ndarray] = {}

        def change(name: str, values: np.ndarray) -> Changed:
            steps, scale, zero, rounded[name] = quantized(values, dtype, axis)
            parts = {f"{name}/steps": steps, f"{name}/scale": scale, f"{name}/zero": zero}
            return [helper.make_node("DequantizeLinear", list(parts), [name], axis=axis or 0)], parts

        twin = rebuilt(proto, names, change)
        return Pair(with_values(proto, rounded), twin, tolerance=0.02, options=FLOAT_ACTIVATIONS, close=1e-5)

    return made


def half(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    """float16 and Cast."""
    stored = {name: values.astype(np.float16) for name, values in arrays(proto, names).items()}

    def change(name: str, values: np.ndarray) -> Changed:
        cast = helper.make_node("Cast", [f"{name}/half"], [name], to=TensorProto.FLOAT)
        return [cast], {f"{name}/half": stored[name]}

    rounded = {name: values.astype(np.float32) for name, values in stored.items()}
    return Pair(with_values(proto, rounded), rebuilt(proto, names, change))


def external(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    return Pair(proto, proto, external=True)


def constants(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    """No initializers at all."""

    def change(name: str, values: np.ndarray) -> Changed:
        return [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values))], {}

    return Pair(proto, rebuilt(proto, {tensor.name for tensor in proto.graph.initializer}, change))


def transposed(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    def change(name: str, values: np.ndarray) -> Changed:
        return [helper.make_node("Transpose", [f"{name}/turned"], [name])], {f"{name}/turned": values.T.copy()}

    return Pair(proto, rebuilt(proto, names, change))


def sparse(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    """Half of each weight is 0."""
    values = {name: halved(array) for name, array in arrays(proto, names).items()}
    twin = rebuilt(proto, names, lambda name, array: ([], {}))
    twin.graph.sparse_initializer.extend(sparse_of(array, name) for name, array in values.items())
    return Pair(with_values(proto, values), twin)


def halved(values: np.ndarray) -> np.ndarray:
    """Without the smaller half."""
    kept = np.argsort(np.abs(values), axis=None)[values.size // 2 :]
    result = np.zeros_like(values)
    result.reshape(-1)[kept] = values.reshape(-1)[kept]
    return result


def other_names(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    """Of tensors and nodes; the graph's inputs too, in the order that they had."""
    return Pair(proto, renamed(proto, lambda name: f"{name[::-1]}'"))


def unsorted(proto: onnx.ModelProto, names: Collection[str]) -> Pair:
    """Operators side by side come in another order, and so do their weights."""
    return Pair(proto, reordered(proto, np.random.default_rng(0)), ordered=False)


TWINS: dict[str, Maker] = {
    "int8 per tensor": dequantized(np.int8, None),
    "int8 per axis": dequantized(np.int8, 0),
    "uint8 per tensor": dequantized(np.uint8, None),
    "uint8 per axis": dequantized(np.uint8, 1),
    "float16": half,
    "external data": external,
    "constants": constants,
    "transposed": transposed,
    "sparse": sparse,
    "renamed": other_names,
    "unsorted": unsorted,
}
