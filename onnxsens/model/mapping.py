"""Read a large file through a memory map that gives its pages back: what was read and let go costs no memory.

Knows nothing of ONNX.
"""

import hashlib
import mmap
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxsens.errors import ModelError

PIECE = 4 << 20


class MappedFile:
    """A regular file, the same one each time it is opened, whatever its path then leads to.

    Attributes:
        path: the real path, free of links.
        size: in bytes, when it was first opened.
        links: how many names the file has on its disk.
    """

    def __init__(self, path: Path) -> None:
        """Look at the file.

        Raises:
            OSError: it cannot be opened, or became a link since its path was resolved.
            ModelError: it is a folder, a pipe or a device.
        """
        self.path = path
        descriptor = opened(path)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        self.size = status.st_size
        self.links = status.st_nlink
        self.identity = identity_of(status)
        self._map: mmap.mmap | None = None

    def _open(self) -> int:
        """A descriptor of the same file."""
        try:
            descriptor = opened(self.path)
        except OSError as error:
            raise ModelError(
                f"'{self.path}' cannot be read any more: {error.strerror}; open the model again"
            ) from error
        status = os.fstat(descriptor)
        if identity_of(status) != self.identity:
            os.close(descriptor)
            raise ModelError(f"'{self.path}' changed since the model was opened; open the model again")
        return descriptor

    def refuse_changed(self) -> None:
        """Look at the file once more.

        Raises:
            ModelError: it is gone, another one, or was written to.
        """
        os.close(self._open())

    def map(self) -> mmap.mmap:
        """The whole file, read-only; not for an empty one.

        Raises:
            ModelError: it is another file now, or a shorter one: what is missing could not be read without a crash.
        """
        if self._map is None:
            descriptor = self._open()
            try:
                self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            finally:
                os.close(descriptor)
        if self._map.size() < self.size:
            raise ModelError(f"'{self.path}' became shorter since the model was opened; open the model again")
        return self._map

    def close(self) -> None:
        """Let go of the map and its descriptor; they live on while an array over them does."""
        self._map = None

    def view(self, offset: int, length: int) -> NDArray[np.uint8]:
        """These bytes of the file, read-only and not copied. Its memory is given back when the last view of it goes."""
        if length == 0:
            return np.empty(0, np.uint8)
        mapped = self.map()
        array = np.frombuffer(memoryview(mapped)[offset : offset + length], np.uint8)
        weakref.finalize(array, give_back, mapped, offset, length).atexit = False
        return array

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """The same bytes as copies of a few MB, one after the other."""
        for start in range(offset, offset + length, PIECE):
            size = min(PIECE, offset + length - start)
            mapped = self.map()
            yield mapped[start : start + size]
            give_back(mapped, start, size)

    def sha256(self) -> "hashlib._Hash":
        """The digest of all of the file."""
        with os.fdopen(self._open(), "rb") as file:
            return hashlib.file_digest(file, "sha256")


def opened(path: Path) -> int:
    """A descriptor of a regular file; a link at the path's end is not followed, and a pipe is not waited for.

    Raises:
        OSError: it cannot be opened.
        ModelError: it is not a regular file.
    """
    flags = ("O_NOFOLLOW", "O_CLOEXEC", "O_NONBLOCK", "O_BINARY")  # Windows has the last one only
    descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, flag, 0) for flag in flags))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ModelError(f"'{path}' is not a regular file; name the file itself")
    return descriptor


def identity_of(status: os.stat_result) -> tuple[int, ...]:
    """What stays the same while a file does: which one it is, its length, and when it was written last."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def give_back(mapped: mmap.mmap, offset: int, length: int) -> None:
    """Drop these pages from memory. Reading them again is safe: they come from the file."""
    if hasattr(mapped, "madvise"):
        start = offset - offset % mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, start, offset + length - start)
