"""The one place that writes files: temporary file, fsync, rename, so a crash leaves the old file or the new one.

Every call that writes is one system call, in the order in which it stands here. Names of temporary
files and folders say which process made them, so that a later one can tell what is left of one that died. Knows
nothing of what is written.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NoReturn, Self

from onnxsens.errors import StorageError
from onnxsens.processes import this_process

SMALLEST_HOLE = 1 << 16
HOLE_PROBE = 4099  # bytes that are looked at first, one in so many
BUFFER = 1 << 20
TEMPORARY = re.compile(r"\.?onnxsens-(?P<mark>[0-9a-f-]+)-[0-9a-f]{16}(?P<file>\.part)?")
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
EXACT = getattr(os, "O_BINARY", 0)


def write_atomically(path: Path, chunks: Iterable[bytes]) -> None:
    """Put `chunks` at `path`, complete or not at all, and on disk when this returns.

    Raises:
        StorageError: the folder is missing or read-only, the disk is full, or there is something at `path` that is not
            a plain file.
    """
    refuse_special(path)
    with storage_errors(path):
        temporary = path.parent / f".{temporary_name()}.part"
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK | EXACT, 0o600)
        try:
            try:
                write_all(handle, chunks)
                temporary.chmod(0o666 & ~current_umask())
                os.fsync(handle)
            finally:
                os.close(handle)
            refuse_special(path)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):  # what went wrong before is what is told
                temporary.unlink()
            raise
        sync_directory(path.parent)


def write_scratch(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Put `chunks` into a file of a temporary folder: for ourselves and for now, so nobody waits for the disk.

    Raises:
        StorageError: as `write_atomically` does.
    """
    with storage_errors(path):
        handle = opened_scratch(path)
        try:
            write_all(handle, chunks)
        finally:
            os.close(handle)


@contextlib.contextmanager
def scratch_file(path: Path) -> Iterator[BinaryIO]:
    """The same for those who write into an open file.

    Raises:
        StorageError: as `write_atomically` does.
    """
    with storage_errors(path), os.fdopen(opened_scratch(path), "wb") as file:
        yield file


def opened_scratch(path: Path) -> int:
    """A handle of a new or emptied file that only this user can read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK | EXACT, 0o600)


def rename_durably(source: Path, target: Path) -> None:
    """Give a complete file or folder its final name, on disk when this returns; a file there is replaced.

    Raises:
        StorageError: the folder cannot be written.
    """
    with storage_errors(target):
        for path in [*sorted(source.rglob("*")), source] if source.is_dir() else [source]:
            sync_directory(path) if path.is_dir() else sync_file(path)
        source.replace(target)
        sync_directory(target.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, so that it does not come back after a crash; nothing where there is none.

    Raises:
        StorageError: it cannot be removed.
    """
    with storage_errors(path), contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder of ours and what is in it; nothing where there is none.

    Raises:
        StorageError: it cannot be removed.
    """
    with storage_errors(path), contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def refuse_special(path: Path) -> None:
    """Only a plain file may be replaced.

    Raises:
        StorageError: there is a link, a folder, a pipe or a device.
    """
    with storage_errors(path):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
        kind = kinds.get(stat.S_IFMT(mode), "a device or socket")
        raise StorageError(f"cannot write '{path}': it is {kind}; name a plain file")


def write_all(handle: int, chunks: Iterable[bytes | memoryview]) -> None:
    """Write every chunk, the small ones together. Long stretches of zeros become holes, which cost no disk."""
    waiting = bytearray()
    end = 0
    for chunk in chunks:
        end += len(chunk)
        if len(chunk) >= SMALLEST_HOLE and not any(memoryview(chunk).cast("B")[::HOLE_PROBE]) and is_zero(chunk):
            write_whole(handle, waiting)
            waiting.clear()
            os.lseek(handle, len(chunk), os.SEEK_CUR)
        elif len(chunk) >= BUFFER:
            write_whole(handle, waiting)
            waiting.clear()
            write_whole(handle, chunk)
        else:
            waiting += chunk
            if len(waiting) >= BUFFER:
                write_whole(handle, waiting)
                waiting.clear()
    write_whole(handle, waiting)
    os.ftruncate(handle, end)


def write_whole(handle: int, content: bytes | bytearray | memoryview) -> None:
    """All of it, though one call may write less."""
    with memoryview(content) as view, view.cast("B") as rest:
        done = 0
        while done < len(rest):
            done += os.write(handle, rest[done:])


def is_zero(chunk: bytes | memoryview) -> bool:
    """Whether all of its bytes are 0."""
    return bytes(chunk).count(0) == len(chunk)


def current_umask() -> int:
    """The process's umask. Where no file tells it, it can only be read by setting it."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/status").read_text("ascii", "replace").split("\nUmask:", 1)[1].split()[0], 8)
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync_directory(directory: Path) -> None:
    """Make a rename durable. Windows cannot open a folder, and needs no such call; some file systems have none."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Wait until the disk has a file's bytes."""
    handle = os.open(path, os.O_RDWR | NO_LINK)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def temporary_name() -> str:
    """Says who made it, and occurs once."""
    return f"onnxsens-{this_process().mark}-{secrets.token_hex(8)}"


