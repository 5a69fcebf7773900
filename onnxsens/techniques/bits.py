"""Fewer bits for a weight: rounded to the nearest of evenly spaced values, symmetric, one scale for each output row.

Another kind of level than sparsity, through the same scan, searches and plans. A level is the share of 32 bits that is
saved: 8 bits are a level of 0.75, 2 bits one of 0.9375. Values stay as they are stored; they are those that so many
bits can tell apart.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.moments import Moments

WHOLE = 32  # bits of a level of 0
MOST, FEWEST = 8, 2  # bits that there are besides
LEVELS = tuple(1 - bits / WHOLE for bits in range(MOST, FEWEST - 1, -1))  # besides 0
ROUNDING = 1e-9


@dataclass(frozen=True)
class RoundedWeight:
    """One weight, its rows' scales known.

    Attributes:
        largest: `[out, 1]`, absolute.
    """

    dense: FloatArray
    largest: FloatArray

    def at(self, level: float) -> FloatArray:
        """Zero stays zero, and the largest element of a row stays as it is."""
        bits = bits_at(level)
        if bits == WHOLE:
            return self.dense.copy(order="K")
        steps = 2 ** (bits - 1) - 1  # to each side of 0
        # In float64: in float32 the largest would not come out as it went in, and a tiny one's scale would be 0.
        scale = np.where(self.largest > 0, self.largest.astype(np.float64) / steps, 1.0)
        rounded: FloatArray = (np.rint(self.dense / scale) * scale).astype(np.float32) + np.float32(0)
        return rounded


def bits_at(level: float) -> int:
    """Bits that a level leaves: 32 below 0.75, then 8 down to 2."""
    left = int(np.ceil(WHOLE * (1 - level) - ROUNDING))
    return WHOLE if left > MOST else max(left, FEWEST)


@dataclass(frozen=True)
class Bits:
    """Round to nearest. Source of the scheme: Jacob et al., CVPR 2018, arXiv:1712.05877, without a zero point."""

    level_kind: ClassVar[str] = "bits"

    @property
    def pattern_name(self) -> None:
        """Nothing is zeroed together."""
        return

    @property
    def name(self) -> str:
        """There are no settings."""
        return "bits"

    @property
    def needs_moments(self) -> bool:
        """Only the weight is looked at."""
        return False

    def prepare(self, weight: FloatArray, moments: Moments | None = None) -> RoundedWeight:
        """Find each row's largest element once."""
        return RoundedWeight(weight, np.abs(weight).max(axis=1, keepdims=True, initial=0))

    def once(self, weight: FloatArray, level: float, moments: Moments | None = None) -> FloatArray:
        """Nothing large is kept in any case."""
        return self.prepare(weight).at(level)

    def steps(self, shape: tuple[int, int], level: float) -> int:
        """Elements' worth of bits that are saved, to the whole."""
        return shape[0] * shape[1] * (WHOLE - bits_at(level)) // WHOLE

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """One so small that two numbers of bits would come to the same whole."""
        return f"its {shape[0] * shape[1]} elements are too few to be worth it" if shape[0] * shape[1] < WHOLE else None

    def without_moments(self) -> "Bits":
        """The same."""
        return self

    def setting(self, level: float) -> float:
        """Bits."""
        return float(bits_at(level))
