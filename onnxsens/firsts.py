"""The first samples of a dense model: which ones are run, how long they take, and which outputs can be compared."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import IntArray
from onnxsens.data import Dataset, Split
from onnxsens.engine import ModelRunner
from onnxsens.engine.comparing import joined
from onnxsens.engine.runner import Outputs
from onnxsens.errors import ModelError
from onnxsens.model import Model


@dataclass(frozen=True)
class FirstRun:
    """Outputs batch by batch, and the seconds of all."""

    parts: Sequence[Outputs]
    seconds: float


def telling_samples(dataset: Dataset, split: Split, batch_size: int) -> IntArray:
    """A batch, with the samples that hold the smallest and the largest label, so that every label is checked."""
    first = split.search[:batch_size]
    labels = dataset.labels
    if labels is None or labels.ndim == 0 or labels.size == 0:
        return first
    rows = labels.reshape(len(labels), -1)
    extremes = np.array([rows.min(axis=1).argmin(), rows.max(axis=1).argmax()], dtype=np.int64)
    return np.concatenate([first, np.setdiff1d(extremes, first)])


def first_run(runner: ModelRunner, chosen: IntArray) -> FirstRun:
    """Run samples; what the first batch takes says whether batches are run side by side from then on.

    Raises:
        ModelError: the model cannot be loaded, or does not run.
    """
    started = time.perf_counter()
    parts = runner.fitting.fitted(lambda: timed_outputs(runner, chosen))
    return FirstRun(parts, time.perf_counter() - started)


def timed_outputs(runner: ModelRunner, chosen: IntArray) -> list[Outputs]:
    """Batch by batch."""
    batches = runner.run(runner.session({}), chosen)
    started = time.perf_counter()
    first = next(batches)
    lanes = runner.lanes_for(time.perf_counter() - started)
    found = [first, *batches]
    runner.run_side_by_side(min(lanes, runner.recipe.threads))
    return found


def comparable(parts: Sequence[Outputs], model: Model, say: Callable[[str], None]) -> Outputs:
    """Outputs that have samples, in the model's order; what is left out is told.

    Raises:
        ModelError: there is none.
    """
    found = joined(list(parts))
    order = [spec.name for spec in model.outputs if spec.name in found]
    varying = [name for name in parts[0] if name not in found and all(name in part for part in parts)]
    if varying:
        shapes = sorted({part[varying[0]].shape[1:] for part in parts})
        say(
            f"output '{varying[0]}' is left out: it is {list(shapes[0])} for some samples, {list(shapes[1])} for "
            "others, and metrics compare equal shapes"
        )
    if not order:
        raise ModelError(
            f"'{model.path.name}' has no output whose first axis is the batch; its samples cannot be compared"
        )
    return {name: found[name] for name in order}
