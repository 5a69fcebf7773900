"""Draws an ONNX graph node by node, with seeded random weights. Knows no architecture, and nothing of onnxsens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Graph:
    """A graph in the making; every method gives the name of the tensor that it adds.

    Args:
        seed: of the weights.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._shared: dict[tuple[Any, ...], str] = {}

    def node(self, kind: str, inputs: Sequence[str], outputs: int = 1, **attributes: Any) -> str:
        """Add a node; the name of its first output. Others have the same name and `.1`, `.2`, ... behind it."""
        name = f"{kind}_{len(self._nodes)}"
        names = [name, *(f"{name}.{number}" for number in range(1, outputs))]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return name

    def stored(self, name: str, values: np.ndarray) -> str:
        """Add an initializer."""
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def constant(self, values: Any, kind: type[np.generic]) -> str:
        """An initializer for a shape, an index or a factor; equal ones are stored once."""
        array = np.array(values, kind)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            self._shared[key] = self.stored(f"constant_{len(self._shared)}", array)
        return self._shared[key]

    def normal(self, name: str, shape: Sequence[int], deviation: float) -> str:
        """A weight with normal values."""
        return self.stored(name, self._rng.standard_normal(shape, np.float32) * np.float32(deviation))

    def conv(self, data: str, name: str, channels: tuple[int, int], side: int, *, stride: int = 1, group: int = 1,
             pad: int | None = None, bias: bool = False) -> str:  # fmt: skip
        """A square convolution with He initialisation (arXiv:1502.01852, eq. 10): deviation sqrt(2 / fan in)."""
        inside, outside = channels
        fan = inside // group * side**2
        inputs = [data, self.normal(f"{name}.weight", [outside, inside // group, side, side], (2 / fan) ** 0.5)]
        if bias:
            inputs.append(self.normal(f"{name}.bias", [outside], 0.1))
        pads = [side // 2 if pad is None else pad] * 4
        window = [side, side]
        return self.node("Conv", inputs, kernel_shape=window, strides=[stride] * 2, pads=pads, group=group)

    def batch_norm(self, data: str, name: str, channels: int) -> str:
        """BatchNormalization; its mean and variance are placeholders until `settled` puts measured ones there."""
        gamma = self._rng.uniform(0.7, 1.3, channels).astype(np.float32)
        inputs = [data, self.stored(f"{name}.weight", gamma), self.normal(f"{name}.bias", [channels], 0.2)]
        inputs.append(self.stored(f"{name}.running_mean", np.zeros(channels, np.float32)))
        inputs.append(self.stored(f"{name}.running_var", np.ones(channels, np.float32)))
        return self.node("BatchNormalization", inputs, epsilon=1e-5)

    def layer_norm(self, data: str, name: str, width: int) -> str:
        """LayerNormalization over the last axis."""
        gamma = self._rng.uniform(0.7, 1.3, width).astype(np.float32)
        inputs = [data, self.stored(f"{name}.weight", gamma), self.normal(f"{name}.bias", [width], 0.1)]
        return self.node("LayerNormalization", inputs, axis=-1, epsilon=1e-5)

    def linear(self, data: str, name: str, widths: tuple[int, int]) -> str:
        """MatMul and Add, as exporters write a linear layer on `[n, positions, width]`."""
        inside, outside = widths
        product = self.node("MatMul", [data, self.normal(f"{name}.weight", [inside, outside], inside**-0.5)])
        return self.node("Add", [product, self.normal(f"{name}.bias", [outside], 0.05)])

    def gelu(self, data: str) -> str:
        """x * (1 + erf(x / sqrt(2))) / 2, in the five nodes that exporters write."""
        erf = self.node("Erf", [self.node("Div", [data, self.constant(2**0.5, np.float32)])])
        gate = self.node("Add", [erf, self.constant(1.0, np.float32)])
        return self.node("Mul", [self.node("Mul", [data, gate]), self.constant(0.5, np.float32)])

    def head(self, data: str, widths: tuple[int, int]) -> str:
        """The last layer, named `logits`: Gemm of `head.weight` `[classes, width]` and `head.bias`."""
        inside, outside = widths
        weight = self.normal("head.weight", [outside, inside], inside**-0.5)
        bias = self.stored("head.bias", np.zeros(outside, np.float32))
        self._nodes.append(helper.make_node("Gemm", [data, weight, bias], ["logits"], transB=1))
        return "logits"

    def model(self, name: str, data: str, shape: Sequence[int], kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
        """The model: input `data` `[N, *shape]`, output `logits` `[N, classes]`."""
        classes = next(weight for weight in self._weights if weight.name == "head.bias").dims[0]
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(data, kind, ["N", *shape])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
