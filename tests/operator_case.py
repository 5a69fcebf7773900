"""One operator with one weight, and what it must do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"
STEP, HALF = np.array(0.05, np.float32), np.array(128, np.uint8)  # a scale and a zero point
RNG = np.random.default_rng(11)

Given = np.ndarray | None
Hand = Callable[[np.ndarray], np.ndarray]


def real(*shape: int) -> np.ndarray:
    """Numbers that no sum of products makes vanish."""
    values: np.ndarray = RNG.standard_normal(shape, dtype=np.float32)
    return values


def steps(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """Integers around the middle of their type, and never its middle itself."""
    away = RNG.integers(20, 90, shape) * RNG.choice([-1, 1], shape)
    return (away + (128 if dtype is np.uint8 else 0)).astype(dtype)


def columns(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A scale and a zero point for each channel, all different."""
    return np.linspace(0.02, 0.08, number, dtype=np.float32), np.arange(120, 120 + number).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """One operator with one weight.

    Attributes:
        inputs: in order; None for one that is left out.
        weight: which input is the weight.
        data: which input is the other factor.
        macs: multiply-accumulates of one run, counted by hand.
        channels: axes of the output that rows of the matrix run along; None where outputs mix them.
        column: axis of the data along which input channels lie, and how many of them a row sees.
        matrix: the matrix by hand.
        zero: what an element is that stands for 0.
        data_zero: the same for the data.
        feeds: inputs that are fed, besides the data.
    """

    operator: str
    inputs: Sequence[Given]
    macs: int
    channels: tuple[int, ...] | None = None
    column: tuple[int, int] | None = None
    matrix: Hand | None = None
    weight: int = 1
    data: int = 0
    zero: np.ndarray = field(default_factory=lambda: np.zeros((), np.float32))
    data_zero: int = 0
    feeds: tuple[int, ...] = ()
    domain: str = ""
    opset: int = 17
    outputs: int = 1
    attributes: dict[str, Any] = field(default_factory=dict)

    def proto(self) -> onnx.ModelProto:
        """Inputs are `i0`, `i1`, ..., the weight is `weight`, the first output `y0`."""
        fed = {self.data, *self.feeds}
        names = [self.name_of(index) if value is not None else "" for index, value in enumerate(self.inputs)]
        given = [(index, name, self.inputs[index]) for index, name in enumerate(names) if name]
        node = helper.make_node(
            self.operator, names, [f"y{i}" for i in range(self.outputs)], domain=self.domain, **self.attributes
        )
        graph = helper.make_graph(
            [node],
            "one",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
                for index, name, value in given
                if index in fed
            ],
            [helper.make_empty_tensor_value_info("y0")],
            [numpy_helper.from_array(value, name) for index, name, value in given if index not in fed],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def name_of(self, index: int) -> str:
        """Of an input."""
        return "weight" if index == self.weight else f"i{index}"

    def feed(self, data: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """What a run is given; the data may be replaced."""
        values = {self.name_of(index): self.inputs[index] for index in self.feeds}
        return values | {self.name_of(self.data): self.inputs[self.data] if data is None else data}


def flat(weight: np.ndarray) -> np.ndarray:
    """Rows are all axes but the last."""
    return weight.reshape(-1, weight.shape[-1])


def turned(weight: np.ndarray) -> np.ndarray:
    """Two axes swapped."""
    return weight.T


def each_turned(weight: np.ndarray) -> np.ndarray:
    """The last two axes of three swapped."""
    return np.concatenate([part.T for part in weight])


def ours(operator: str, inputs: Sequence[Given], macs: int, *rest: Any, **more: Any) -> Case:
    """An operator of ONNX Runtime."""
    return Case(operator, inputs, macs, *rest, domain=MICROSOFT, **more)


def quantized_columns(number: int, axis: int = 0, rank: int = 1) -> np.ndarray:
    """The zero points of `columns`, along one axis."""
    return columns(number)[1].reshape([-1 if i == axis else 1 for i in range(rank)])


CONV_DATA = real(2, 4, 6, 5)
WIDE = np.array(4.0, np.float32)  # a scale of outputs that does not saturate
