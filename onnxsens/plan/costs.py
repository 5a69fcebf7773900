"""What a plan costs, counted: zeros, MACs, bytes. Never a speed-up: that is measured or not claimed."""

import zlib
from collections.abc import Iterable

import numpy as np

from onnxsens.arrays import FloatArray


def compressed_bytes(weights: Iterable[FloatArray]) -> int:
    """zlib, level 6, of every weight's little-endian bytes: what a download or flash image takes."""
    return sum(
        len(zlib.compress(np.ascontiguousarray(weight).astype("<f4", copy=False).tobytes(), 6)) for weight in weights
    )


def remaining_macs(macs: int, size: int, zeros: int) -> int:
    """MACs by the elements that are left: each element of a weight is used equally often."""
    return macs * (size - zeros) // size
