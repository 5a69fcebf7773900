"""Array type aliases and the record that describes a tensor without holding it. Knows nothing of ONNX."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Mask: TypeAlias = NDArray[np.bool_]  # True where kept
AnyArray: TypeAlias = NDArray[Any]


ValueKind: TypeAlias = Literal["tensor", "sparse tensor", "sequence", "map", "untyped"]
Presence: TypeAlias = Literal["required", "optional", "default"]


@dataclass(frozen=True)
class TensorSpec:
    """Name, kind, element type and shape of a model's input or output.

    A dimension is an int where the model fixes it, a str where it names it, None where it says nothing.

    Attributes:
        dtype: None where it is no tensor of numbers that numpy has (strings, bfloat16, sequences); it cannot be fed.
        shape: None where the model does not even say the rank.
        kind: what the value is.
        described: what it is in words, where `dtype` is None.
        presence: whether it has to be fed; `default` is an initializer that may be fed something else.
        batch_axis: the axis that samples lie along; None where the other inputs show that it has none.
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...] | None
    kind: ValueKind = "tensor"
    described: str = "unsupported type"
    presence: Presence = "required"
    batch_axis: int | None = 0

    @property
    def text(self) -> str:
        """For messages: `float32 [N, 1, 28, 28]`."""
        what = f"{'optional ' if self.presence == 'optional' else ''}{self.dtype or self.described}"
        if self.shape is None:
            return f"{what} of any rank" if self.kind == "tensor" else what
        return f"{what} [{', '.join('?' if dim is None else str(dim) for dim in self.shape)}]"
