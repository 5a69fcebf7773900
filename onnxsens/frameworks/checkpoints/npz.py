"""npz: arrays by name in a zip archive, as `numpy.savez` writes them; the way in for frameworks without a format here.

Values are numbers and never Python objects: an archive that holds any is refused.
"""

import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
    one_line,
    quoted,
)
from onnxsens.npy_header import read_npy_header

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
            header = read_npy_header(file)
    except BROKEN_ZIP as error:
        raise damaged(path, f"{quoted(info.filename)} does not begin like an array ({one_line(error)})") from error
    if header.dtype.hasobject:
        raise CheckpointError(
            f"checkpoint '{path}' holds Python objects in {quoted(info.filename)}, which are not read for safety; "
            "save arrays of numbers only"
        )
    if header.length + header.nbytes != info.file_size:
        raise damaged(path, f"{quoted(info.filename)} has {info.file_size} bytes, which is not what its shape takes")
    return header.shape, header.dtype


def read_array(path: Path, entry: str, dtype: np.dtype[Any]) -> AnyArray:
    """The values of one entry.

    Raises:
        CheckpointError: they are damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive, archive.open(entry) as file:
            header = read_npy_header(file)
            content = np.frombuffer(file.read(), header.dtype)
            values: AnyArray = content.reshape(header.shape, order="F" if header.fortran else "C")
    except (*BROKEN_ZIP, KeyError) as error:
        raise damaged(path, f"the values of {quoted(entry)} cannot be read") from error
    if values.dtype == UNTYPED_16:
        return values.view(dtype)
    return values.astype(dtype, copy=False)
