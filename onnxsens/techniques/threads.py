"""How many threads linear algebra takes: one for small matrices, where waking others takes longer than it saves.

Two processes whose libraries wait for each other's threads cost a factor of four to twenty on two cores.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache

import scipy.linalg
from threadpoolctl import ThreadpoolController

LARGE = 1024  # columns from which a product or a factorisation keeps several threads busy


@lru_cache(maxsize=1)
def controller() -> ThreadpoolController:
    """Of the libraries that are loaded by now; looking for them takes milliseconds."""
    assert scipy.linalg  # has a library of its own, which has to be there by now
    return ThreadpoolController()


@contextmanager
def threads_for(columns: int) -> Iterator[None]:
    """Around work on matrices of so many columns."""
    with nullcontext() if columns >= LARGE else controller().limit(limits=1, user_api="blas"):
        yield
