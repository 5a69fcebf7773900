"""The file operations of a run's folder, as strace saw them, and the folders that a crash among them leaves.

What is written and not synced yet may be on the disk or not, each write for itself and in any order, as a file system
may have it. What is assumed of one: renames and removals happen as a whole, and to sync a new file is to keep its name.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

CALLS = (
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
    "ftruncate,truncate,mkdir,mkdirat,rmdir,lseek,link,linkat,symlink,symlinkat,fallocate,copy_file_range,sendfile"
)
LINE = re.compile(r"(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)(?:<|\s|$)", re.DOTALL)
BEGUN = re.compile(r"(\d+)\s+(.*) <unfinished \.\.\.>$", re.DOTALL)
RESUMED = re.compile(r"(\d+)\s+<\.\.\. \w+ resumed>(.*)$", re.DOTALL)
HANDLE = re.compile(r"(?:AT_FDCWD|(\d+))<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
SYNCED_BY_NAME = {"create", "mkdir", "rename", "unlink"}

Kind = Literal["create", "mkdir", "write", "truncate", "rename", "unlink", "sync", "sync folder"]


def recording(to: Path) -> list[str]:
    """The program that records, to put before a command."""
    return ["strace", "-f", "-y", "-xx", "-s", "100000000", "--seccomp-bpf", "-o", str(to), "-e", f"trace={CALLS}"]


def can_record() -> bool:
    """Whether the program is installed."""
    return shutil.which("strace") is not None


@dataclass(frozen=True)
class Operation:
    """One change of a folder, or a wait for the disk.

    Attributes:
        path: below the folder; empty is the folder itself.
        node: number of the file that it is about, which keeps it under another name.
        target: of a rename.
        offset: of a write; the length that a truncation leaves.
    """

    kind: Kind
    path: str
    node: int = -1
    target: str = ""
    offset: int = 0
    data: bytes = b""

    def is_kept_by(self, other: "Operation") -> bool:
        """Whether it is on the disk for certain when the other, later one returns."""
        if other.kind == "sync" and self.kind in {"create", "write", "truncate"}:
            return other.node == self.node
        if other.kind == "sync folder" and self.kind in SYNCED_BY_NAME:
            return other.path in {parent(self.path), parent(self.target or self.path)}
        return False


class Contents:
    """What a folder holds: names, and what is behind them."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.folders: set[str] = set()
        self.bytes: dict[int, bytearray] = {}

    def apply(self, operation: Operation) -> None:
        """Change it; nothing happens where what should be changed is not there."""
        match operation.kind:
            case "create":
                self.names.setdefault(operation.path, operation.node)
                self.bytes.setdefault(operation.node, bytearray())
            case "mkdir":
                self.folders.add(operation.path)
            case "write" if operation.node in self.bytes:
                content = self.bytes[operation.node]
                end = operation.offset + len(operation.data)
                content.extend(bytes(max(end - len(content), 0)))
                content[operation.offset : end] = operation.data
            case "truncate" if operation.node in self.bytes:
                content = self.bytes[operation.node]
                content.extend(bytes(max(operation.offset - len(content), 0)))
                del content[operation.offset :]
            case "rename" if operation.path in self.folders:
                self._rename_folder(operation.path, operation.target)
            case "rename" if operation.path in self.names:
                self.names[operation.target] = self.names.pop(operation.path)
            case "unlink":
                self.names.pop(operation.path, None)
                self.folders.discard(operation.path)
            case _:
                pass

    def _rename_folder(self, path: str, target: str) -> None:
        start = f"{path}/"
        moved = {name for name in {*self.names, *self.folders} if name == path or name.startswith(start)}
        for name in moved:
            new = target + name[len(path) :]
            if name in self.folders:
                self.folders.remove(name)
                self.folders.add(new)
            else:
                self.names[new] = self.names.pop(name)

    def files(self) -> Mapping[str, bytes]:
        """Every file that has a name, in a folder that is there."""
        return {
            name: bytes(self.bytes[node])
            for name, node in self.names.items()
            if not parent(name) or parent(name) in self.folders
        }

    def put(self, folder: Path) -> None:
        """Make a real folder of it, in the place of the one that is there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in sorted(self.folders):
            (folder / name).mkdir(parents=True)
        for name, content in self.files().items():
            (folder / name).write_bytes(content)


@dataclass(frozen=True)
class State:
    """What a crash may leave: the operations before it, without some that had not reached the disk.

    Attributes:
        stop: how many operations were begun.
        without: numbers of those that are lost.
        torn: bytes that there are of the last one; None is all.
    """

    stop: int
    kind: str
    without: frozenset[int] = frozenset()
    torn: int | None = None

    def contents(self, operations: Sequence[Operation]) -> Contents:
        """The folder."""
        made = Contents()
        for number, operation in enumerate(operations[: self.stop]):
            if number in self.without:
                continue
            if self.torn is not None and number == self.stop - 1:
                made.apply(replace(operation, data=operation.data[: self.torn]))
            else:
                made.apply(operation)
        return made


def states(operations: Sequence[Operation]) -> Iterator[State]:
    """All that are looked at: after each operation, as it was; the last write torn; and what was not synced lost.

    Of that: all of it, all but the last, all of each file, and each write by itself.
    """
    open_now: list[int] = []
    for stop in range(1, len(operations) + 1):
        last = operations[stop - 1]
        yield State(stop, "prefix")
        if last.kind == "write" and len(last.data) > 1:
            for torn in sorted({1, len(last.data) // 2, len(last.data) - 1}):
                yield State(stop, "torn", torn=torn)
        open_now = [number for number in open_now if not operations[number].is_kept_by(last)]
        if last.kind in {"sync", "sync folder"}:
            continue
        open_now.append(stop - 1)
        yield from (State(stop, f"lost {kind}", lost) for kind, lost in losses(operations, open_now))


def losses(operations: Sequence[Operation], numbers: Sequence[int]) -> Iterator[tuple[str, frozenset[int]]]:
    """Of operations that no sync has kept, those that may be lost together."""
    yield "all", frozenset(numbers)
    if len(numbers) > 1:
        yield "but the last", frozenset(numbers[:-1])
        for node in {operations[number].node for number in numbers}:
            yield "file", frozenset(number for number in numbers if operations[number].node == node)
        for number in numbers[:-1]:
            yield "one", frozenset([number])


def synced(operations: Sequence[Operation], stop: int, name: str) -> int:
    """How many operations there were when a file was synced for the last time among the first `stop`."""
    for number in range(stop, 0, -1):
        if operations[number - 1].kind == "sync" and operations[number - 1].path == name:
            return number
    return 0


def read_operations(log: Path, folder: Path) -> list[Operation]:
    """Those of a folder, from what `recording` has written.

    Raises:
        ValueError: there is one that is not understood.
    """
    reader = Reader(folder)
    for call, arguments, result in calls(log):
        if result >= 0:
            reader.read(call, arguments, result)
    return reader.operations


def calls(log: Path) -> Iterator[tuple[str, str, int]]:
    """Name, arguments and result of every call that returned, in order."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in map(str.rstrip, lines):
            if found := BEGUN.match(line):
                begun[found[1]] = found[2]
                continue
            again = RESUMED.match(line)
            whole = f"{again[1]} {begun.pop(again[1], '')}{again[2]}" if again else line
            if found := LINE.match(whole):
                yield found[2], found[3], int(found[4])


