"""How an npy array begins: version, shape and type. Reads no value, and knows neither files nor archives."""

import warnings
from dataclasses import dataclass
from math import prod
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

MOST_AXES = 32  # that every numpy has
# What numpy raises where a header is damaged: its text is read as a Python literal,
# and where that fails, as one of Python 2.
BROKEN_HEADER = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    SyntaxError,
    TokenError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
)


@dataclass(frozen=True)
class NpyHeader:
    """What stands before the values.

    Attributes:
        fortran: whether the first axis changes fastest.
        length: of the header itself, in bytes: where the values begin.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    length: int

    @property
    def nbytes(self) -> int:
        """That the values take."""
        return prod(self.shape) * self.dtype.itemsize


def read_npy_header(stream: IO[bytes]) -> NpyHeader:
    """The header that a stream begins with; the stream is then where the values begin.

    Raises:
        ValueError: it is none, of a version that is not read, or of a shape that no array has; one line.
    """
    try:
        version = npy.read_magic(stream)
        # Version 3 exists for the field names of structured types only, which are no samples and no weights.
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"it is of version {version[0]}.{version[1]}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on files of Python 2, which are read all the same, and on odd literals
            shape, fortran, dtype = read(stream)
    except BROKEN_HEADER as error:
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError("".join(sign if sign.isprintable() else "?" for sign in lines[0][:200])) from error
    few = len(shape) <= MOST_AXES and all(type(size) is int and 0 <= size < 2**63 for size in shape)
    if dtype.subdtype is not None:
        raise ValueError("its elements are arrays themselves")
    if not few or prod(size for size in shape if size) * max(dtype.itemsize, 1) >= 2**63:
        raise ValueError("it has a shape that no array has")
    return NpyHeader(tuple(shape), dtype, fortran, stream.tell())
