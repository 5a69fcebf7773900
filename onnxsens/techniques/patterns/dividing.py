"""The reason why a weight does not divide into groups."""


def undivided(count: int, noun: str, size: int) -> str | None:
    """Why so many channels do not make whole groups of `size`; None where they do."""
    if count % size == 0:
        return None
    return f"its {count} {noun}s do not divide by {size}" if count != 1 else f"its 1 {noun} does not divide by {size}"
