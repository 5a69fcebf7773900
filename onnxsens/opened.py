"""What is checked, and kept, of a model and its samples while they are open together."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from onnxsens.data import Dataset
from onnxsens.engine.comparing import compare
from onnxsens.engine.questions import Route
from onnxsens.errors import DataError, MetricError
from onnxsens.metrics import Batch, Metric
from onnxsens.model import Inventory, ReadLimits
from onnxsens.options import Guard
from onnxsens.scan import Store


class RunRoutes:
    """Routes in memory, or in a run's store as soon as there is one."""

    def __init__(self) -> None:
        self.store: Store | None = None
        self._made: dict[str, Route] = {}

    def known(self, weight: str) -> Route | None:
        """As chosen before, in this run or in this process."""
        return self.store.known(weight) if self.store else self._made.get(weight)

    def keep(self, weight: str, route: Route) -> None:
        """Chosen now."""
        if self.store:
            self.store.keep(weight, route)
        else:
            self._made[weight] = route


def refuse_fed_weights(dataset: Dataset, inventory: Inventory) -> None:
    """The data may replace an initializer that the model lists as an input, but not one that is to be pruned.

    Raises:
        DataError: it does.
    """
    weights = {weight.name for weight in inventory.weights}
    for spec in dataset.specs:
        if spec.name in weights:
            raise DataError(f"the data has an array for '{spec.name}', a weight that is to be pruned; leave it out")


def gives_zero_or_one(metric: Metric, batch: Batch) -> bool:
    """Whether a metric's per-sample values are 0 and 1 only; it is tried with the outputs of other samples.

    The dense model against itself would not tell: there every divergence is 0.
    """
    others = {name: np.roll(values, 1, axis=0) for name, values in batch.dense.items()}
    try:
        return compare(metric, batch, replace(batch, pruned=others), values=False, binary=True).binary
    except MetricError:
        return False


def absolute(data: str) -> str:
    """A spec of samples that also holds in another folder; code and random numbers are what they are."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def runtime_version() -> str:
    """Of whichever onnxruntime wheel is installed."""
    from onnxsens.engine.runtime import runtime

    return str(runtime().__version__)


def limits_of(guard: Guard) -> ReadLimits:
    """Of models that are read."""
    own = ReadLimits(strict_links=guard.strict_links)
    return own if guard.max_model_bytes is None else replace(own, max_model_bytes=guard.max_model_bytes)


def size_of(path: str | Path) -> int:
    """Of a file; 0 where there is none."""
    return Path(path).stat().st_size if Path(path).is_file() else 0