class TemporaryFolder:
    """A folder for files of one process, which nobody else can read; removed at the end. As a context, its path.

    A copy of whatever has one has the same one, which goes with the last of them.

    Args:
        inside: where it is made, hidden; in the system's place for temporary files without it.

    Raises:
        StorageError: it cannot be made.
    """

    def __init__(self, inside: Path | None = None) -> None:
        name = temporary_name()
        self.path = Path(tempfile.gettempdir()) / name if inside is None else inside / f".{name}"
        with storage_errors(self.path):
            self.path.mkdir(0o700)
        # Not by a fork of ours, which would take it away from us.
        self._removal = weakref.finalize(self, remove_in, self.path, os.getpid())

    def remove(self) -> None:
        """Remove it and what is in it."""
        self._removal()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"'{self.path}' is a temporary folder, which goes with this process, so what is in it cannot be pickled; "
            "name a folder to keep"
        )

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()


def unnamed_file(folder: Path | None = None) -> BinaryIO:
    """A file without a name, so that nothing is left of it whatever ends us.

    Raises:
        StorageError: it cannot be made.
    """
    with storage_errors(folder or Path(tempfile.gettempdir())):
        return tempfile.TemporaryFile(dir=folder)


def remove_in(folder: Path, pid: int) -> None:
    """Remove a folder, in the process that made it."""
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)


def prepare_directory(path: Path) -> None:
    """Create the folder and show that it can be written, before hours of work depend on it.

    Raises:
        StorageError: it cannot be created or written, or a file has its name.
    """
    with storage_errors(path):
        if path.exists() and not path.is_dir():
            raise StorageError(f"output folder '{path}' is a file; name a folder")
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            write_whole(file.fileno(), b"writable")
            os.fsync(file.fileno())


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
    with storage_errors(path):
        if path.is_dir():
            raise StorageError(f"cannot write '{path}': it is a folder; name a file")
        if path.exists() and not force:
            raise StorageError(f"'{path}' exists; choose another name or give --force")
        if not path.parent.is_dir():
            raise StorageError(f"cannot write '{path}': the folder '{path.parent}' does not exist; create it first")


def same_place(one: str | Path, other: str | Path) -> bool:
    """Whether two names are of one file, there or not. Names that lead nowhere are of none but themselves."""
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def linked_or_copied(source: Path, target: Path) -> None:
    """The same content under another name. Files of a run are replaced as a whole, never written into."""
    try:
        target.hardlink_to(source)
    except OSError:  # on another file system
        shutil.copyfile(source, target)


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
