"""Who made a file: a process told apart from every other one, and whether it is no more.

A pid alone is used again, after a while or after a restart. A mark holds besides: the host, its boot, the pid's
namespace (of a container), and when the process began.
"""

import functools
import hashlib
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = re.compile(r"(\d+)-([0-9a-f]+)-([0-9a-f]+)-([0-9a-f]{8})-([0-9a-f]{8})")


@dataclass(frozen=True)
class Process:
    """One process of one machine.

    Attributes:
        started: in clock ticks since the boot; 0 where that is not known.
        space: of its pid; 0 where that is not known.
        boot, host: eight hexadecimal digits of a hash of either.
    """

    pid: int
    started: int
    space: int
    boot: str
    host: str

    @property
    def mark(self) -> str:
        """Fit for a file name."""
        return f"{self.pid}-{self.started:x}-{self.space:x}-{self.boot}-{self.host}"

    @classmethod
    def of_mark(cls, text: str) -> "Process | None":
        """The process of a mark; None where it is none."""
        found = MARK.fullmatch(text)
        if found is None:
            return None
        pid, started, space, boot, host = found.groups()
        return cls(int(pid), int(started, 16), int(space, 16), boot, host)

    def is_gone(self) -> bool:
        """Whether it is known to be no more; what runs on another host, or in another container, is not known."""
        own = this_process()
        if self.host != own.host:
            return False
        if self.boot != own.boot:
            return True
        if self.space != own.space or os.name == "nt":
            return False
        return not (is_there(self.pid) and self.started in {0, began(self.pid)})


def this_process() -> Process:
    """The one that asks."""
    return of_pid(os.getpid())


@functools.lru_cache(maxsize=4)
def of_pid(pid: int) -> Process:
    """A process of this host that lives."""
    try:
        space = (PROC / "self/ns/pid").stat().st_ino
    except OSError:
        space = 0
    return Process(pid, began(pid), space, eight(boot()), eight(host() + machine()))


def host() -> str:
    """The machine's name."""
    return socket.gethostname()


def machine() -> str:
    """What tells apart machines of one name, as far as they were given it."""
    try:
        return Path("/etc/machine-id").read_text("ascii", "replace").strip()
    except OSError:
        return ""


def boot() -> str:
    """What differs from boot to boot; empty where that cannot be told."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def began(pid: int) -> int:
    """When a process began, in clock ticks since the boot; 0 where that cannot be told, as of one that is no more."""
    try:
        fields = (PROC / str(pid) / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return 0


def is_there(pid: int) -> bool:
    """Whether there is a process with this pid, whoever it is; asked for on POSIX only: elsewhere it would end it."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def eight(text: str) -> str:
    """Eight hexadecimal digits that stand for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
