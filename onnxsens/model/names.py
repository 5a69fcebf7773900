"""Names inside a model are untrusted text: any length, any character, or no text at all."""


def text(name: str | bytes) -> str:
    """A name as text. protobuf hands out bytes where a file's name is not UTF-8; those bytes are escaped."""
    return name if isinstance(name, str) else bytes(name).decode("utf-8", "backslashreplace")


def shown(name: str | bytes) -> str:
    """For messages: on one line, without control characters, at most 200 characters."""
    whole = text(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in whole[:200]) + (
        "..." if len(whole) > 200 else ""
    )
