"""Small pieces of text: numbers, and names from untrusted files made harmless."""

import unicodedata

MAX_NAME = 200


def inert(text: str) -> str:
    """A name from a model on one terminal line: control and bidirectional characters shown as escapes, length capped.

    A name may hold an escape sequence that clears the screen, or a line break that fakes a message.
    """
    shown = "".join(character if is_harmless(character) else escape(character) for character in text)
    return shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 3] + "..."


def is_harmless(character: str) -> bool:
    """Whether a character only shows itself."""
    return not unicodedata.category(character).startswith("C") and character not in "\u2028\u2029"


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
