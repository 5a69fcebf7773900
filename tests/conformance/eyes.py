"""How the operator that uses a stored tensor sees it: what stands for zero, and what a step is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx

# Weight, scale and zero point among an operator's inputs, and the axis that a vector of them runs along.
QUANTIZED: Mapping[str, tuple[tuple[int, int | None, int, int], ...]] = {
    "QLinearConv": ((3, 4, 5, 0),),
    "QLinearMatMul": ((3, 4, 5, -1), (0, 1, 2, -2)),
    "ConvInteger": ((1, None, 3, 0),),
    "MatMulInteger": ((1, None, 3, -1), (0, None, 2, -2)),
    "DynamicQuantizeLSTM": ((1, 8, 9, 0), (2, 10, 11, 0)),  # a vector has one number a direction
}
THROUGH = frozenset({"Identity", "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Gather"})


class Stored(Protocol):
    """A tensor in the file."""

    def values(self) -> np.ndarray:
        """Its numbers."""


@dataclass(frozen=True)
class Eyes:
    """Both in a shape that fits the tensor's."""

    zero_point: Any = 0
    scale: Any = 1.0


def eyes_of(name: str, nodes: Sequence[onnx.NodeProto], stored: Mapping[str, Stored]) -> Eyes:
    """Of the first consumer that has a scale or a zero point; a plain number is its own value."""
    tensor = stored[name].values()
    for node in nodes:
        for index, used in enumerate(node.input):
            if used != name:
                continue
            found = seen_by(node, index, tensor, stored)
            if found is None and node.op_type in THROUGH and index == 0:
                # Behind these an axis may be another one, so only single numbers carry over.
                found = single(node.output[0], nodes, stored, tensor)
            if found is not None:
                return found
    return Eyes()


def single(name: str, nodes: Sequence[onnx.NodeProto], stored: Mapping[str, Stored], tensor: np.ndarray) -> Eyes | None:
    """The scale and zero point of whoever reads `name`, where they are single numbers."""
    for node in nodes:
        for index, used in enumerate(node.input):
            if used == name:
                found = seen_by(node, index, np.zeros(1, tensor.dtype), stored)
                if found is None and node.op_type in THROUGH and index == 0:
                    found = single(node.output[0], nodes, stored, tensor)
                if found is not None and np.size(found.zero_point) == np.size(found.scale) == 1:
                    return Eyes(np.reshape(found.zero_point, ()), np.reshape(found.scale, ()))
    return None


def seen_by(node: onnx.NodeProto, index: int, tensor: np.ndarray, stored: Mapping[str, Stored]) -> Eyes | None:
    """What one node makes of the tensor as this input."""
    if node.op_type == "DequantizeLinear" and index == 0:
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        axis, block = attributes.get("axis", 1), attributes.get("block_size", 0)
        return Eyes(
            fitted(number(node, 2, stored, 0), tensor, axis, block),
            fitted(number(node, 1, stored, 1.0), tensor, axis, block),
        )
    for weight, scale, zero_point, axis in QUANTIZED.get(node.op_type, ()):
        if weight == index:
            step = 1.0 if scale is None else number(node, scale, stored, 1.0)
            return Eyes(fitted(number(node, zero_point, stored, 0), tensor, axis), fitted(step, tensor, axis))
    return None


def number(node: onnx.NodeProto, index: int, stored: Mapping[str, Stored], default: Any) -> Any:
    """A stored input; `default` where it is left out or not stored."""
    if index >= len(node.input) or node.input[index] not in stored:
        return default
    array = stored[node.input[index]].values()
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def fitted(values: Any, tensor: np.ndarray, axis: int, block: int = 0) -> Any:
    """A single number, a vector along `axis`, or blocks, in a shape that broadcasts with the tensor."""
    array = np.asarray(values)
    if array.size == 1:
        return array.reshape(())
    if block:
        return np.repeat(array, block, axis=axis)[tuple(slice(length) for length in tensor.shape)]
    if array.ndim == 1:
        shape = [1] * tensor.ndim
        shape[axis] = array.size
        return array.reshape(shape)
    return array
