"""Sessions that were used lately, kept while they fit.

A session holds its weights once more, packed for its kernels, memory for what it computes, and a pool of threads; so
there may be neither too much of them nor too many, and none that nobody asks for any more.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeAlias

from onnxsens.engine.heap import give_back
from onnxsens.engine.sessions import Session

MOST_SESSIONS = 48
LARGE = 2**20  # bytes of weights, from which on a session gets the memory that others have left

# What a session belongs to: a weight by its name, or one of these, which no weight is called; and which one it is.
Key: TypeAlias = tuple[str, Hashable]
WHOLE = ""
SEGMENTS = "\0segments"


class Shelf:
    """Sessions by key; the one that was used least lately goes first.

    Args:
        room: bytes of weights that all sessions together may hold; the one in use may be larger.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._kept: OrderedDict[Key, tuple[Session, int]] = OrderedDict()
        self._used: set[Key] = set()

    def session(self, key: Key, size: int, make: Callable[[], Session]) -> Session:
        """The session of that key, made if it is not here; others go before that, where room is needed.

        Args:
            size: bytes of the weights that it holds.
        """
        self._used.add(key)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        while self._kept and (self._held() + size > self._room or len(self._kept) >= MOST_SESSIONS):
            self._kept.popitem(last=False)
        if size >= LARGE:
            give_back()  # what runs of other sessions left; runs of the same one would take it again
        self._kept[key] = made = make(), size
        if size >= LARGE:
            # Regions of the arena never grow together: what runs of others needed may be of no use for its own.
            made[0].tidy = True
        return made[0]

    def drop(self, key: Key) -> None:
        """Give one back, if it is here."""
        self._kept.pop(key, None)

    def drop_others(self, key: Key, kept: Key | None = None) -> None:
        """Give back what else belongs to the same owner, but for `kept`."""
        for other in [each for each in self._kept if each[0] == key[0] and each not in (key, kept)]:
            del self._kept[other]

    def drop_owner(self, owner: str) -> None:
        """Give back all that belongs to `owner`."""
        for key in [each for each in self._kept if each[0] == owner]:
            del self._kept[key]

    def sweep(self, owner: str) -> None:
        """Give back what was not used since the last time, and all that belongs to `owner`."""
        for key in list(self._kept):
            if key not in self._used or key[0] == owner:
                del self._kept[key]
        self._used.clear()

    def clear(self) -> None:
        """Give all back."""
        self._kept.clear()

    def _held(self) -> int:
        return sum(size for _, size in self._kept.values())
