"""The dense model's outputs, kept, for variants to be compared with."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from onnxsens.arrays import IntArray
from onnxsens.engine.answering import BatchKey, Measures, batches
from onnxsens.engine.comparing import gather
from onnxsens.engine.questions import SplitName
from onnxsens.engine.routes import Trial
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.sessions import Session
from onnxsens.engine.shelf import WHOLE, Shelf
from onnxsens.metrics import Reading


class DenseOutputs(Protocol):
    """Has the outputs of the dense model."""

    def outputs(self, split: SplitName, start: int, stop: int) -> Outputs:
        """By name, `[stop - start, ...]`.

        Raises:
            ModelError: the model does not run, or its output is not one that can be compared.
            SmallerBatchError: it is to be asked again.
        """

    def rest(self) -> None:
        """Let go of them: batches are of another size from here on."""


class DenseByRange:
    """Made in a new session over just the samples that are asked for, as a variant's are.

    So a model that draws random numbers, or keeps statistics in its session, is compared alike whatever was asked
    before, and one whose samples depend on each other in the same batches.
    """

    def __init__(self, runner: ModelRunner, indices: Mapping[SplitName, IntArray], reading: Reading) -> None:
        self._runner = runner
        self._indices = indices
        self._reading = reading
        self._kept: dict[tuple[SplitName, int, int], Outputs] = {}

    def outputs(self, split: SplitName, start: int, stop: int) -> Outputs:
        """Kept for the next variant."""
        key = (split, start, stop)
        if key not in self._kept:
            made = list(self._runner.outputs({}, self._indices[split][start:stop]))
            self._kept[key] = gather(made, self._reading)
        return self._kept[key]

    def rest(self) -> None:
        """They are made anew in batches of the new size, as variants are."""
        self._kept.clear()


class DenseByBatch:
    """Made batch by batch, just as the question's variant is run; each batch once. Not for models that draw numbers."""

    def __init__(self, runner: ModelRunner, measures: Measures, shelf: Shelf) -> None:
        self._runner = runner
        self._measures = measures
        self._shelf = shelf
        self._kept: dict[BatchKey, Outputs] = {}
        self._opening: list[float] = []

    def outputs(self, split: SplitName, start: int, stop: int) -> Outputs:
        """Batches that were not run before are run now."""
        keys = batches(split, start, stop, self._runner.batch_size)
        self._make([key for key in keys if key not in self._kept])
        return gather([self._kept[key] for key in keys], self._measures.reading)

    def rest(self) -> None:
        """Batches of the old size are not asked for any more."""
        self._kept.clear()

    def batch(self, batch: BatchKey) -> Outputs:
        """Those of one batch that metrics may look at."""
        if batch not in self._kept:
            self._make([batch])
        return self._kept[batch]

    def _make(self, keys: Sequence[BatchKey]) -> None:
        if not keys:
            return
        session = self._session()

        def job(batch: BatchKey) -> Callable[[], Outputs]:
            split, start, stop = batch
            return self._runner.job(session, self._measures.indices[split][start:stop], self._measures.read)

        with closing(self._runner.lanes.results(map(job, keys))) as found:
            for batch, outputs in zip(keys, found, strict=True):
                self._kept[batch] = outputs

    @property
    def readable(self) -> tuple[str, ...]:
        """The model's outputs that come as arrays."""
        return tuple(self._session().readable)

    def _session(self) -> Session:
        return self._shelf.session((WHOLE, "dense"), self._runner.weight_bytes, self._open)

    def _open(self) -> Session:
        began = time.perf_counter()
        session = self._runner.session({})
        self._opening.append(time.perf_counter() - began)
        return session

    def trial(self, batch: BatchKey) -> Trial:
        """What a session of the whole model and a batch take, the batch alone, as all that it is compared with."""
        self.batch(batch)
        split, start, stop = batch
        run = self._runner.job(self._session(), self._measures.indices[split][start:stop], self._measures.read)
        began = time.perf_counter()
        run()
        return Trial(opening=min(self._opening), running=time.perf_counter() - began)
