"""What a plan costs, counted: zeros, MACs, bytes. Never a speed-up: that is measured or not claimed."""

import zlib

import numpy as np

from onnxsens.arrays import AnyArray


def compressed_bytes(values: AnyArray) -> int:
    """zlib, level 6, of the bytes as stored, little-endian: what a download or flash image takes."""
    stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return len(zlib.compress(stored.tobytes(), 6))


def remaining_macs(macs: int, size: int, zeros: int) -> int:
    """MACs by the elements that are left: each element of a weight is used equally often."""
    return macs * (size - zeros) // size
