"""Captures frontiers: the tensors of the dense model that the part downstream of a weight has to be fed.

The nodes before the last weight are cut, once and for all, into segments at places where a weight is first read, and
every tensor is computed in its own segment, from what the segments before it give. So its bits do not depend on which
weight was asked for first, on how much memory there is, or on what had to be computed again.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property

import numpy as np

from onnxsens.arrays import IntArray, TensorSpec
from onnxsens.engine.answering import BatchKey
from onnxsens.engine.holding import Holding
from onnxsens.engine.parts import Parts
from onnxsens.engine.places import Place, Tensor
from onnxsens.engine.questions import SplitName
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.engine.shelf import SEGMENTS, Shelf
from onnxsens.model.crossing import Behind, crossing, stored_behind
from onnxsens.model.cutting import CutModel, Segment

# Each has a session with memory and threads of its own; of fewer, more is computed again where memory is small.
MOST_SEGMENTS = 8


class Frontiers:
    """Frontiers of every weight, batch by batch.

    Args:
        wanted: the outputs that suffixes are to compute.
        indices: by split, the samples in order.
        place: where they are kept and fed from.
    """

    def __init__(
        self,
        runner: ModelRunner,
        wanted: Iterable[str],
        indices: Mapping[SplitName, IntArray],
        shelf: Shelf,
        parts: Parts,
        holding: Holding,
        place: Place,
    ) -> None:
        self._runner = runner
        self._wiring = runner.wiring
        self._wanted = tuple(wanted)
        self._indices = indices
        self._shelf = shelf
        self._parts = parts
        self.holding = holding
        self._place = place
        self._seconds: dict[int, float] = {}
        self._reached: dict[str, tuple[str, ...]] = {}
        self._crossings: dict[str, tuple[str, ...]] = {}
        self._at = ""
        made = {name for name in self._wiring.varying if not self._wiring.is_input(name)}
        self.types, self._unreadable = parts.types(made)
        names = runner.copy.names
        frontiers = {weight: self._wiring.frontier(names[weight], self._wanted) for weight in names}
        # In the order in which a forward pass first reads them: what the next one needs is then mostly there.
        self.order = sorted(frontiers, key=lambda weight: (self._wiring.first_reader(names[weight]), weight))
        self._frontiers = frontiers

    def why_not(self, weight: str) -> str | None:
        """Why a frontier cannot be captured; None where it can."""
        for name in self._frontiers[weight]:
            if name in self._unreadable:
                return f"its input '{name}' is {self._unreadable[name]}, which no session hands out"
        return None

    def reached(self, weight: str) -> tuple[str, ...]:
        """The wanted outputs that depend on a weight."""
        if weight not in self._reached:
            changed = self._wiring.downstream(self._runner.copy.names[weight])
            self._reached[weight] = tuple(name for name in self._wanted if name in changed)
        return self._reached[weight]

    def names(self, weight: str) -> list[str]:
        """Tensors of a frontier that are no inputs of the graph."""
        return [name for name in self._frontiers[weight] if not self._wiring.is_input(name)]

    def fetch(self, weight: str, batch: BatchKey) -> dict[str, Tensor]:
        """A weight's frontier for one batch, whatever has to be run for it.

        Raises:
            ModelError: a segment does not run.
            SmallerBatchError: batches are to be smaller.
        """
        found, made = self.job(weight, batch)()
        self.keep(made, batch)
        return found

    def job(self, weight: str, batch: BatchKey) -> Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """What gives a weight's frontier, and beside it all that was made for that and is to be kept.

        What it needs is at hand; it may be called in another thread.
        """
        if weight != self._at:
            self._turn_to(weight)
        _, start, stop = batch
        numbers = self._missing(self.names(weight), batch)
        made_here = {name for number in numbers for name in self._segments[number].gives}
        wanted = {name for number in numbers for name in self._takes(number)}.union(self._frontiers[weight])
        sessions = [self._session(number) for number in numbers]
        with self._runner.fitting.room(stop - start):
            given = self._at_hand(sorted(wanted - made_here), batch)

        frontier = self._frontiers[weight]
        needed_later = [set(frontier).union(*map(self._takes, numbers[at + 1 :])) for at in range(len(numbers))]

        def run() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
            known, made = dict(given), dict(given)
            room = self.holding.room
            with self._runner.fitting.room(stop - start):
                for number, session, later in zip(numbers, sessions, needed_later, strict=True):
                    for name, values in self._run(number, session, known).items():
                        self.holding.note(name, values.nbytes)
                        if values.nbytes <= room and self.holding.wants(name, values.nbytes):
                            room -= values.nbytes
                            # Kept where it is, it would leave holes in the arena that runs take their memory from.
                            known[name] = made[name] = np.array(values) if isinstance(values, np.ndarray) else values
                        elif name in later:
                            known[name] = values
                    known = {name: values for name, values in known.items() if name in later}
            return {name: known[name] for name in frontier if name in known}, made

        return run

    def fed(self, batch: BatchKey) -> dict[str, Tensor]:
        """What the data set has for one batch."""
        found = self._at_hand([spec.name for spec in self._runner.dataset.specs], batch)
        self.keep(found, batch)
        return found

    def keep(self, found: Mapping[str, Tensor], batch: BatchKey) -> None:
        """Hold what is needed again, as far as there is room."""
        for name, values in found.items():
            if self._place.holds or not self._wiring.is_input(name):
                self.holding.put(name, batch, values)

    def _at_hand(self, names: Iterable[str], batch: BatchKey) -> dict[str, Tensor]:
        """Those that are held, or come from the data set, which may leave an optional input out."""
        found = {name: self.holding.get(name, batch) for name in names if self.holding.has(name, batch)}
        missing = [name for name in names if name not in found]
        if missing:
            split, start, stop = batch
            feed = self._runner.feed(self._indices[split][start:stop])
            found |= {name: self._place.take(feed[name]) for name in missing if name in feed}
        return found

    def _held(self, weight: str) -> list[str]:
        """Tensors of a frontier that are held; the data set's are only where that is another place than its own."""
        return list(self._frontiers[weight]) if self._place.holds else self.names(weight)

    def forget(self, weight: str, batches: Collection[BatchKey]) -> None:
        """Let go of a weight's frontier."""
        self.holding.forget(self._held(weight), batches)

    def _turn_to(self, weight: str) -> None:
        """Say which weight is at work, so that what is needed last goes first. The walk is taken to be a round one."""
        self._at = weight
        place = self.order.index(weight)
        steps = len(self.order)
        turns = {name: min((use - place) % steps for use in uses) for name, uses in self._uses.items()}
        self.holding.look_ahead(turns, {name for name, uses in self._uses.items() if uses[-1] < place})

    def seconds(self, weight: str) -> float:
        """To compute a weight's frontier for a batch from the graph's inputs; what was never run counts nothing."""
        return sum(self._seconds.get(number, 0.0) for number in self._closure(self.names(weight)))

    def nbytes(self, weight: str) -> int:
        """Of a weight's frontier for a batch, once it has been fetched."""
        return sum(self.holding.bytes_of.get(name, 0) for name in self._held(weight))

    @cached_property
    def _segments(self) -> tuple[Segment, ...]:
        usable = [weight for weight in self.order if self.why_not(weight) is None]
        targets = {name for weight in usable for name in self.names(weight)}
        readers = sorted({self._wiring.first_reader(self._runner.copy.names[weight]) for weight in usable})
        step = -(-len(readers) // MOST_SEGMENTS)
        return self._wiring.chain(readers[:: step or 1], targets, set(self._unreadable))

    @cached_property
    def _needs(self) -> list[tuple[tuple[str, ...], int]]:
        """Of each segment, what it is fed and the bytes of its weights."""
        parts = map(self._part, range(len(self._segments)))
        return [(part.inputs, part.weight_bytes) for part in parts]

    @cached_property
    def _made_in(self) -> dict[str, int]:
        return {name: number for number, segment in enumerate(self._segments) for name in segment.gives}

    @cached_property
    def _uses(self) -> dict[str, list[int]]:
        """For each tensor, the places in the order where it is needed: in a frontier, or to go on from."""
        uses: dict[str, list[int]] = {}
        seen: set[int] = set()
        for place, weight in enumerate(self.order):
            if self.why_not(weight) is not None:
                continue
            fresh = set(self._closure(self.names(weight))) - seen
            seen |= fresh
            taken = {name for number in fresh for name in self._segments[number].takes}
            for name in taken.union(self._held(weight)):
                uses.setdefault(name, []).append(place)
        return uses

    def _missing(self, names: Iterable[str], batch: BatchKey) -> list[int]:
        """The segments that have to run, in order, for these to be there."""
        return self._closure([name for name in names if not self.holding.has(name, batch)], batch)

    def _closure(self, names: Iterable[str], batch: BatchKey | None = None) -> list[int]:
        """The segments that make these and what they are made of, but for what is held of the batch."""
        found: set[int] = set()
        waiting = list(names)
        while waiting:
            number = self._made_in.get(waiting.pop())
            if number is None or number in found:
                continue
            found.add(number)
            for name in self._segments[number].takes:
                if batch is None or not self.holding.has(name, batch):
                    waiting.append(name)  # noqa: PERF401 - the list is walked as it grows
        return sorted(found)

    def _session(self, number: int) -> Session:
        _, size = self._needs[number]
        return self._shelf.session((SEGMENTS, number), size, lambda: self._parts.session(self._part(number), {}))

    def _takes(self, number: int) -> tuple[str, ...]:
        return self._needs[number][0]

    def _run(self, number: int, session: Session, known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a segment gives, for one batch."""
        inputs, _ = self._needs[number]
        given = {name: known[name] for name in inputs if name in known}
        began = time.perf_counter()
        values = self._place.capture(session, self._segments[number].gives, given)
        took = time.perf_counter() - began
        self._seconds[number] = min(took, self._seconds.get(number, took))
        return values

    def _part(self, number: int) -> CutModel:
        segment = self._segments[number]
        given = {name: self.types[name] for name in segment.takes if not self._wiring.is_input(name)}
        return self._wiring.cut(given, segment.gives)

    @cached_property
    def _behind(self) -> Behind:
        return stored_behind(self._wiring, list(self._runner.copy.names.values()))

    def crossing(self, weight: str) -> tuple[str, ...]:
        """What crosses from the head of a weight's suffix into the tail; nothing where it has no tail."""
        if weight not in self._crossings:
            initializer = self._runner.copy.names[weight]
            found = crossing(self._wiring, initializer, self._behind, self.reached(weight))
            self._crossings[weight] = () if self._unreadable.keys() & set(found) else found
        return self._crossings[weight]

    def head(self, weight: str) -> CutModel:
        """What is downstream of a weight up to where it crosses into the tail; all of it where there is none."""
        given = {name: self.types[name] for name in self.names(weight)}
        return self._wiring.cut(given, self.crossing(weight) or self.reached(weight))

    def tail(self, weight: str) -> CutModel:
        """The rest, which the weight is not in."""
        given = {name: self.types[name] for name in (*self.names(weight), *self.crossing(weight))}
        return self._wiring.cut(given, self.reached(weight))

    def suffix(self, weight: str, as_input: TensorSpec | None) -> CutModel:
        """The part downstream of a weight; the weight itself an input of it where that is asked for."""
        given = {name: self.types[name] for name in self.names(weight)}
        inputs = {as_input.name: as_input} if as_input else None
        return self._wiring.cut(given, self.reached(weight), inputs)
