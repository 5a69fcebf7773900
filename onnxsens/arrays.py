"""Array type aliases and the record that describes a tensor without holding it. Knows nothing of ONNX."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Mask: TypeAlias = NDArray[np.bool_]  # True where kept
AnyArray: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of a model's input or output.

    A dimension is an int where the model fixes it, a str where it names it, None where it says nothing.
    The first dimension is the batch. `dtype` is None for element types numpy has no name for (strings, bfloat16).
    """

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | str | None, ...]

    @property
    def text(self) -> str:
        """For messages: `float32 [N, 1, 28, 28]`."""
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or 'unsupported type'} [{dims}]"
