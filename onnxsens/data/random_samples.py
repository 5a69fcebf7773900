"""`random:N`: noise in the shapes of the model. Good for trying a model out, and for nothing that counts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, check_size, needed_inputs
from onnxsens.errors import DataError, UsageError

_PREFIX = "random:"


@dataclass(frozen=True)
class Random:
    """Standard normal for floats, 0 or 1 for integers, True or False for bool; no labels.

    Only what has to be fed is drawn: optional inputs stay empty, and those with a default keep it.
    """

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """Everything that starts with `random:`."""
        return spec.startswith(_PREFIX)

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """`N` samples for each input."""
        count = spec.removeprefix(_PREFIX)
        if not re.fullmatch(r"0*[1-9][0-9]{0,17}", count, re.ASCII):
            raise UsageError(f"'{spec}' does not say how many samples; give a positive number, like 'random:256'")
        drawn = needed_inputs(inputs)
        # A single number is the same for all samples, as long as another input says how many there are.
        numbers = all(one.shape == () for one in drawn)
        shapes = [() if one.shape == () and not numbers else (int(count), *_fixed(one)) for one in drawn]
        size = sum(prod(shape) * _dtype(one).itemsize for one, shape in zip(drawn, shapes, strict=True))
        check_size(size, self.max_data_bytes, f"'{spec}'")
        return RawSamples({one.name: _draw(one, shape, rng) for one, shape in zip(drawn, shapes, strict=True)})


def _fixed(spec: TensorSpec) -> tuple[int, ...]:
    if spec.shape is None:
        raise DataError(
            f"input '{spec.name}' is {spec.text}, and random samples need a shape; give samples from a file"
        )
    fixed = []
    for axis, length in enumerate(spec.shape):
        if axis == spec.batch_axis:
            continue
        if isinstance(length, str):
            raise DataError(
                f"axis {axis} of input '{spec.name}' is '{length}', of any length, and random samples need one; "
                f"give --dim {length}=LENGTH"
            )
        if length is None:
            raise DataError(
                f"axis {axis} of input '{spec.name}' is of any length and has no name; "
                f"give --dim {spec.name}:{axis}=LENGTH"
            )
        fixed.append(length)
    return tuple(fixed)


def _dtype(spec: TensorSpec) -> np.dtype[np.generic]:
    if spec.dtype is None or spec.dtype.kind not in "biuf":
        raise DataError(f"input '{spec.name}' of the model is of {spec.text}; only numbers can be drawn")
    return spec.dtype


def _draw(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> AnyArray:
    if spec.batch_axis is None:
        # It has no axis for samples: drawn once, and the same for every sample.
        return np.repeat(_draw(replace(spec, batch_axis=0), (1, *shape[1:]), rng), shape[0], axis=0)
    dtype = _dtype(spec)
    if dtype.kind == "f":
        wide = np.float64 if dtype == np.float64 else np.float32
        return rng.standard_normal(shape, wide).astype(dtype, copy=False)
    return rng.integers(0, 2, shape, np.uint8).astype(dtype)
