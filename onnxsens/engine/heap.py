"""Memory that was freed, handed back to the system.

glibc keeps what is freed for whoever asks next; after large sessions that is several times their weights.
"""

import ctypes
import sys
from functools import cache
from typing import Any


def give_back() -> None:
    """Give free pages to the system; nothing is done where the C library has no way to ask for that."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`; None elsewhere."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
