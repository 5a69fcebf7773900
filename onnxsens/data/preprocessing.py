"""From stored samples to what the model was trained on: `(x / scale - mean) / std`. Knows no file and no model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.errors import DataError, UsageError

_TINY = float(np.finfo(np.float32).tiny)
_HUGE = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Preprocessing:
    """`x -> (x / scale - mean) / std`; what is not given leaves the values as they are.

    Args:
        scale: divides first; must be given for samples stored as integers.
        mean, std: in units of `x / scale`; one number, or one per channel. Channels are axis 1, or the last axis
            where axis 1 does not have that length.

    Raises:
        UsageError: a divisor is 0, a number is not finite in float32, or `mean` and `std` differ in channels.
    """

    scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for option, values in (("scale", () if self.scale is None else (self.scale,)), ("std", self.std)):
            for value in values:
                if not _TINY <= abs(value) <= _HUGE:
                    raise UsageError(f"--{option} {value} cannot divide float32 values; give a finite number, not 0")
        for value in self.mean:
            if not abs(value) <= _HUGE:
                raise UsageError(f"--mean {value} is not a float32 number; give a finite number")
        if len({1, len(self.mean), len(self.std)} - {0}) > 2:
            raise UsageError(
                f"--mean has {len(self.mean)} channels and --std has {len(self.std)}; give as many of one as the other"
            )

    @classmethod
    def parse(cls, scale: float | None, mean: str | None, std: str | None) -> "Preprocessing":
        """From the texts of the command line, such as `0.2860` or `0.485,0.456,0.406`."""
        return cls(scale, _numbers("mean", mean), _numbers("std", std))

    @property
    def given(self) -> bool:
        """Whether there is anything to do."""
        return self != Preprocessing()

    @property
    def text(self) -> str:
        """One text for equal preprocessings, for fingerprints."""
        parts = (() if self.scale is None else (self.scale,), self.mean, self.std)
        return ";".join(",".join(repr(float(value)) for value in values) for values in parts)

    def targets(self, inputs: Mapping[str, AnyArray], specs: Sequence[TensorSpec]) -> frozenset[str]:
        """The inputs that it applies to.

        The float input of a single-input model; of several inputs, the float ones that are stored as integers.
        """
        if not self.given:
            return frozenset()
        floats = [spec.name for spec in specs if spec.dtype is not None and spec.dtype.kind == "f"]
        return frozenset(name for name in floats if len(specs) == 1 or inputs[name].dtype.kind in "iu")

    def channel_axis(self, name: str, shape: Sequence[int]) -> int:
        """The axis of `shape` that `mean` and `std` run along; 0 where both are one number.

        Raises:
            DataError: no axis of input `name` has as many channels.
        """
        channels = max(len(self.mean), len(self.std))
        if channels <= 1:
            return 0
        for axis in (1, len(shape) - 1):
            if 0 < axis < len(shape) and shape[axis] == channels:
                return axis
        dims = ", ".join(str(length) for length in shape)
        raise DataError(
            f"--mean or --std has {channels} channels, but neither axis 1 nor the last axis of '{name}' [{dims}] has; "
            "give one number or one per channel"
        )

    def apply(self, name: str, values: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
        """`[n, ...]` as stored to `[n, ...]` of the float type `dtype`, a new array.

        Computed in float32, or in float64 for a float64 input.

        Raises:
            DataError: a result is too large for `dtype`.
        """
        exact = np.promote_types(dtype, np.float32)
        result = values.astype(exact)
        axis = self.channel_axis(name, result.shape)
        broadcast = (-1,) + (1,) * (result.ndim - 1 - axis)
        try:
            with np.errstate(over="raise"):
                if self.scale is not None:
                    result /= exact.type(self.scale)
                if self.mean:
                    result -= np.asarray(self.mean, exact).reshape(broadcast)
                if self.std:
                    result /= np.asarray(self.std, exact).reshape(broadcast)
                return result.astype(dtype, copy=False)
        except FloatingPointError as error:
            raise DataError(f"'{name}' exceeds {dtype} after --scale, --mean and --std; check these numbers") from error


def _numbers(option: str, text: str | None) -> tuple[float, ...]:
    if text is None:
        return ()
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"--{option} '{text}' is not a list of numbers; write it like '0.5' or '0.485,0.456,0.406'")
    return values
