"""Runs what is downstream of one weight: by which route, on which chunks of the samples, batch by batch."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.engine.answering import BatchKey
from onnxsens.engine.dense import DenseByBatch
from onnxsens.engine.frontier import Frontiers
from onnxsens.engine.parts import Parts
from onnxsens.engine.places import Place
from onnxsens.engine.questions import Route, Routes
from onnxsens.engine.routes import Trial, Way, choose, tried
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.sessions import Session
from onnxsens.engine.shelf import Shelf
from onnxsens.errors import ModelError

DENSE_VALUES = "dense"  # names the session of a part whose weight is as the file has it
MEGABYTE = 2**20


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
        self._needs: dict[tuple[str, Way], tuple[tuple[str, ...], int]] = {}

    def route(self, weight: str, batches: Sequence[BatchKey], levels: int) -> Route:
        """The kept one, or the one that is found by trying the first of these batches.

        Raises:
            ModelError: the dense model does not run on it.
        """
        known = self._routes.known(weight)
        if known is not None:
            return known
        whole = self._dense.trial(batches[0])
        trials: dict[Way, Trial] = {"input": self._tried(weight, "input", batches[0])}
        self._shelf.drop((weight, ("input", None)))  # the two together may be more than fits
        trials["rebuilt"] = self._tried(weight, "rebuilt", batches[0])
        self._shelf.drop((weight, ("rebuilt", DENSE_VALUES)))
        route = choose(trials, whole, len(batches), levels)
        self._routes.keep(weight, route)
        how = {"input": "what is downstream, the weight an input", "rebuilt": "what is downstream, made for each level"}
        chosen = how[route.weight] if route.engine == "suffix" else "the whole model"
        self._tell(f"'{weight}': {chosen} is run ({route.why})")
        return route

    def run(self, weight: str, way: Way, values: AnyArray, variant: Hashable, batch: BatchKey) -> Outputs:
        """The outputs downstream of a weight that has these values, `[n, ...]`.

        Args:
            variant: what the values are; a session that was made for them is used again.
        Raises:
            ModelError: it does not run.
            SmallerBatchError: batches are to be smaller.
        """
        _, start, stop = batch
        session = self._session(weight, way, values, variant)
        # The one place where a suffix is fed: frontier and weight, as they were handed out and as they are stored.
        feed = self._frontiers.fetch(weight, batch)
        inputs, _ = self._needs[weight, way]
        with self._runner.fitting.room(stop - start):
            if way == "input":
                name = self._runner.copy.names[weight]
                feed[name] = self._place.changing(name, values)
            given = {name: feed[name] for name in inputs if name in feed}
            made = self._place.read(session, session.readable, given)
        return self._runner.by_sample(made, stop - start)

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
        variant = None if way == "input" else DENSE_VALUES
        try:
            self._frontiers.fetch(weight, batch)
        except ModelError as error:
            return Trial(failure=f"what is before it does not run by itself: {error}")
        return tried(
            lambda: self._session(weight, way, dense, variant),
            lambda _: self.run(weight, way, dense, variant, batch),
            self._dense.batch(batch),
        )

    def _session(self, weight: str, way: Way, values: AnyArray, variant: Hashable) -> Session:
        if weight != self._at:
            self._shelf.sweep(self._at)
            self._needs = {key: needs for key, needs in self._needs.items() if key[0] == weight}
            self._at = weight
            self._place.rest()
        initializer = self._runner.copy.names[weight]
        spec = TensorSpec(initializer, values.dtype, values.shape) if way == "input" else None
        if (weight, way) not in self._needs:
            part = self._frontiers.suffix(weight, spec)
            self._needs[weight, way] = part.inputs, part.weight_bytes
        key = (weight, (way, None if way == "input" else variant))
        changes = {weight: values} if way == "rebuilt" else {}
        if not self._returning:
            self._shelf.drop_others(key)
        _, size = self._needs[weight, way]
        return self._shelf.session(
            key, size, lambda: self._parts.session(self._frontiers.suffix(weight, spec), changes)
        )


def same_bits(one: AnyArray, other: AnyArray) -> bool:
    """Whether two arrays of one type and shape hold the same bytes."""
    return np.array_equal(np.ravel(one).view(np.uint8), np.ravel(other).view(np.uint8))
