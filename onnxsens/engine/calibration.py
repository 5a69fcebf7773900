"""One pass of the dense model over some samples, which gathers the second moments of every weight's inputs.

A tensor from inside the model is held for one batch only. Of many places some are sampled, the same ones however
weights are shared out over passes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine.grams import Gram, GramBuilder
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.errors import ModelError
from onnxsens.files import TemporaryFolder
from onnxsens.model.exposing import ExposingCopy, Place, write_exposing_copy
from onnxsens.model.features import Source
from onnxsens.model.input_rows import NoRowsError

ELEMENT = 4  # bytes, of nearly all tensors inside models
BATCH = 16  # samples of a run at most: all that is looked at in a pass is held at once


@dataclass(frozen=True)
class Sampling:
    """How much is looked at.

    Attributes:
        rows: for each weight and group at most, over all samples, spread evenly over them; of a tied weight, over all
            of its operators.
        memory: bytes for tensors of one batch and moments of the weights of one pass; a weight that needs more alone
            gets a pass of its own.
    """

    rows: int
    memory: int
    seed: int = 0

    def share(self, start: int, stop: int, samples: int, operators: int) -> int:
        """Rows that samples `[start, stop)` of `samples` give, for one of a weight's operators."""
        rows = max(self.rows // operators, 1)
        return rows * stop // samples - rows * start // samples


class _Gathering:
    """One weight on its way."""

    def __init__(self, name: str, number: int, sources: Sequence[Source], width: int) -> None:
        self.name = name
        self.refused = ""
        self.places: list[Place] = [(source.site, port) for source in sources for port in source.rows.ports]
        self._number = number
        self._sources = sources
        self._builder = GramBuilder(sources[0].rows.groups, width)

    def most_bytes(self, rows: int) -> int:
        """What its moments can come to."""
        whole = 2 * self._builder.width  # rows that take as much memory as their product, which then comes besides
        kept = rows if rows < whole else 2 * whole
        return self._builder.groups * self._builder.width * kept * ELEMENT

    def look(self, tensors: Mapping[Place, AnyArray], start: int, stop: int, samples: int, sampling: Sampling) -> None:
        """Take this batch's share of rows."""
        if self.refused:
            return
        share = sampling.share(start, stop, samples, len(self._sources))
        try:
            for number, source in enumerate(self._sources):
                rng = np.random.default_rng([sampling.seed, self._number, number, start])
                self._sample(source, tensors, share, rng)
        except NoRowsError as reason:
            self.refused = str(reason)

    def _sample(self, source: Source, tensors: Mapping[Place, AnyArray], share: int, rng: np.random.Generator) -> None:
        arrays = [tensors[source.site, port] for port in source.rows.ports]
        places = source.rows.places(arrays)
        chosen: IntArray = np.arange(places)
        if share < places:
            chosen = np.sort(rng.choice(places, share, replace=False, shuffle=False))
        rows = source.rows.take(arrays, chosen)
        if not np.isfinite(rows).all():
            raise NoRowsError("its input has values that are NaN or infinite")
        self._builder.add(rows, places)

    def made(self) -> Gram | str:
        """What was gathered, or why there is nothing."""
        if not self.refused and not self._builder.taken:
            self.refused = "its operator has no input on these samples"
        return self.refused or self._builder.made()


def calibrate(
    runner: ModelRunner,
    sources: Mapping[str, tuple[Source, ...] | str],
    indices: IntArray,
    sampling: Sampling,
) -> Iterator[tuple[str, Gram | str]]:
    """By weight: its Gram matrices, or why it goes without. All that go without from the beginning come first.

    Whoever takes them one at a time and keeps none never has more than those of one pass in memory.

    Args:
        indices: samples of the data set, at least one; where the model fixes its batch, what fills no batch is left
            out unless it is all.
    """
    if runner.dataset.rows:
        indices = indices[: len(indices) // runner.batch_size * runner.batch_size or len(indices)]
    waiting = []
    numbers = {weight.name: number for number, weight in enumerate(runner.inventory.weights)}
    for name, found in sources.items():
        if isinstance(found, str):
            yield name, found
        else:
            weight = runner.inventory.weight(name)
            waiting.append(_Gathering(name, numbers[name], found, weight.size // weight.layout.rows))
    with TemporaryFolder() as folder:
        try:
            sizes = tensor_bytes(runner, waiting, indices, folder / "shapes.onnx")
        except ModelError as error:
            yield from ((each.name, str(error)) for each in waiting)
            return
        for number, group in enumerate(passes(waiting, sizes, sampling)):
            try:
                gather(runner, group, indices, sampling, folder / f"pass{number}.onnx")
            except ModelError as error:
                for each in group:
                    each.refused = str(error)
            while group:  # what is handed out is not kept
                each = group.pop(0)
                yield each.name, each.made()


def run_size(runner: ModelRunner) -> int:
    """Samples of one run."""
    return runner.dataset.run_size or min(runner.batch_size, BATCH)


def passes(
    waiting: list[_Gathering], sizes: Mapping[Place, tuple[str, int]], sampling: Sampling
) -> Iterator[list[_Gathering]]:
    """Weights whose tensors and moments fit into memory together, in order; empties `waiting`."""
    while waiting:
        group: list[_Gathering] = []
        tensors: dict[str, int] = {}
        moments = 0
        while waiting:
            tensors |= dict(sizes[place] for place in waiting[0].places)
            moments += waiting[0].most_bytes(sampling.rows)
            if group and sum(tensors.values()) + moments > sampling.memory:
                break
            group.append(waiting.pop(0))
        yield group


def tensor_bytes(
    runner: ModelRunner, gatherings: Sequence[_Gathering], indices: IntArray, path: Path
) -> dict[Place, tuple[str, int]]:
    """Name and size of the tensor at each place, as large as one batch can make it; 0 for what is fed."""
    tensors = _Tensors(runner, gatherings, path, shapes=True)
    looked_at = runner.dataset.run_size or 1  # a whole batch would cost as much as gathering from it
    shapes = tensors.of(indices[:looked_at])
    scale = ELEMENT * run_size(runner) // looked_at
    sizes = {name: prod(shapes[output].tolist()) * scale for name, output in tensors.exposing.outputs.items()}
    return {place: (name, sizes.get(name, 0)) for place, name in tensors.exposing.names.items()}


def gather(runner: ModelRunner, group: Sequence[_Gathering], indices: IntArray, sampling: Sampling, path: Path) -> None:
    """One pass over the samples for the weights of one group."""
    tensors = _Tensors(runner, group, path)
    names = tensors.exposing.names
    for each in group:
        kinds = [tensors.unreadable[names[place]] for place in each.places if names[place] in tensors.unreadable]
        each.refused = f"its input is a {kinds[0]}, which cannot be read" if kinds else ""
    for start in range(0, len(indices), run_size(runner)):
        stop = min(start + run_size(runner), len(indices))
        values = tensors.of(indices[start:stop])
        for each in group:
            if not each.refused:
                each.look({place: values[names[place]] for place in each.places}, start, stop, len(indices), sampling)
        del values  # or two batches would be held while the next one runs


class _Tensors:
    """Tensors from inside a model, batch by batch.

    Attributes:
        unreadable: name to type.
    """

    def __init__(
        self, runner: ModelRunner, gatherings: Sequence[_Gathering], path: Path, *, shapes: bool = False
    ) -> None:
        places = dict.fromkeys(place for each in gatherings for place in each.places)
        fed = {spec.name for spec in runner.dataset.specs}
        self.exposing: ExposingCopy = write_exposing_copy(runner.copy, places, path, fed=fed, shapes=shapes)
        self._runner = runner
        self._session: Session | None = None
        if self.exposing.outputs:
            self._session = runner.opened(self.exposing.copy, {}, runner.provider, runner.recipe)
        self.unreadable = self._session.unreadable if self._session is not None else {}

    def of(self, batch: IntArray) -> dict[str, AnyArray]:
        """By name, what is fed included."""
        # Not the runner's, which keeps the batches of measurements.
        feed = self._runner.dataset.feed(batch)
        found = dict(feed)
        if self._session is not None and self._session.readable:
            names = self._session.readable
            found |= dict(zip(names, self._session.run(names, feed), strict=True))
        return found
