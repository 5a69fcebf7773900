"""What every evaluator does before and after running: values of changed weights, and metrics of two sets of outputs.

Runs nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.data import Dataset, Split
from onnxsens.engine.comparing import compare
from onnxsens.engine.questions import DENSE, Answer, Change, Measurement, Question, SplitName
from onnxsens.engine.runner import Outputs
from onnxsens.errors import MetricError, ModelError
from onnxsens.metrics import Batch, Metric, Reading
from onnxsens.model import Inventory, Model, dense_matrix, stored_values
from onnxsens.techniques import PreparedWeight, Technique, make_technique
from onnxsens.techniques.moments import Moments
from onnxsens.techniques.threads import threads_for

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
        moments: of the inputs of a weight, for techniques that need them.
        bases: stored tensors and values of a variant that was made before, by its name.
    """

    def __init__(
        self,
        model: Model,
        inventory: Inventory,
        kept_bytes: int = KEPT_BYTES,
        moments: Callable[[str], Moments | None] | None = None,
        bases: Callable[[str], Mapping[str, AnyArray]] | None = None,
    ) -> None:
        self._model = model
        self._moments = moments
        self._bases = bases
        self._inventory = inventory
        self._kept_bytes = kept_bytes
        self._prepared: OrderedDict[tuple[str, str], PreparedWeight] = OrderedDict()
        self._techniques: dict[str, Technique] = {}

    def values(self, changes: Iterable[Change], base: str = DENSE) -> dict[str, AnyArray]:
        """Stored tensor to its values, in the stored type and shape, where they are not the dense model's."""
        found = {} if base == DENSE else dict(self._base(base))
        return found | {change.weight: self._changed(change) for change in changes}

    def _base(self, name: str) -> Mapping[str, AnyArray]:
        if self._bases is None:
            raise ValueError(f"nobody knows the variant '{name}' here")
        return self._inventory.without_copies(self._bases(name))

    def zeroed(self, weight: str) -> AnyArray:
        """A weight of zeros, as its operator sees them."""
        record = self._inventory.weight(weight)
        return stored_values(self._model, record, np.zeros_like(dense_matrix(self._model, record)))

    def _changed(self, change: Change) -> AnyArray:
        record = self._inventory.weight(change.weight)
        technique = self._technique(change.technique)
        if record.size > KEPT_ELEMENTS and not technique.needs_moments:
            matrix = technique.once(dense_matrix(self._model, record), change.level)
        else:
            with threads_for(record.matrix_shape[1]):
                matrix = self._prepare(change.weight, change.technique).at(change.level)
        return stored_values(self._model, record, matrix)

    def _prepare(self, weight: str, technique: str) -> PreparedWeight:
        key = (weight, technique)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        matrix = dense_matrix(self._model, self._inventory.weight(weight))
        needed = self._bytes(*key)
        while self._prepared and sum(self._bytes(*each) for each in self._prepared) + needed > self._kept_bytes:
            self._prepared.popitem(last=False)
        made = self._technique(technique)
        moments = self._moments(weight) if self._moments and made.needs_moments else None
        if made.needs_moments and moments is None:
            raise ModelError(f"nothing is known of the inputs of '{weight}', which {technique} needs")
        with threads_for(matrix.shape[1]):
            self._prepared[key] = made.prepare(matrix, moments)
        return self._prepared[key]

    def _technique(self, name: str) -> Technique:
        if name not in self._techniques:
            self._techniques[name] = make_technique(name)
        return self._techniques[name]

    def _bytes(self, weight: str, technique: str) -> int:
        record = self._inventory.weight(weight)
        size = RANKED_BYTES + ELEMENT_BYTES * record.size
        # An update keeps a factor of the moments and where its sweep begins, in float64.
        return size + 8 * (record.matrix_shape[1] ** 2 + record.size) * self._technique(technique).needs_moments


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
