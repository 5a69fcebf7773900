"""What every evaluator does before and after running: values of changed weights, and metrics of two sets of outputs.

Runs nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.data import Dataset, Split
from onnxsens.engine.comparing import compare
from onnxsens.engine.questions import Answer, Change, Measurement, Question, SplitName
from onnxsens.engine.runner import Outputs
from onnxsens.errors import MetricError
from onnxsens.metrics import Batch, Metric, Reading
from onnxsens.model import Inventory, Model, dense_matrix, stored_values
from onnxsens.techniques import PreparedWeight, Technique, make_technique

# A split, and the samples `[start, stop)` in its order: what one run is fed.
BatchKey = tuple[SplitName, int, int]

# A weight of up to this many elements is ranked once for all its levels.
KEPT_ELEMENTS = 2**25
# Ranked weights are kept up to this size, if no other is given.
KEPT_BYTES = 2**29
# What a ranked weight takes: its matrix, its scores and their bins for each element, and how many are in which bin.
ELEMENT_BYTES = 12
RANKED_BYTES = 2**19


class Variants:
    """Weights as techniques leave them.

    Args:
        kept_bytes: of ranked weights that are kept; the last one is in any case.
    """

    def __init__(self, model: Model, inventory: Inventory, kept_bytes: int = KEPT_BYTES) -> None:
        self._model = model
        self._inventory = inventory
        self._kept_bytes = kept_bytes
        self._prepared: OrderedDict[tuple[str, str], PreparedWeight] = OrderedDict()
        self._techniques: dict[str, Technique] = {}

    def values(self, changes: Iterable[Change]) -> dict[str, AnyArray]:
        """Weight name to its values, in the stored type and shape."""
        return {change.weight: self._changed(change) for change in changes}

    def zeroed(self, weight: str) -> AnyArray:
        """A weight of zeros, as its operator sees them."""
        record = self._inventory.weight(weight)
        return stored_values(self._model, record, np.zeros_like(dense_matrix(self._model, record)))

    def _changed(self, change: Change) -> AnyArray:
        record = self._inventory.weight(change.weight)
        if record.size > KEPT_ELEMENTS:
            matrix = self._technique(change.technique).once(dense_matrix(self._model, record), change.level)
        else:
            matrix = self._prepare(change.weight, change.technique).at(change.level)
        return stored_values(self._model, record, matrix)

    def _prepare(self, weight: str, technique: str) -> PreparedWeight:
        key = (weight, technique)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        matrix = dense_matrix(self._model, self._inventory.weight(weight))
        needed = self._bytes(weight)
        while self._prepared and sum(self._bytes(name) for name, _ in self._prepared) + needed > self._kept_bytes:
            self._prepared.popitem(last=False)
        self._prepared[key] = self._technique(technique).prepare(matrix)
        return self._prepared[key]

    def _technique(self, name: str) -> Technique:
        if name not in self._techniques:
            self._techniques[name] = make_technique(name)
        return self._techniques[name]

    def _bytes(self, weight: str) -> int:
        return RANKED_BYTES + ELEMENT_BYTES * self._inventory.weight(weight).size


class Measures:
    """Metrics of a variant beside the dense model.

    Args:
        metrics: every metric a question may name.
        binary: those of them whose per-sample values are 0 or 1.
        reading: which output they read, and how.

    Attributes:
        read: the output that is looked at; None where a metric may look at any of them.
    """

    def __init__(
        self, dataset: Dataset, split: Split, metrics: Sequence[Metric], binary: Collection[str], reading: Reading
    ) -> None:
        self._dataset = dataset
        self._metrics = {metric.name: metric for metric in metrics}
        self._binary = frozenset(binary)
        self.indices: dict[SplitName, IntArray] = {"search": split.search, "holdout": split.holdout}
        self.reading = reading
        # A user's function may look at any output; the others look at one.
        self.read = None if any(metric.source_digest for metric in metrics) else reading.output

    def answer(self, question: Question, dense: Outputs, pruned: Outputs, started: float, engine: str) -> Answer:
        """All metrics of a question.

        Args:
            dense, pruned: outputs of the question's samples.
            started: when work on it began, by `time.perf_counter`.
        """
        labels = self._dataset.labels_at(self.indices[question.split][slice(*question.samples)])
        variant_batch = Batch(pruned=pruned, dense=dense, labels=labels, reading=self.reading)
        dense_batch = Batch(pruned=dense, dense=dense, labels=labels, reading=self.reading)
        measurements: dict[str, Measurement] = {}
        failures: dict[str, str] = {}
        for name in question.metrics:
            try:
                measurements[name] = compare(
                    self._metrics[name],
                    dense_batch,
                    variant_batch,
                    values=question.values,
                    binary=name in self._binary,
                )
            except MetricError as error:
                failures[name] = str(error)
        return Answer(measurements, failures, time.perf_counter() - started, engine)

    def of_interest(self, outputs: Outputs) -> Outputs:
        """What metrics may look at."""
        return outputs if self.read is None else {self.read: outputs[self.read]}


def failed(question: Question, why: str, started: float, engine: str) -> Answer:
    """The answer where the variant does not run."""
    return Answer({}, dict.fromkeys(question.metrics, why), time.perf_counter() - started, engine)


def batches(split: SplitName, start: int, stop: int, size: int) -> list[BatchKey]:
    """`[start, stop)` as it is run: from `start` on in steps of `size`, the last one shorter."""
    return [(split, first, min(first + size, stop)) for first in range(start, stop, size)]
