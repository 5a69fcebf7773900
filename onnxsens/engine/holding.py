"""Tensors of the dense model that are held for later: in memory up to a budget, beyond it in a file or not at all.

What is needed last goes first. Knows no model: tensors go by name and batch.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np

from onnxsens.engine.answering import BatchKey
from onnxsens.engine.places import Tensor
from onnxsens.engine.spill import Slot, Spill

NEVER = 2**31


class Holding:
    """A store that may forget.

    Args:
        budget: bytes of the memory where the tensors are.
        spill: where else arrays may go, when `spilling` is set.

    Attributes:
        spilling: whether what does not fit is written to the file.
        bytes_of: the most bytes that each tensor had for one batch.
    """

    def __init__(self, budget: int, spill: Spill | None) -> None:
        self.budget = budget
        self.spill = spill
        self.spilling = False
        self.bytes_of: dict[str, int] = {}
        self.held_bytes = 0
        self._held: dict[str, dict[BatchKey, Tensor | Slot]] = {}
        self._turn: Mapping[str, int] = {}

    def look_ahead(self, turn: Mapping[str, int], passed: Collection[str]) -> None:
        """Say in how many steps each tensor is needed next; one that is not named never is.

        Args:
            passed: tensors that are needed only when the walk begins again; not worth their place in the file.
        """
        self._turn = turn
        for name in passed:
            for batch in [batch for batch, value in self._held.get(name, {}).items() if isinstance(value, Slot)]:
                self._drop(name, batch)

    def has(self, name: str, batch: BatchKey) -> bool:
        """Whether it is here."""
        return batch in self._held.get(name, ())

    def get(self, name: str, batch: BatchKey) -> Tensor:
        """What `has` says is here."""
        found = self._held[name][batch]
        if isinstance(found, Slot):
            if self.spill is None:
                raise ValueError("a slot without a file")
            return self.spill.read(found)
        return found

    def note(self, name: str, nbytes: int) -> None:
        """How large a tensor is for a batch, whether or not it is held."""
        self.bytes_of[name] = max(self.bytes_of.get(name, 0), nbytes)

    @property
    def room(self) -> float:
        """Bytes that can be kept at most, if all else goes."""
        return math.inf if self.spilling else self.budget

    def wants(self, name: str, nbytes: int) -> bool:
        """Whether `put` is likely to keep a tensor of that size; may be asked by other threads."""
        turn = self._turn.get(name, NEVER)
        if turn == NEVER or nbytes > self.room:
            return False
        if self.spilling or self.held_bytes + nbytes <= self.budget:
            return True
        return any(self._turn.get(held, NEVER) > turn for held in list(self._held))

    def put(self, name: str, batch: BatchKey, values: Tensor) -> None:
        """Hold it, if it is needed again and fits, or if what is needed later can go."""
        self.note(name, values.nbytes)
        turn = self._turn.get(name, NEVER)
        if turn == NEVER or self.has(name, batch):
            return
        self._make_room(values.nbytes, turn)
        if self.held_bytes + values.nbytes <= self.budget:
            self._held.setdefault(name, {})[batch] = values
            self.held_bytes += values.nbytes
        elif self.spilling and self.spill is not None and isinstance(values, np.ndarray) and values.nbytes:
            self._held.setdefault(name, {})[batch] = self.spill.write(values)

    def forget(self, names: Collection[str], batches: Collection[BatchKey]) -> None:
        """Let go of these."""
        for name in names:
            for batch in batches:
                self._drop(name, batch)

    def clear(self) -> None:
        """Let go of everything."""
        for name, found in self._held.items():
            for batch in list(found):
                self._drop(name, batch)
        self.bytes_of.clear()

    def close(self) -> None:
        """Let go of everything, and of the file."""
        self.clear()
        if self.spill is not None:
            self.spill.close()

    def _make_room(self, nbytes: int, turn: int) -> None:
        """Drop what is needed later than in `turn` steps, the latest first, until there is room or no such thing."""
        if self.held_bytes + nbytes <= self.budget or nbytes > self.budget:
            return
        later = sorted((name for name in self._held if self._turn.get(name, NEVER) > turn), key=self._order)
        while later and self.held_bytes + nbytes > self.budget:
            name = later[-1]
            in_memory = [batch for batch, value in self._held[name].items() if not isinstance(value, Slot)]
            if in_memory:
                self._drop(name, in_memory[-1])
            else:
                later.pop()

    def _order(self, name: str) -> tuple[int, str]:
        return self._turn.get(name, NEVER), name

    def _drop(self, name: str, batch: BatchKey) -> None:
        found = self._held.get(name, {}).pop(batch, None)
        if isinstance(found, Slot):
            if self.spill is not None:
                self.spill.free(found)
        elif found is not None:
            self.held_bytes -= found.nbytes
