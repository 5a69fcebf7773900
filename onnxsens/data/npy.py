"""`samples.npy`: the samples of a single-input model, without labels; and how an npy stream is read safely.

A large array is not read but mapped, so that memory holds what is being looked at, and processes share it. A small one
is read: whatever happens to its file afterwards does not matter then.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, check_size, existing_file, only_input
from onnxsens.errors import DataError
from onnxsens.npy_header import NpyHeader, read_npy_header

MAPPED_FROM = 256 * 2**20  # bytes


@dataclass(frozen=True)
class Npy:
    """One npy file; labels need an npz."""

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """Every `.npy` that is not a folder."""
        return Path(spec).suffix.lower() == ".npy" and not Path(spec).is_dir()

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """The array of the file, for the model's only input."""
        path = existing_file(spec)
        only = only_input(inputs, f"'{spec}'", "save an npz with one array per input")
        size = path.stat().st_size
        check_size(size, self.max_data_bytes, f"'{spec}'")
        with path.open("rb") as stream:
            header = checked_header(stream, size, f"'{spec}'")
            values = mapped(stream, 0, header) if size >= MAPPED_FROM else read_values(stream, header, f"'{spec}'")
        return RawSamples({only.name: values})


def checked_header(stream: IO[bytes], size: int, where: str) -> NpyHeader:
    """What an array is, of a stream of `size` bytes, all of which must belong to it.

    Raises:
        DataError: no npy header, Python objects, or data longer or shorter than the header says.
    """
    try:
        header = read_npy_header(stream)
    except ValueError as error:
        raise DataError(f"{where} is not a readable npy array ({error}); save it again") from error
    if header.dtype.hasobject:
        raise DataError(f"{where} holds Python objects, which are never unpickled; save it as numbers")
    found = size - header.length
    if header.nbytes != found or header.dtype.itemsize == 0:
        dims = ", ".join(str(length) for length in header.shape)
        raise DataError(
            f"{where} is damaged: {header.dtype} [{dims}] takes {header.nbytes} bytes, but there are {found}; "
            "save it again"
        )
    return header


def read_values(stream: IO[bytes], header: NpyHeader, where: str) -> AnyArray:
    """The read-only array that follows its header.

    Raises:
        DataError: the stream ends before it.
    """
    content = stream.read(header.nbytes + 1)
    if len(content) != header.nbytes:
        raise DataError(f"{where} changed while it was read; try again")
    return shaped(np.frombuffer(content, header.dtype), header)


def mapped(file: IO[bytes], start: int, header: NpyHeader) -> AnyArray:
    """The read-only array whose header begins at byte `start` of a file, in the file's own pages."""
    pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    count = header.nbytes // header.dtype.itemsize
    return shaped(np.frombuffer(pages, header.dtype, count, start + header.length), header)


def shaped(values: AnyArray, header: NpyHeader) -> AnyArray:
    """As the header says."""
    return values.reshape(header.shape, order="F" if header.fortran else "C")
