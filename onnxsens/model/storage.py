"""What values take when they are stored."""

import zlib

import numpy as np

from onnxsens.arrays import AnyArray


def compressed_bytes(values: AnyArray) -> int:
    """zlib, level 6, of the bytes as stored, little-endian: what a download or flash image takes."""
    stored = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
    return len(zlib.compress(stored.tobytes(), 6))
