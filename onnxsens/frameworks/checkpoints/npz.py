"""npz: arrays by name in a zip archive, as `numpy.savez` writes them; the way in for frameworks without a format here.

Headers are read by us, values by numpy, and never Python objects: an archive that holds any is refused.
"""

import math
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints.archives import BROKEN_ZIP, MAGIC, entries_of
from onnxsens.frameworks.checkpoints.checkpoint import (
    NUMBERS,
    Checkpoint,
    Parameter,
    damaged,
    dtype_named,
    listed,
    quoted,
)

SUFFIX = ".npy"
# The type that numpy keeps of a bfloat16 array that it saves: two bytes that mean nothing to it.
UNTYPED_16 = np.dtype("V2")


@dataclass(frozen=True)
class Npz:
    """One array an entry; its name is the entry's without `.npy`, slashes and dots included."""

    name = "npz"
    title = "arrays by name, as numpy.savez writes them"
    suffixes = (".npz",)

    def recognises(self, path: Path, head: bytes) -> bool:
        """A zip archive of nothing but arrays."""
        if not head.startswith(MAGIC):
            return False
        entries = entries_of(path)
        return bool(entries) and all(name.endswith(SUFFIX) for name in entries)

    def open(self, path: Path) -> Checkpoint:
        """Texts and records among the arrays are left out with a note; objects are refused."""
        parameters = []
        strange = []
        untyped = []
        for entry, info in entries_of(path).items():
            if not entry.endswith(SUFFIX):
                raise CheckpointError(f"checkpoint '{path}' holds {quoted(entry)}, which is no array; save arrays only")
            name = entry.removesuffix(SUFFIX)
            shape, stored = header_of(path, info)
            dtype = number_type(stored)
            if dtype is None:
                strange.append(name)
                continue
            if stored == UNTYPED_16:
                untyped.append(name)
            parameters.append(Parameter(name, shape, dtype.name, partial(read_array, path, entry, dtype)))
        notes = []
        if untyped:
            notes.append(f"{listed(untyped)}: numpy saved 16 bits without a type, taken for bfloat16")
        if strange:
            notes.append(f"{listed(strange)} left out: no plain numbers")
        return Checkpoint(path, self.name, tuple(parameters), tuple(notes))


FORMAT = Npz()


def number_type(stored: np.dtype[Any]) -> np.dtype[Any] | None:
    """The type of the numbers, in this machine's byte order; None where they are no numbers."""
    if stored == UNTYPED_16:
        return dtype_named("bfloat16")
    return stored.newbyteorder("=") if stored.kind in NUMBERS else None


def header_of(path: Path, info: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an entry, which has as many bytes as they take.

    Raises:
        CheckpointError: it is no array, damaged, or of Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(info) as file:
            version = npy.read_magic(file)
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
            if read is None:
                raise damaged(path, f"{quoted(info.filename)} is an array of version {version}, which is not read")
            shape, _, dtype = read(file)
            length = file.tell()
    except (*BROKEN_ZIP, ValueError, EOFError, SyntaxError) as error:
        raise damaged(path, f"{quoted(info.filename)} does not begin like an array") from error
    if dtype.hasobject:
        raise CheckpointError(
            f"checkpoint '{path}' holds Python objects in {quoted(info.filename)}, which are not read for safety; "
            "save arrays of numbers only"
        )
    if length + math.prod(shape) * dtype.itemsize != info.file_size or any(size < 0 for size in shape):
        raise damaged(path, f"{quoted(info.filename)} has {info.file_size} bytes, which is not what its shape takes")
    return tuple(shape), dtype


def read_array(path: Path, entry: str, dtype: np.dtype[Any]) -> AnyArray:
    """The values of one entry.

    Raises:
        CheckpointError: they are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(entry) as file:
            values: AnyArray = npy.read_array(file, allow_pickle=False)
    except (*BROKEN_ZIP, ValueError, EOFError, KeyError, zlib.error) as error:
        raise damaged(path, f"the values of {quoted(entry)} cannot be read") from error
    if values.dtype == UNTYPED_16:
        return values.view(dtype)
    return values.astype(dtype, copy=False)
