"""The one reader and the one writer of JSON: what two readers may understand differently is refused.

Knows nothing of what a document holds.
"""

import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

MOST_BYTES = 64 << 20
MOST_DEPTH = 100
MOST_DIGITS = 32  # of a whole number; a double has 17
LONGEST_SHOWN = 80

# An escape of a code unit that is a character only together with another one.
HALF = re.compile(r"\\u[dD][89a-fA-F]")
MOST_THINGS = 4_000_000  # values: each takes a hundred bytes and more once it is read
HALVES = re.compile("[\ud800-\udfff]")


class StrictJSONError(ValueError):
    """It is no JSON, or none that means one thing to everybody; `str()` is the reason, short and on one line."""


def read_json(
    content: bytes | str, *, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH, halves: bool = False
) -> Any:
    """The value of a document.

    Args:
        halves: allow halves of surrogate pairs, which paths that are not UTF-8 have.

    Raises:
        StrictJSONError: too large, nested too deep, not UTF-8, no JSON, a name twice in one object, NaN, a number that
            no double holds or of too many digits, or half of a surrogate pair.
    """
    if len(content) > most_bytes:
        raise StrictJSONError(f"it has {len(content):,} bytes, and at most {most_bytes:,} are read")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        refuse_many(text)
        value = json.loads(
            text,
            object_pairs_hook=without_repeats,
            parse_int=whole_number,
            parse_float=finite_number,
            parse_constant=refuse_constant,
        )
    except StrictJSONError:
        raise
    except UnicodeDecodeError as error:
        raise StrictJSONError(f"byte {error.start} is not UTF-8") from error
    except RecursionError as error:
        raise StrictJSONError(f"it is nested more than {most_depth} deep") from error
    except ValueError as error:
        raise StrictJSONError(" ".join(str(error).split())) from error
    refuse_deep(value, most_depth)
    if not halves and (HALF.search(text) or HALVES.search(text)):
        refuse_halves(value)
    return value


def read_json_object(
    content: bytes | str, *, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH
) -> dict[str, Any]:
    """The same, where it is an object.

    Raises:
        StrictJSONError: as above, or it is something else.
    """
    value = read_json(content, most_bytes=most_bytes, most_depth=most_depth)
    if not isinstance(value, dict):
        raise StrictJSONError("it is no object")
    return value


def read_json_file(path: Path, *, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH) -> dict[str, Any]:
    """The object that a file holds; of a file that is too large, no more than the limit is read.

    Raises:
        OSError: it cannot be read.
        StrictJSONError: as above.
    """
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise StrictJSONError(f"it is larger than {most_bytes / 2**20:.0f} MiB")
    return read_json_object(content, most_bytes=most_bytes, most_depth=most_depth)


def write_json(value: Any, *, indent: int | None = None) -> str:
    """The same text for the same content: sorted names, no NaN. What no UTF-8 can hold is written as an escape's text.

    Raises:
        ValueError: it holds NaN or an infinity.
        TypeError: it holds something that JSON does not have.
    """
    text = json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return HALVES.sub(lambda half: f"\\\\u{ord(half.group()):04x}", text)


def refuse_many(text: str) -> None:
    """Raises:
    StrictJSONError: it has more values than are ever meant.
    """
    things = text.count("[") + text.count("{") + text.count(",")
    if things > MOST_THINGS:
        raise StrictJSONError(f"it has some {things:,} values, and at most {MOST_THINGS:,} are read")


def refuse_deep(value: Any, most: int) -> None:
    """Raises:
    StrictJSONError: more than so many lists and objects lie in each other.
    """
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        parts = [one.values() if isinstance(one, dict) else one for one in level]
        level = [one for values in parts for one in values if isinstance(one, dict | list)]
    if level:
        raise StrictJSONError(f"it is nested more than {most} deep")


def refuse_halves(value: Any) -> None:
    """Raises:
    StrictJSONError: a text or a name has half of a surrogate pair, which nothing can print or write.
    """
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str) and HALVES.search(one):
            raise StrictJSONError("a text has half of a surrogate pair")
        if isinstance(one, dict):
            waiting += one.keys()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; json would take the last of two equal names without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise StrictJSONError(f"it has {twice[:LONGEST_SHOWN]!r} twice in one object")
    return found


def whole_number(digits: str) -> int:
    """Of a number without point and exponent."""
    if len(digits) > MOST_DIGITS:
        raise StrictJSONError(f"it has a number of {len(digits)} digits")
    return int(digits)


def finite_number(digits: str) -> float:
    """Of a number with point or exponent."""
    number = float(digits)
    if not math.isfinite(number):
        raise StrictJSONError(f"it has the number {digits[:LONGEST_SHOWN]}, which is out of range")
    return number


def refuse_constant(name: str) -> float:
    """NaN and infinities, which Python's json reads and JSON does not have."""
    raise StrictJSONError(f"it has {name}, which is no JSON")
