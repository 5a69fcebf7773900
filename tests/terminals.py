"""A command at a real terminal of a given size, and what is to be seen there in the end."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass

from commands import ROOT

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LEFT_OUT = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "LC_ALL", "PYTHONIOENCODING", "PYTHONUTF8")


@dataclass(frozen=True)
class Seen:
    """What came out.

    Attributes:
        raw: with all control sequences.
        lines: what is left on the screen, as far as a program that erases whole lines only goes.
    """

    code: int
    raw: str
    lines: list[str]


def at_terminal(columns: int, *arguments: object, **environment: str) -> Seen:
    """Run a command with all three streams at one terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxsens", *map(str, arguments)],
        stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=ROOT,
        env=plain | {"TERM": "xterm-256color"} | environment,
    )  # fmt: skip
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    raw = b"".join(pieces).decode("utf-8").replace("\r\n", "\n")
    return Seen(process.wait(timeout=600), raw, screen(raw))


def screen(raw: str) -> list[str]:
    """The lines at the end, where new lines, a line up, and the erasing of a line are all that moves."""
    lines, at, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\n|\r|[^\x1b\n\r]+", raw):
        if token in "\n\r":
            at, column = at + (token == "\n"), 0
            lines += [""] * (at + 1 - len(lines))
        elif token == "\x1b[2K":
            lines[at] = ""
        elif token.endswith("A") and token.startswith("\x1b["):
            at = max(at - int(token[2:-1] or 1), 0)
        elif not token.startswith("\x1b"):
            lines[at] = lines[at][:column].ljust(column) + token + lines[at][column + len(token) :]
            column += len(token)
    return lines
