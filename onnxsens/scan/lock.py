"""One process at a time in a run folder. The operating system frees the lock when its holder dies, however it dies.

The text in the file says who holds it, for the message to others. Only where a file system of the network may not know
of another host's lock is the text believed.
"""

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from onnxsens.errors import StorageError, StoreInUseError
from onnxsens.files import NO_LINK, current_umask, refuse_special, storage_errors
from onnxsens.processes import Process, host, this_process
from onnxsens.scan.volumes import is_remote
from onnxsens.strict_json import read_json

FILE = ".lock"
LONGEST = 2000
HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK}


class FolderLock:
    """An exclusive lock on a folder, taken at once or not at all.

    Raises:
        StoreInUseError: another process holds it; the message names it.
        StorageError: the folder cannot be written, or its file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._file: IO[str] | None = None
        refuse_special(self._path)
        with storage_errors(self._path):
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o666 & ~current_umask())
        file = os.fdopen(handle, "r+", encoding="ascii", errors="replace")
        try:
            try:
                take(file)
            except OSError as error:
                if error.errno not in HELD:
                    raise StorageError(
                        f"'{self._path}' cannot be locked: {error.strerror or error}; choose a folder of another disk"
                    ) from error
                raise in_use(folder, holder_in(file), "wait for it to end, or choose another folder") from error
            refuse_other_host(folder, holder_in(file))
            with storage_errors(self._path):
                note(file, description())
        except BaseException:
            file.close()
            raise
        self._file = file

    def release(self) -> None:
        """Let others in."""
        if self._file is not None:
            try:
                note(self._file, "")
            except OSError:
                pass  # a full disk; others see by the lock itself that it is free
            finally:
                self._file.close()
                self._file = None


def refuse_other_host(folder: Path, holder: dict[str, Any]) -> None:
    """Where the lock may not reach from host to host, whoever is named there is not assumed dead.

    Raises:
        StoreInUseError: one of another host is named.
    """
    maker = Process.of_mark(str(holder.get("process")))
    if maker is not None and maker.host != this_process().host and is_remote(folder):
        raise in_use(folder, holder, f"if it is no more, delete '{folder / FILE}'; else wait for it to end")


def description() -> str:
    """Who we are, since now."""
    own = this_process()
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return json.dumps({"pid": own.pid, "host": host(), "since": since, "process": own.mark})


def note(file: IO[str], text: str) -> None:
    """Put a text in the place of the one that is there."""
    file.seek(0)
    file.truncate(0)
    file.write(text)
    file.flush()


def holder_in(file: IO[str]) -> dict[str, Any]:
    """Who is said to hold the lock; nothing where nobody says."""
    try:
        file.seek(0)
        found = read_json(file.read(LONGEST))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def in_use(folder: Path, holder: dict[str, Any], advice: str) -> StoreInUseError:
    """What is said to whoever comes second."""
    words = {"pid": "by process", "host": "on host", "since": "since"}
    parts = [f" {word} {str(holder[key])[:64]!a}".replace("'", "") for key, word in words.items() if key in holder]
    who = "".join(parts) + (" (UTC)" if "since" in holder else "")
    return StoreInUseError(f"run folder '{folder}' is in use{who}; {advice}")


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
