"""Input rows of convolutions: what lies under the kernel, kernel positions first, then the input channels of a group.

Sources: the specifications of Conv and ConvTranspose (github.com/onnx/onnx, docs/Operators.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxsens.arrays import AnyArray, BoolArray, IntArray
from onnxsens.model.input_rows import NoRowsError, Port
from onnxsens.model.layout import Shape
from onnxsens.model.operators import Attributes


@dataclass(frozen=True)
class Axis:
    """A convolution along one spatial axis of the data.

    Attributes:
        length: of the data.
        begin, end: padding; negative ones cut.
        grown: what a transposed convolution has more at its end.
    """

    length: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    grown: int = 0

    @property
    def reach(self) -> int:
        """From the first element under the kernel to the last, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def outputs(self) -> int:
        """Positions of the kernel."""
        return (self.length + self.begin + self.end - self.reach) // self.stride + 1

    @property
    def transposed_outputs(self) -> int:
        """Positions that a transposed convolution makes."""
        return self.stride * (self.length - 1) + self.grown + self.reach - self.begin - self.end

    def under(self, position: IntArray) -> tuple[IntArray, BoolArray]:
        """Places `[position, kernel]` in the data that an output sees, and which of them are there."""
        steps = np.arange(self.kernel) * self.dilation
        places = position[:, None] * self.stride - self.begin + steps
        return places, (places >= 0) & (places < self.length)

    def transposed_under(self, position: IntArray) -> tuple[IntArray, BoolArray]:
        """The same of a transposed convolution, where data lies `stride` apart."""
        steps = np.arange(self.kernel) * self.dilation
        places, between = np.divmod(position[:, None] + self.begin - steps, self.stride)
        return places, (between == 0) & (places >= 0) & (places < self.length)


@dataclass(frozen=True)
class Windows:
    """Rows of Conv and ConvTranspose, in any number of dimensions.

    Attributes:
        pads: all beginnings, then all ends; None where `auto_pad` or `output_shape` says them.
        output_shape: of a transposed convolution, where that is given in place of pads.
    """

    groups: int
    kernel: Shape
    strides: Shape
    dilations: Shape
    pads: Shape | None
    auto_pad: str
    transposed: bool = False
    output_padding: Shape = ()
    output_shape: Shape | None = None

    @property
    def ports(self) -> tuple[Port, ...]:
        """The data."""
        return (Port("input", 0),)

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Output positions of all samples."""
        return prod(self._grid(arrays[0].shape))

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """Only what lies under the chosen positions is gathered."""
        data = arrays[0]
        axes = self._axes(data.shape)
        samples, *positions = np.unravel_index(chosen, self._grid(data.shape))
        spread = (len(chosen), *(1,) * len(axes))
        index: list[IntArray] = [samples.reshape(spread)]
        there = np.ones(spread, np.bool_)
        for number, (axis, position) in enumerate(zip(axes, positions, strict=True)):
            where, inside = (axis.transposed_under if self.transposed else axis.under)(position)
            shape = [len(chosen), *(1,) * len(axes)]
            shape[number + 1] = axis.kernel
            index.append(np.clip(where, 0, axis.length - 1).reshape(shape))
            there = there & inside.reshape(shape)
        under = np.moveaxis(data, 1, -1)[tuple(index)]  # [chosen, *kernel, channels], a copy
        under[~there] = 0
        channels, positions_under = data.shape[1] // self.groups, prod(self.kernel)
        split = under.reshape(len(chosen), positions_under, self.groups, channels).transpose(2, 0, 1, 3)
        return split.reshape(self.groups, len(chosen), positions_under * channels)

    def _grid(self, shape: Shape) -> Shape:
        axes = self._axes(shape)
        if self.transposed:
            return (shape[0], *(axis.transposed_outputs for axis in axes))
        return (shape[0], *(axis.outputs for axis in axes))

    def _axes(self, shape: Shape) -> list[Axis]:
        rank = len(self.kernel)
        if len(shape) != rank + 2 or 0 in shape:
            raise NoRowsError(f"its input is {list(shape)}, which its kernel does not fit")
        return [self._axis(number, shape[number + 2]) for number in range(rank)]

    def _axis(self, number: int, length: int) -> Axis:
        grown = self.output_padding[number] if self.output_padding else 0
        bare = Axis(length, self.kernel[number], self.strides[number], self.dilations[number], 0, 0, grown)
        if self.output_shape is not None:
            wanted = self.output_shape[number]
            missing = max(bare.transposed_outputs - wanted, 0)
            bare = replace(bare, grown=grown + max(wanted - bare.transposed_outputs, 0))
        elif self.pads is not None:
            return replace(bare, begin=self.pads[number], end=self.pads[number + len(self.kernel)])
        elif self.transposed:
            missing = max(bare.transposed_outputs - length * bare.stride, 0)
        else:
            missing = max((-(-length // bare.stride) - 1) * bare.stride + bare.reach - length, 0)
        # Of an odd number one more goes to the end for SAME_UPPER, and to the beginning for all others.
        lesser, greater = missing // 2, missing - missing // 2
        upper = self.auto_pad == "SAME_UPPER"
        return replace(bare, begin=lesser if upper else greater, end=greater if upper else lesser)


def conv_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> Windows:
    """Conv and its fused forms, `[out, in / groups, *kernel]`."""
    return windows(shape[2:], attributes)


def conv_transpose_rows(shape: Shape, attributes: Attributes, given: Sequence[bool]) -> Windows:
    """ConvTranspose, `[in, out / groups, *kernel]`."""
    return windows(shape[2:], attributes, transposed=True)


def windows(kernel: Shape, attributes: Attributes, *, transposed: bool = False) -> Windows:
    """What the attributes say.

    Raises:
        NoRowsError: they do not fit the kernel.
    """
    rank = len(kernel)

    def listed(name: str, length: int, default: int) -> Shape:
        values = attributes.get(name) or [default] * length
        if len(values) != length:
            raise NoRowsError(f"its '{name}' is {list(values)}, which its kernel does not fit")
        return tuple(values)

    auto_pad = attributes.get("auto_pad") or "NOTSET"
    known = auto_pad in {"NOTSET", "VALID"}
    return Windows(
        attributes.get("group", 1),
        kernel,
        listed("strides", rank, 1),
        listed("dilations", rank, 1),
        listed("pads" if auto_pad == "NOTSET" else "", 2 * rank, 0) if known else None,
        auto_pad,
        transposed,
        listed("output_padding", rank, 0) if transposed else (),
        listed("output_shape", rank, 0) if transposed and attributes.get("output_shape") else None,
    )
