"""What glibc does with memory that is freed: kept for the runs that come next, handed back before something large is made.

By default it does neither well: blocks of 32 MiB and more, such as tensors of a batch, go back to the system after
every run, and taking them again page by page costs up to a fifth of the run (ResNet-18, ViT-tiny); all others it keeps
for ever, several times the weights after large sessions.
"""

import ctypes
import sys
from functools import cache
from typing import Any

# Parameters of `mallopt`, from malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
LARGEST = 2**30  # bytes of a block that is kept; glibc takes no more than half of one of its heaps
NEVER = 2**31 - 1


@cache
def keep_freed() -> None:
    """From now on keep what is freed, in one place for all threads, until `give_back`; only where there is glibc."""
    glibc = _glibc()
    if glibc is not None:
        for parameter, value in ((MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, NEVER), (ARENA_MAX, 1)):
            glibc.mallopt(parameter, value)


def give_back() -> None:
    """Give free pages to the system; nothing is done where the C library has no way to ask for that."""
    glibc = _glibc()
    if glibc is not None:
        glibc.malloc_trim(0)


@cache
def _glibc() -> Any:
    """The C library, where it is glibc."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") else None
