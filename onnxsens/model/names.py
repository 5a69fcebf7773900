"""Names inside a model are untrusted text: any length, any character, or no text at all."""

import hashlib

LONGEST_PREFIX = 1000


def text(name: str | bytes) -> str:
    """A name as text. protobuf hands out bytes where a file's name is not UTF-8; those bytes are escaped."""
    return name if isinstance(name, str) else bytes(name).decode("utf-8", "backslashreplace")


def prefixing(name: str) -> str:
    """As the beginning of many names: a very long one would take its length in memory for each of them."""
    if len(name) <= LONGEST_PREFIX:
        return name
    return f"{name[:LONGEST_PREFIX]}...{hashlib.sha256(name.encode()).hexdigest()[:12]}/"


def shown(name: str | bytes) -> str:
    """For messages: on one line, without control characters, at most 200 characters."""
    whole = text(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:200]) + (
        "..." if len(whole) > 200 else ""
    )
