"""Two runs of a model side by side, from weight to weight: the dense model, and the model as it is pruned so far.

Between two weights only the nodes between them are run. What later nodes still read is held, for every sample of both
runs, up to a memory budget, then in a file. So all weights together cost little more than two runs of the model.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxsens.arrays import AnyArray, IntArray, TensorSpec
from onnxsens.engine.parts import Parts
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.engine.spill import Slot, Spill
from onnxsens.errors import ModelError

Tensors = dict[str, AnyArray]


class Held:
    """Tensors of one run, by batch and name; beyond a budget, which several share, they go to a file."""

    def __init__(self, budget: "Budget") -> None:
        self._budget = budget
        self._kept: dict[tuple[int, str], AnyArray | Slot] = {}

    def put(self, batch: int, name: str, values: AnyArray) -> None:
        """From now on it is there."""
        self._kept[batch, name] = self._budget.taken(values)

    def get(self, batch: int, name: str) -> AnyArray:
        """As it was put."""
        found = self._kept[batch, name]
        return self._budget.read(found)

    def forget(self, names: Collection[str]) -> None:
        """Of all batches."""
        for key in [key for key in self._kept if key[1] in names]:
            self._budget.give_back(self._kept.pop(key))


@dataclass(eq=False)
class Budget:
    """Bytes of tensors that may be in memory; without a file, all of them are."""

    nbytes: int
    spill: Spill | None
    used: int = 0

    def taken(self, values: AnyArray) -> AnyArray | Slot:
        """Where it is held."""
        if self.spill is not None and values.size and self.used + values.nbytes > self.nbytes:
            return self.spill.write(values)
        self.used += values.nbytes
        return values

    def read(self, held: AnyArray | Slot) -> AnyArray:
        """The tensor."""
        if isinstance(held, Slot):
            assert self.spill is not None
            return self.spill.read(held)
        return held

    def give_back(self, held: AnyArray | Slot) -> None:
        """Others may have the place."""
        if isinstance(held, Slot):
            assert self.spill is not None
            self.spill.free(held)
        else:
            self.used -= held.nbytes


@dataclass(eq=False)
class Side:
    """One of the two runs.

    Attributes:
        values: what stored tensors have there in place of the file's values, by their names in the file.
    """

    held: Held
    values: dict[str, AnyArray] = field(default_factory=dict)


class Walk:
    """Stops before each weight, in an order in which no weight comes after one that reads its output.

    Args:
        batches: indices of the samples of each run.
        undecided: initializers in the working copy whose weights are not settled yet.
        later: tensors that will be asked for before the last stop.

    Raises:
        ModelError: from any method, where a part of the model does not run by itself.
    """

    def __init__(
        self,
        runner: ModelRunner,
        batches: Sequence[IntArray],
        undecided: Collection[str],
        later: Collection[str],
        budget: Budget,
    ) -> None:
        self._runner = runner
        self._wiring = runner.wiring
        self._parts = Parts(runner)
        self._batches = batches
        self._undecided = set(undecided)
        self._needed = self._wiring.leading_to(later)
        self._ran: set[int] = set()
        self._types: dict[str, TensorSpec] = {}
        self.dense = Side(Held(budget))
        self.pruned = Side(Held(budget))
        self._parted = False
        self._stored = {initializer: name for name, initializer in runner.copy.names.items()}

    @property
    def parted(self) -> bool:
        """Whether the two runs differ by now."""
        return self._parted

    def settle(self, initializer: str, changed: Mapping[str, AnyArray]) -> None:
        """A weight has the values that it keeps: its own, or these, with those of its bias."""
        self._undecided.discard(initializer)
        self.pruned.values |= changed

    def reaches(self, names: Collection[str]) -> bool:
        """Whether tensors depend on samples and on no undecided weight."""
        if not all(self._wiring.is_input(name) or self._varies(name) for name in names):
            return False
        open_nodes = self._wiring.reached_by(frozenset(self._undecided))
        return not any(self._wiring.made_at(name) in open_nodes for name in names)

    def _varies(self, name: str) -> bool:
        number = self._wiring.made_at(name)
        return number >= 0 and self._wiring.varies(number)

    def go_to(self, names: Collection[str]) -> None:
        """Run both as far as these tensors need, which depend on no undecided weight."""
        have = set(self._types)
        missing = [name for name in names if name not in have and not self._wiring.is_input(name)]
        run = {number for number in self._wiring.leading_to(missing, have) if self._wiring.varies(number)}
        done = self._ran | run
        ahead = [number for number in self._needed - done if self._wiring.varies(number)]
        read = {name for number in ahead for name in self._wiring.reads[number]} | set(names)
        made = {name for number in run for name in self._wiring.nodes[number].output if name}
        wanted = sorted(made & read)
        if wanted:
            self._run(wanted)
        self._ran = done
        gone = [name for name in self._types if name not in read]
        for side in self._sides:
            side.held.forget(gone)
        for name in gone:
            del self._types[name]

    def tensors(self, names: Sequence[str]) -> Iterator[tuple[IntArray, list[AnyArray], list[AnyArray] | None]]:
        """By batch: its samples, the tensors as pruned so far, and in the dense model where they differ."""
        for number, batch in enumerate(self._batches):
            feed = self._runner.feed(batch)

            def of(side: Side, number: int = number, feed: Mapping[str, AnyArray] = feed) -> list[AnyArray]:
                return [feed[name] if name in feed else side.held.get(number, name) for name in names]

            yield batch, of(self.pruned), of(self.dense) if self._parted else None

    @property
    def _sides(self) -> tuple[Side, ...]:
        return (self.dense, self.pruned) if self._parted else (self.pruned,)

    def _run(self, wanted: Sequence[str]) -> None:
        """One part of the model, over all samples of both runs."""
        cut = self._wiring.cut(self._types, wanted)
        inside = {self._stored[name] for name in cut.initializers if name in self._stored}
        changed = {name: values for name, values in self.pruned.values.items() if name in inside}
        if changed and not self._parted:
            self._part()
        types: dict[str, TensorSpec] = {}
        for side in self._sides:
            session = self._parts.session(cut, changed if side is self.pruned else {})
            if session.unreadable:
                name, kind = next(iter(session.unreadable.items()))
                raise ModelError(f"tensor '{name}' is a {kind}, which cannot be taken from one run to the next")
            types |= {name: TensorSpec(name, dtype, None) for name, dtype in session.dtypes.items()}
            jobs = (self._job(session, cut.inputs, side, number) for number in range(len(self._batches)))
            for number, found in enumerate(self._runner.lanes.results(jobs)):
                for name, values in found.items():
                    side.held.put(number, name, values)
        self._types |= types

    def _part(self) -> None:
        """From here on the two runs differ; up to here they hold the same arrays."""
        self._parted = True
        for name in self._types:
            for number in range(len(self._batches)):
                self.dense.held.put(number, name, np.asarray(self.pruned.held.get(number, name)))

    def _job(self, session: Session, inputs: Sequence[str], side: Side, number: int) -> Callable[[], Tensors]:
        feed = self._runner.feed(self._batches[number])
        given = {name: feed[name] if name in feed else side.held.get(number, name) for name in inputs}
        samples = len(self._batches[number])

        def run() -> Tensors:
            with self._runner.fitting.room(samples):
                return dict(zip(session.readable, session.run(session.readable, given), strict=True))

        return run
