"""One process at a time in a run folder. The operating system frees the lock when its holder dies, however it dies."""

import os
from pathlib import Path
from typing import IO

from onnxsens.errors import StoreInUseError
from onnxsens.files import storage_errors

FILE = ".lock"


class FolderLock:
    """An exclusive lock on a folder, taken at once or not at all.

    Raises:
        StoreInUseError: another process holds it; the message names its pid.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        with storage_errors(self._path):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        self._file: IO[str] | None = os.fdopen(handle, "r+")
        try:
            take(self._file)
        except OSError as error:
            holder = self._file.read(20).strip()
            self._file.close()
            self._file = None
            raise StoreInUseError(
                f"run folder '{folder}' is in use{f' by process {holder}' if holder else ''}; "
                "wait for it to end, or choose another folder"
            ) from error
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let others in."""
        if self._file is not None:
            self._file.close()
            self._file = None


if os.name == "nt":
    import msvcrt

    def take(file: IO[str]) -> None:
        """Lock far behind the text, which others may then still read."""
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows only
        file.seek(0)

else:
    import fcntl

    def take(file: IO[str]) -> None:
        """Lock the whole file."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
