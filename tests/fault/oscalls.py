"""Every call by which this process changes files of a folder: recorded in order, and any of them made to fail."""

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR
BY_PATH = ("open", "mkdir", "rmdir", "unlink", "chmod", "replace", "rename", "lstat")
BY_HANDLE = ("write", "fsync", "ftruncate", "close")


class Calls:
    """As a context: calls of `os` that change files below a folder, which go through here.

    Calls inside SQLite and onnxruntime do not.

    Args:
        fails: told the number of a call, from 0, and its name; the error number that it fails with, or None.

    Attributes:
        log: name of each call and the file, as `write plan.json`, names of temporary files as `*`.
    """

    def __init__(self, folder: Path, fails: Callable[[int, str], int | None] = lambda number, name: None) -> None:
        self._folder = Path(os.path.normpath(Path.cwd() / folder))
        self._fails = fails
        self._handles: dict[int, tuple[str, bool]] = {}  # file, and whether it is written
        self._before: dict[str, Any] = {}
        self.log: list[str] = []

    def __enter__(self) -> "Calls":
        for name in (*BY_PATH, *BY_HANDLE):
            self._before[name] = getattr(os, name)
            setattr(os, name, self._by_path(name) if name in BY_PATH else self._by_handle(name))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name, before in self._before.items():
            setattr(os, name, before)

    def _by_path(self, name: str) -> Callable[..., Any]:
        before = self._before[name]

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            place = self._place(path, named)
            if place is None or name == "lstat":
                return before(path, *arguments, **named)
            reads = name == "open" and not (arguments and arguments[0] & (WRITING | os.O_CREAT))
            if not reads:
                self._note(name, place)
            found = before(path, *arguments, **named)
            if name == "open":
                self._handles[found] = (place, not reads)
            return found

        return call

    def _by_handle(self, name: str) -> Callable[..., Any]:
        before = self._before[name]

        def call(handle: int, *arguments: Any, **named: Any) -> Any:
            place, written = self._handles.get(handle, (None, False))
            if name == "close":
                self._handles.pop(handle, None)
                before(handle)  # what fails to be closed is closed all the same
                if place is not None and written:
                    self._note(name, place)
                return None
            if place is not None:
                self._note(name, place)
            return before(handle, *arguments, **named)

        return call

    def _place(self, path: Any, named: dict[str, Any]) -> str | None:
        if not isinstance(path, str | os.PathLike) or named.get("dir_fd") is not None:
            return None  # as shutil.rmtree removes what is in a folder
        place = Path(os.path.normpath(Path.cwd() / path))
        if not place.is_relative_to(self._folder):
            return None
        parts = place.relative_to(self._folder).parts
        return "/".join("*" if "onnxsens-" in part else part for part in parts) or "."

    def _note(self, name: str, place: str) -> None:
        number = len(self.log)
        self.log.append(f"{name} {place}")
        code = self._fails(number, name)
        if code is not None:
            raise builtins.OSError(code, os.strerror(code))


def once(number: int, code: int) -> Callable[[int, str], int | None]:
    """The one call fails, and later ones do not."""
    return lambda at, name: code if at == number else None


def from_then_on(number: int, code: int = errno.ENOSPC) -> Callable[[int, str], int | None]:
    """Whatever needs room fails from a call on; removing does not."""
    return lambda at, name: code if at >= number and name not in {"unlink", "rmdir", "close"} else None