class Reader:
    """Makes operations of calls: knows where each handle stands, and which file is behind which name."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._positions: dict[tuple[str, str], int] = {}
        self._names = Contents()
        self._nodes = 0
        self.operations: list[Operation] = []

    def read(self, call: str, arguments: str, result: int) -> None:
        """One call."""
        handles = [(number, os.fsdecode(decoded(path)), gone) for number, path, gone in HANDLE.findall(arguments)]
        strings = [decoded(text) for text in QUOTED.findall(arguments)]
        if any(gone for _, _, gone in handles) or "O_TMPFILE" in arguments:
            return
        if call in {"open", "openat", "creat"}:
            self._open(self._below(handles, strings[0]), arguments, result)
        elif call in {"mkdir", "mkdirat"}:
            self._add("mkdir", self._below(handles, strings[0]))
        elif call in {"unlink", "unlinkat", "rmdir"}:
            self._add("unlink", self._below(handles, strings[0]))
        elif call in {"rename", "renameat", "renameat2"}:
            self._rename(self._below(handles[:1], strings[0]), self._below(handles[1:], strings[1]))
        elif call == "truncate":
            self._refuse(call, self._below([], strings[0]))
        elif handles:
            number, path, _ = handles[0]
            self._handle(call, number, self._inside(path), arguments, strings, result)

    def _handle(
        self, call: str, number: str, path: str | None, arguments: str, strings: list[bytes], result: int
    ) -> None:
        """A call on a file that is open."""
        if path is None:
            return
        place = (number, path)
        last = arguments.rsplit(", ", 1)[-1]
        if call == "write":
            at = self._positions.get(place, 0)
            self._add("write", path, offset=at, data=strings[0][:result])
            self._positions[place] = at + result
        elif call == "pwrite64":
            self._add("write", path, offset=int(last), data=strings[0][:result])
        elif call == "ftruncate":
            self._add("truncate", path, offset=int(last))
        elif call in {"fsync", "fdatasync"}:
            self._add("sync folder" if path == "" or path in self._names.folders else "sync", path)
        elif call == "lseek":
            self._positions[place] = result
        else:
            self._refuse(call, path)

    def _open(self, path: str | None, arguments: str, result: int) -> None:
        if path is None or "O_DIRECTORY" in arguments:
            return
        self._positions[str(result), path] = 0
        if "O_CREAT" in arguments and path not in self._names.names:
            self._nodes += 1
            self._add("create", path, node=self._nodes)
        elif "O_TRUNC" in arguments:
            self._add("truncate", path)

    def _rename(self, path: str | None, target: str | None) -> None:
        if path is None and target is None:
            return
        if path is None or target is None:
            raise ValueError(f"a rename into or out of the folder: {path or target}")
        self._add("rename", path, target=target)

    def _add(
        self, kind: Kind, path: str | None, *, node: int = -1, target: str = "", offset: int = 0, data: bytes = b""
    ) -> None:
        if path is None:
            return
        made = Operation(kind, path, node if node >= 0 else self._names.names.get(path, -1), target, offset, data)
        self._names.apply(made)
        if not (kind == "mkdir" and path == ""):
            self.operations.append(made)

    def _refuse(self, call: str, path: str | None) -> None:
        if path is not None:
            raise ValueError(f"'{call}' of '{path}' is not understood")

    def _below(self, handles: Sequence[tuple[str, str, str]], text: bytes) -> str | None:
        base = handles[0][1] if handles else "/"
        return self._inside(str(Path(base) / os.fsdecode(text)))

    def _inside(self, path: str) -> str | None:
        """Below the folder; None elsewhere."""
        if path == self._folder:
            return ""
        return path[len(self._folder) + 1 :] if path.startswith(f"{self._folder}/") else None


def decoded(text: str) -> bytes:
    """Bytes of what is written as `\\x2f\\x74`."""
    return bytes.fromhex(text.replace("\\x", ""))


def parent(path: str) -> str:
    """The folder that it is in; empty for the one that all is below."""
    return path.rpartition("/")[0]


def named(contents: Contents, names: Collection[str]) -> dict[str, bytes]:
    """Those of some files that are there."""
    return {name: content for name, content in contents.files().items() if name in names}
