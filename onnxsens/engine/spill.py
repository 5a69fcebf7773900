"""Tensors in a file, for when memory is too small: written once, mapped when they are read.

The file has no name, so nothing is left of it whatever ends us.
"""

import os
import shutil
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.files import storage_errors, unnamed_file

PROBE_BYTES = 2**24
DISK_SHARE = 2  # of what is free, one part in so many


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in the file."""

    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    nbytes: int


class Spill:
    """A file in a folder, made with the first tensor.

    Raises:
        StorageError: from any method, where the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._end = 0
        self._free: defaultdict[int, list[int]] = defaultdict(list)

    def close(self) -> None:
        """Give the space back."""
        if self._file is not None:
            self._file.close()

    def write(self, values: AnyArray) -> Slot:
        """Keep a tensor of at least one element."""
        content = np.ascontiguousarray(values)
        free = self._free[content.nbytes]
        offset = free.pop() if free else self._end
        self._end = max(self._end, offset + content.nbytes)
        with storage_errors(self._folder):
            write_at(self._open().fileno(), content, offset)
        return Slot(offset, content.dtype, values.shape, content.nbytes)

    def read(self, slot: Slot) -> AnyArray:
        """A view of the file; its pages count as memory only for as long as the view is held."""
        return np.memmap(self._open(), slot.dtype, "r", slot.offset, slot.shape)

    def free(self, slot: Slot) -> None:
        """Let others have the place."""
        self._free[slot.nbytes].append(slot.offset)

    def fits(self, nbytes: int) -> bool:
        """Whether so much more may be written without filling the disk."""
        self._open()
        with storage_errors(self._folder):
            return nbytes < shutil.disk_usage(self._folder).free // DISK_SHARE

    @cached_property
    def seconds_per_byte(self) -> tuple[float, float]:
        """To write, and to read; measured once, on a tensor of 16 MiB."""
        began = time.perf_counter()
        slot = self.write(np.ones(PROBE_BYTES, np.uint8))
        written = time.perf_counter()
        int(self.read(slot).sum(dtype=np.int64))
        read = time.perf_counter()
        self.free(slot)
        return (written - began) / PROBE_BYTES, (read - written) / PROBE_BYTES

    def _open(self) -> BinaryIO:
        if self._file is None:
            with storage_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
            self._file = unnamed_file(self._folder)
        return self._file


def write_at(handle: int, content: AnyArray, offset: int) -> None:
    """All of it: one call writes 2 GiB at most."""
    rest = memoryview(content.reshape(-1).view(np.uint8).data)
    while rest:
        done = os.pwrite(handle, rest, offset)
        offset += done
        rest = rest[done:]
