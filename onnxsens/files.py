"""The one place that writes files: temporary file, fsync, rename, so a crash leaves the old file or the new one.

Knows nothing of what is written.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from onnxsens.errors import StorageError

SMALLEST_HOLE = 1 << 16
HOLE_PROBE = 4099  # bytes that are looked at first, one in so many


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Put `chunks` at `path`, complete or not at all.

    Raises:
        StorageError: the folder is missing or read-only, the disk is full, or `path` is a folder or a link.
    """
    if path.is_symlink():
        raise StorageError(f"cannot write '{path}': it is a symbolic link; name a plain file")
    with storage_errors(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                write_all(file, chunks)
            Path(temporary).chmod(0o666 & ~current_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


def write_all(file: BinaryIO, chunks: Iterable[bytes]) -> None:
    """Write every chunk and wait until the disk has them. Long stretches of zeros become holes, which cost no disk."""
    for chunk in chunks:
        if len(chunk) >= SMALLEST_HOLE and not any(memoryview(chunk).cast("B")[::HOLE_PROBE]) and is_zero(chunk):
            file.seek(len(chunk), os.SEEK_CUR)
        else:
            file.write(chunk)
    file.truncate()
    file.flush()
    os.fsync(file.fileno())


def is_zero(chunk: bytes | memoryview) -> bool:
    """Whether all of its bytes are 0."""
    return bytes(chunk).count(0) == len(chunk)


def current_umask() -> int:
    """The process's umask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_directory(directory: Path) -> None:
    """Make a rename durable. Windows cannot open a folder, and needs no such call."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def prepare_directory(path: Path) -> None:
    """Create the folder and show that it can be written, before hours of work depend on it.

    Raises:
        StorageError: it cannot be created or written, or a file has its name.
    """
    if path.exists() and not path.is_dir():
        raise StorageError(f"output folder '{path}' is a file; name a folder")
    with storage_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            write_all(file, [b"writable"])


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` into one line about `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {error.strerror or error}; check space and permissions") from error


def claim(path: Path, *, force: bool) -> None:
    """Refuse a file that exists already, unless told otherwise.

    Raises:
        StorageError: it exists and `force` is off, or it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise StorageError(f"cannot write '{path}': it is a folder; name a file")
    if path.exists() and not force:
        raise StorageError(f"'{path}' exists; choose another name or give --force")
    if not path.parent.is_dir():
        raise StorageError(f"cannot write '{path}': the folder '{path.parent}' does not exist; create it first")


def chunks_of(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The bytes of a file, a piece at a time."""
    with path.open("rb") as file:
        while piece := file.read(size):
            yield piece


def sha256_of(path: Path) -> str:
    """Of a file's bytes, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    for piece in chunks_of(path):
        digest.update(piece)
    return digest.hexdigest()
