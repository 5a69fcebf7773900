"""Damage to the bytes of a small file, from a seed: the same bytes every time."""

from collections.abc import Iterator

import numpy as np


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three of: a bit flipped, a byte or four replaced, bytes cut out, doubled or put in, the end cut off."""
    made = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(made) + 1))
        span = int(rng.integers(1, 9))
        match rng.integers(7):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.integers(8)
            case 1:
                made[at : at + 1] = rng.bytes(1)
            case 2:
                made[at : at + 4] = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1])).to_bytes(4, "little")
            case 3:
                del made[at : at + span]
            case 4:
                made[at:at] = made[at : at + span]
            case 5:
                made[at:at] = rng.bytes(span)
            case _:
                del made[at:]
    return bytes(made)


def cases(content: bytes, seed: int, number: int) -> Iterator[bytes]:
    """The file cut off at places all over it, then so many with other damage."""
    rng = np.random.default_rng(seed)
    for length in range(0, len(content), max(1, len(content) // 50)):
        yield content[:length]
    for _ in range(number):
        yield damaged(content, rng)
