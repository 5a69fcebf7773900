"""`samples.npy`: the samples of a single-input model, without labels; and how an npy stream is read safely."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy_format

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, check_size, existing_file, only_input
from onnxsens.errors import DataError


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
            return RawSamples({only.name: read_stream(stream, size, f"'{spec}'")})


def read_stream(stream: IO[bytes], size: int, where: str) -> AnyArray:
    """The read-only array in a stream of `size` bytes, all of which must belong to it.

    Raises:
        DataError: no npy header, Python objects, or data longer or shorter than the header says.
    """
    try:
        version = npy_format.read_magic(stream)
        # Version 3 exists for the field names of structured types only, which are no samples.
        header = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
        shape, fortran, dtype = header(stream)
    except (ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{where} is not a readable npy array ({reason}); save it again") from error
    if dtype.hasobject:
        raise DataError(f"{where} holds Python objects, which are never unpickled; save it as numbers")
    expected = prod(shape) * dtype.itemsize
    found = size - stream.tell()
    if expected != found or min(shape, default=0) < 0 or dtype.itemsize == 0:
        dims = ", ".join(str(length) for length in shape)
        raise DataError(
            f"{where} is damaged: {dtype} [{dims}] takes {expected} bytes, but there are {found}; save it again"
        )
    return np.frombuffer(stream.read(), dtype).reshape(shape, order="F" if fortran else "C")
