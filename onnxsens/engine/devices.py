"""Where tensors live while sessions use them: the host, or the memory of a GPU.

A held tensor goes into any number of runs without being copied. Knows no model and starts no session.
"""

import ctypes
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.fitting import is_out_of_memory
from onnxsens.engine.providers import CUDA, TENSORRT, Provider
from onnxsens.engine.runtime import one_line, runtime
from onnxsens.errors import OutOfMemoryError, ProviderError
from onnxsens.model.values import numpy_type

BFLOAT16 = 16  # the number of the type in ONNX; numpy knows it by name only
# Types that can be held, in ONNX Runtime's words, and how numpy calls them.
HOLDABLE = {
    **{f"tensor({name})": name for name in ("float16", "bool", "bfloat16")},
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}


@dataclass(frozen=True)
class Device:
    """A memory that tensors are in; `number` is as CUDA counts."""

    kind: Literal["cpu", "cuda"]
    number: int = 0

    def __str__(self) -> str:
        return "the host" if self.kind == "cpu" else f"{self.kind}:{self.number}"


HOST = Device("cpu")


def device_of(provider: Provider) -> Device:
    """Where a provider's kernels want their tensors. Sessions are given no device number, so that it is the first."""
    return Device("cuda") if provider.name in {CUDA, TENSORRT} else HOST


class Held:
    """A tensor that stays where sessions run.

    On the host it outlives the session that made it, but so does all the memory that session's arena ever had: a small
    one that is to be kept for long is better held anew.

    Attributes:
        dtype: ml_dtypes' for bfloat16.
        native: ONNX Runtime's value.
    """

    def __init__(self, native: Any, device: Device, owner: object = None) -> None:
        """`owner` is what the memory belongs to, and lives as long as this does."""
        kind = native.data_type()
        if kind not in HOLDABLE:
            raise ValueError(f"a value of type {kind} cannot be held; hold a tensor of numbers")
        self.native = native
        self.device = device
        self.shape: tuple[int, ...] = tuple(native.shape())
        self.dtype: np.dtype[Any] = (
            numpy_type(BFLOAT16, "held") if HOLDABLE[kind] == "bfloat16" else np.dtype(HOLDABLE[kind])
        )
        self._owner = owner

    @property
    def nbytes(self) -> int:
        """Of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def numpy(self, *, copy: bool = True) -> AnyArray:
        """The elements on the host.

        Args:
            copy: where False, the array may be the tensor's own memory, which it keeps alive; for what nobody updates.
        Raises:
            ValueError: it is bfloat16 and not on the host; no call hands that over, so ask the run for it on the host.
        """
        if self.dtype.name != "bfloat16":
            values: AnyArray = self.native.numpy()
            return values.copy() if copy else values
        if self.device.kind != "cpu":
            raise ValueError(f"a bfloat16 tensor on {self.device} cannot be read; ask the run for it on the host")
        values = np.empty(self.shape, self.dtype)
        if self.nbytes:
            ctypes.memmove(values.ctypes.data, self.native.data_ptr(), self.nbytes)
        return values

    def update(self, values: AnyArray) -> None:
        """Overwrite the elements, where they are.

        Raises:
            ValueError: another type or shape. ONNX Runtime would read the bytes of one type as another.
        """
        if values.dtype != self.dtype or values.shape != self.shape:
            raise ValueError(
                f"a held tensor is {self.dtype} {list(self.shape)}, and cannot become "
                f"{values.dtype} {list(values.shape)}; hold another"
            )
        self.native.update_inplace(plain(values))


def plain(values: AnyArray) -> AnyArray:
    """The elements as native code takes them: in order, bfloat16 by its bits; the same memory where it can be."""
    ordered = np.asarray(values, order="C")  # ascontiguousarray would give a scalar an axis
    return ordered.view(np.uint16) if ordered.dtype.name == "bfloat16" else ordered


def hold(values: AnyArray, device: Device) -> Held:
    """A copy of an array on a device.

    Raises:
        ValueError: a type that cannot be held, such as strings.
        OutOfMemoryError: there is no room.
        ProviderError: there is no such device.
    """
    if values.dtype.name not in HOLDABLE.values() or not values.dtype.isnative:
        raise ValueError(f"an array of type {values.dtype} cannot be held; hold one of numbers that ONNX has")
    kind = BFLOAT16 if values.dtype.name == "bfloat16" else values.dtype.type
    try:
        native = runtime().OrtValue.ortvalue_from_shape_and_type(list(values.shape), kind, device.kind, device.number)
    except Exception as error:  # native code
        if is_out_of_memory(error):
            raise OutOfMemoryError(
                f"{device} has no room for a tensor of {values.nbytes / 1e6:,.1f} MB; give a smaller --batch-size"
            ) from error
        raise ProviderError(
            f"{device} cannot hold tensors: {one_line(error)}; see 'onnxsens doctor', or use --providers cpu"
        ) from error
    held = Held(native, device)
    held.update(values)
    return held
