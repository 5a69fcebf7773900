"""Runs what is downstream of one weight: by which route, on which chunks of the samples, batch by batch."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Literal, TypeAlias

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.engine.answering import BatchKey
from onnxsens.engine.dense import DenseByBatch
from onnxsens.engine.frontier import Frontiers
from onnxsens.engine.parts import Parts
from onnxsens.engine.places import Place, Tensor
from onnxsens.engine.questions import Route, Routes
from onnxsens.engine.routes import WAYS, Trial, Way, choose, tried
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.sessions import Session
from onnxsens.engine.shelf import Key, Shelf
from onnxsens.errors import ModelError
from onnxsens.model.cutting import CutModel

DENSE_VALUES = "dense"  # names the session of a part whose weight is as the file has it
MEGABYTE = 2**20

# What a session is of: the head of a suffix, its tail, or all of it in one of two ways.
Part: TypeAlias = Way | Literal["tail"]
ONCE = ("tail", "input")  # serve all levels
HOW: dict[Way, str] = {
    "split": "what is downstream, its head made for each level",
    "input": "what is downstream, the weight an input",
    "rebuilt": "what is downstream, made for each level",
}


class Downstream:
    """Suffixes of all weights.

    Args:
        place: where what is fed is kept.
        tell: told of each choice, in one line.
    """

    def __init__(
        self,
        runner: ModelRunner,
        frontiers: Frontiers,
        dense: DenseByBatch,
        shelf: Shelf,
        parts: Parts,
        place: Place,
        routes: Routes,
        tell: Callable[[str], None],
    ) -> None:
        self._runner = runner
        self._frontiers = frontiers
        self._dense = dense
        self._shelf = shelf
        self._parts = parts
        self._place = place
        self._routes = routes
        self._tell = tell
        self._at = ""
        self._returning = False  # whether each variant is come back to, in another portion of the samples
        self._needs: dict[tuple[str, Part], tuple[tuple[str, ...], int]] = {}

    def route(self, weight: str, batches: Sequence[BatchKey], levels: int) -> Route:
        """The kept one, or the one that is found by trying the first of these batches.

        Raises:
            ModelError: the dense model does not run on it.
        """
        known = self._routes.known(weight)
        if known is not None:
            return known
        whole = self._dense.trial(batches[0])
        rounds = -(-len(batches) // self._runner.lanes.count)
        trials: dict[Way, Trial] = {}
        for way in WAYS:
            if way == "rebuilt" and trials["split"].allowed:
                continue  # that is what a head without a tail is, and no faster than one with a tail
            trials[way] = self._tried(weight, way, batches[0])
            if way == "split" and trials[way].suffices(whole, rounds, levels):
                break
            self._shelf.drop_owner(weight)  # two of them together may be more than fits
        route = choose(trials, whole, rounds, levels)
        self._routes.keep(weight, route)
        chosen = HOW[route.weight] if route.engine == "suffix" else "the whole model"
        self._tell(f"'{weight}': {chosen} is run ({route.why})")
        return route

    def run(
        self, weight: str, way: Way, values: AnyArray, variant: Hashable, batches: Sequence[BatchKey]
    ) -> Iterator[Outputs]:
        """The outputs downstream of a weight that has these values, `[n, ...]`, batch by batch.

        Args:
            variant: what the values are; a session that was made for them is used again.
        Raises:
            ModelError: it does not run.
            SmallerBatchError: batches are to be smaller.
        """
        jobs = (self._job(weight, way, values, variant, batch) for batch in batches)
        with closing(self._runner.lanes.results(jobs)) as found:
            for batch, (outputs, made) in zip(batches, found, strict=True):
                self._frontiers.keep(made, batch)
                yield outputs

    def _job(
        self, weight: str, way: Way, values: AnyArray, variant: Hashable, batch: BatchKey
    ) -> Callable[[], tuple[Outputs, dict[str, Tensor]]]:
        """What does that for one batch, all that it needs at hand; and tensors that are to be kept."""
        _, start, stop = batch
        sessions = [(part, self._session(weight, part, values, variant)) for part in self._parts_of(weight, way)]
        frontier = self._frontiers.job(weight, batch)
        changed: dict[str, Tensor] = {}
        if way == "input":
            name = self._runner.copy.names[weight]
            with self._runner.fitting.room(stop - start):
                changed[name] = self._place.changing(name, values)

        def run() -> tuple[Outputs, dict[str, Tensor]]:
            found, made = frontier()
            # The one place where a suffix is fed: frontier and weight, as they were handed out and as they are stored.
            feed = found | changed
            with self._runner.fitting.room(stop - start):
                for part, session in sessions[:-1]:
                    feed |= self._place.capture(session, session.readable, self._given(weight, part, feed))
                part, session = sessions[-1]
                outputs = self._place.read(session, session.readable, self._given(weight, part, feed))
            return self._runner.by_sample(outputs, stop - start), made

        return run

    def _parts_of(self, weight: str, way: Way) -> tuple[Part, ...]:
        """What is run one after the other."""
        return ("split", "tail") if way == "split" and self._frontiers.crossing(weight) else (way,)

    def _given(self, weight: str, part: Part, feed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        inputs, _ = self._needs[weight, part]
        return {name: feed[name] for name in inputs if name in feed}

    def chunks(self, weight: str, batches: Sequence[BatchKey], levels: int) -> list[Sequence[BatchKey]]:
        """The batches in the portions in which they are run, so that a portion's frontier fits the budget.

        Where not all of them fit, either the rest goes to a file, or each portion's frontier is computed when it is its
        turn, run at all levels, and forgotten: whatever costs less by what was measured. A smaller cut, from which
        more is run at each level, costs more than the second at one level already.
        """
        holding = self._frontiers.holding
        holding.spilling = False
        self._frontiers.fetch(weight, batches[0])  # tells the size
        size = self._frontiers.nbytes(weight)
        over = size * len(batches) - holding.budget
        self._returning = False
        if over <= 0:
            return [batches]
        what = f"'{weight}': {size * len(batches) // MEGABYTE} MiB before it are more than the memory allowed"
        walking = self._frontiers.seconds(weight) * len(batches)
        if holding.spill is not None and holding.spill.fits(over):
            write, read = holding.spill.seconds_per_byte
            if over * (write + levels * read) < walking:
                holding.spilling = True
                self._tell(f"{what}; the rest is put on disk")
                return [batches]
        self._returning = True
        step = max(1, holding.budget // size)
        self._tell(f"{what}; samples are taken {step} batches at a time")
        return [batches[start : start + step] for start in range(0, len(batches), step)]

    def forget(self, weight: str, batches: Sequence[BatchKey]) -> None:
        """Let go of a weight's frontier."""
        self._frontiers.forget(weight, batches)

    def reached(self, weight: str) -> tuple[str, ...]:
        """The wanted outputs that depend on a weight."""
        return self._frontiers.reached(weight)

    def _tried(self, weight: str, way: Way, batch: BatchKey) -> Trial:
        dense = self._runner.model.array(weight)
        try:
            self._frontiers.fetch(weight, batch)
        except ModelError as error:
            return Trial(failure=f"what is before it does not run by itself: {error}")

        def opened(part: Part) -> Callable[[], Session]:
            return lambda: self._session(weight, part, dense, DENSE_VALUES)

        parts = self._parts_of(weight, way)
        return tried(
            lambda: next(self.run(weight, way, dense, DENSE_VALUES, [batch])),
            self._dense.batch(batch),
            once=opened(parts[-1]) if parts[-1] in ONCE else None,
            each=opened(parts[0]) if parts[0] not in ONCE else None,
        )

    def _session(self, weight: str, part: Part, values: AnyArray, variant: Hashable) -> Session:
        if weight != self._at:
            self._shelf.sweep(self._at)
            self._needs = {key: needs for key, needs in self._needs.items() if key[0] == weight}
            self._at = weight
            self._place.rest()
        if (weight, part) not in self._needs:
            cut = self._cut(weight, part, values)
            self._needs[weight, part] = cut.inputs, cut.weight_bytes
        key: Key = (weight, (part, None if part in ONCE else variant))
        if not self._returning and part not in ONCE:
            self._shelf.drop_others(key, (weight, ("tail", None)))
        _, size = self._needs[weight, part]
        changes = {} if part in ONCE else {weight: values}
        return self._shelf.session(key, size, lambda: self._parts.session(self._cut(weight, part, values), changes))

    def _cut(self, weight: str, part: Part, values: AnyArray) -> CutModel:
        if part == "split":
            return self._frontiers.head(weight)
        if part == "tail":
            return self._frontiers.tail(weight)
        name = self._runner.copy.names[weight]
        return self._frontiers.suffix(weight, TensorSpec(name, values.dtype, values.shape) if part == "input" else None)


def same_bits(one: AnyArray, other: AnyArray) -> bool:
    """Whether two arrays of one type and shape hold the same bytes."""
    return np.array_equal(np.ravel(one).view(np.uint8), np.ravel(other).view(np.uint8))
