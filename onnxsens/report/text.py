"""Small pieces of text: numbers, and names from untrusted files made harmless."""

import re
import unicodedata
from collections.abc import Sequence

MAX_NAME = 200
MAX_MESSAGE = 2000
# Letters that show nothing: they would make two names look like one.
BLANK_LETTERS = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
QUOTED = re.compile(f"'[^']{{{MAX_NAME + 1},}}'")


def inert(text: str) -> str:
    """A name from a model on one terminal line: control and bidirectional characters shown as escapes, length capped.

    A name may hold an escape sequence that clears the screen, or a line break that fakes a message.
    """
    return capped(harmless(text[: MAX_NAME + 1]), MAX_NAME)


def harmless(text: str) -> str:
    """The same of a text of any length."""
    return "".join(character if is_harmless(character) else escape(character) for character in text)


def harmless_lines(text: str) -> str:
    """The same of a text of ours that has line breaks of its own."""
    return "\n".join(map(harmless, text.split("\n")))


def message(text: str) -> str:
    """What is said to the user, on one line: names in it capped one by one, so that what to do is still there."""
    short = QUOTED.sub(lambda found: f"'{inert(found.group()[1:-1])}'", text)
    return capped(harmless(short[: MAX_MESSAGE + 1]), MAX_MESSAGE)


def without_places(text: str, places: Sequence[str]) -> str:
    """A text without folders of this machine: what lies in one keeps its name."""
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(f"{place}/", "").replace(place, "...")
    return text


def capped(text: str, most: int) -> str:
    """At most so many characters, with dots where there were more."""
    return text if len(text) <= most else text[: most - 3] + "..."


def is_harmless(character: str) -> bool:
    """Whether a character only shows itself."""
    return not unicodedata.category(character).startswith(("C", "Zl", "Zp")) and character not in BLANK_LETTERS


def escape(character: str) -> str:
    """How a character is written in Python."""
    return character.encode("unicode_escape").decode("ascii")


def percent(share: float) -> str:
    """`50.8 %`."""
    return f"{share * 100:.1f} %"


def count(number: float) -> str:
    """`103,984`."""
    return f"{number:,.0f}"


def rounded(number: float) -> str:
    """A count in few digits: `847`, `12.3 k`, `4.72 M`."""
    value = float(number)
    for unit in ("", " k", " M", " G"):
        if value < 999.5:
            return f"{value:.0f}" if not unit else f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g} T"


def quality(value: float | None) -> str:
    """A metric's value, to four significant digits."""
    return "-" if value is None else f"{value:.4g}"


def size(number: int) -> str:
    """Bytes in the unit that leaves a short number."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def duration(seconds: float) -> str:
    """Rounded to what a reader needs."""
    if seconds < 1:
        return "under a second"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
