"""Markdown whose texts are text: names from models stay names in GitHub's, CommonMark's and older dialects.

What could begin a link, an emphasis, code, a table cell or an element of HTML becomes an entity, which no dialect takes
for anything but the character. Not a backslash: in a table some readers see the bar first and some the backslash.
"""

import re
import shlex
from collections.abc import Sequence

from onnxsens.report.text import harmless, message

ALWAYS = set("\\`*[]<&|$~^{}@")
# An underscore between letters is no emphasis; at an end it may be. Some readers make links of bare addresses.
SOMETIMES = re.compile(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|:(?=/)|(?<=www)\.|#|=(?==)|-(?=-)|\+(?=\+)")


def literal(text: str) -> str:
    """One line that shows this text and nothing else."""
    shown = message(text)
    found = {match.start() for match in SOMETIMES.finditer(shown)}
    return "".join(
        f"&#{ord(sign)};" if sign in ALWAYS or number in found else sign for number, sign in enumerate(shown)
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Lines of a table, an empty one after it. Cells are made literal here.

    Args:
        right: columns of numbers.
    """
    rule = ["---:" if number in right else "---" for number in range(len(columns))]
    shown = [[literal(cell) for cell in row] for row in (columns, *rows)]
    return [f"| {' | '.join(row)} |" for row in (shown[0], rule, *shown[1:])] + [""]


def command(words: Sequence[str]) -> list[str]:
    """A command as a block of code, which is one line and so ends where it should."""
    text = harmless(shlex.join(words))
    fence = "`" * max(3, 1 + max((len(found) for found in re.findall("`+", text)), default=0))
    return [f"{fence}sh", text, fence, ""]
