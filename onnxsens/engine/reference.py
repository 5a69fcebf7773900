"""The reference evaluator: the whole model, one session a variant, every sample. Slow, and right.

A faster evaluator has to give the answers that this one gives.
"""

import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array, IntArray
from onnxsens.data import Split
from onnxsens.engine.executions import TooManyExecutionsError
from onnxsens.engine.questions import Answer, Change, Effect, Measurement, Question, SplitName
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.shapes import executed_weights
from onnxsens.errors import EngineBugError, MetricError, ModelError
from onnxsens.metrics import Batch, Metric, PerSampleMetric, Reading, WholeSetMetric, drop
from onnxsens.model import Inventory, dense_matrix, stored_values
from onnxsens.techniques import PreparedWeight, Technique, make_technique

# Ranked weights are kept up to this many elements, so that the levels of one weight share one sorting.
KEPT_ELEMENTS = 2**25
BOOTSTRAP_DRAWS = 1000
BOOTSTRAP_SEED = 20260101


class ReferenceEvaluator:
    """Answers by running the whole model anew for every question.

    Args:
        metrics: every metric a question may name.
        binary: those of them whose per-sample values are 0 or 1.
        reading: which output they read, and how.
    """

    name = "reference"

    def __init__(
        self,
        runner: ModelRunner,
        inventory: Inventory,
        split: Split,
        metrics: Sequence[Metric],
        binary: Collection[str],
        reading: Reading,
    ) -> None:
        self._runner = runner
        self._inventory = inventory
        self._indices: dict[SplitName, IntArray] = {"search": split.search, "holdout": split.holdout}
        self._metrics = {metric.name: metric for metric in metrics}
        self._binary = frozenset(binary)
        self._reading = reading
        self._dense: dict[SplitName, list[Outputs]] = {"search": [], "holdout": []}
        self._prepared: OrderedDict[tuple[str, str], PreparedWeight] = OrderedDict()
        self._techniques: dict[str, Technique] = {}
        self._executed: dict[int, set[str]] = {}
        # A user's function may look at any output; the others look at one.
        self._reads_all = any(metric.source_digest for metric in metrics)

    def close(self) -> None:
        """Give back the working copy."""
        self._runner.close()

    def answer(self, question: Question) -> Answer:
        """Run the variant over the samples and compare it with the dense model, batch by batch."""
        started = time.perf_counter()
        chosen = [self._metrics[name] for name in question.metrics]
        start, stop = question.samples
        try:
            dense = self._dense_outputs(question.split, start, stop)
            indices = self._indices[question.split][start:stop]
            if question.changes:
                variant = self._runner.outputs(self._weights(question.changes), indices)
            else:
                variant = self._runner.second_outputs(indices)
            pruned = gather(list(variant), self._reading)
        except ModelError as error:
            if not question.changes:
                raise  # the dense model itself does not run: nothing can be measured
            failures = dict.fromkeys(question.metrics, str(error))
            return Answer({}, failures, time.perf_counter() - started, self.name)
        labels = self._runner.dataset.labels_at(indices)
        variant_batch = Batch(pruned=pruned, dense=dense, labels=labels, reading=self._reading)
        dense_batch = Batch(pruned=dense, dense=dense, labels=labels, reading=self._reading)
        measurements: dict[str, Measurement] = {}
        failures = {}
        for metric in chosen:
            try:
                binary = metric.name in self._binary
                measurements[metric.name] = compare(
                    metric, dense_batch, variant_batch, values=question.values, binary=binary
                )
            except MetricError as error:
                failures[metric.name] = str(error)
        return Answer(measurements, failures, time.perf_counter() - started, self.name)

    def effect(self, weight: str, samples: int) -> Effect:
        """Zero the weight and look for a changed output; where there is none, see whether it took part at all."""
        model, record = self._runner.model, self._inventory.weight(weight)
        if record.zeros < record.size:
            zeros = {weight: stored_values(model, record, np.zeros_like(dense_matrix(model, record)))}
            if self._changes_what_is_read(zeros, samples):
                return "effective"
            if self._changes_any_output(weight, zeros, samples):
                return "other outputs"
        if samples not in self._executed:
            try:
                self._executed[samples] = executed_weights(self._runner, self._indices["search"][:samples])
            except TooManyExecutionsError:
                # What is known is that no output changes; which of the two reasons it has is not worth a run's end.
                self._executed[samples] = {each.name for each in self._inventory.weights}
        return "no effect" if weight in self._executed[samples] else "not executed"

    def _changes_what_is_read(self, zeros: Mapping[str, AnyArray], samples: int) -> bool:
        """In one batch, or in all."""
        for count in sorted({min(self._runner.batch_size, samples), samples}):
            dense = self._dense_outputs("search", 0, count)
            variant = gather(list(self._runner.outputs(zeros, self._indices["search"][:count])), self._reading)
            read = dense if self._reads_all else {self._reading.output: dense[self._reading.output]}
            if differ(read, variant):
                return True
        return False

    def _changes_any_output(self, weight: str, zeros: Mapping[str, AnyArray], samples: int) -> bool:
        """Outputs that no metric reads count too; if none changes, a saved model is asked."""
        indices = self._indices["search"][:samples]
        saved = self._runner.saved_outputs(zeros, indices)
        changed = self._runner.all_outputs(zeros, indices)
        others = False
        for dense, variant, by_file in zip(self._runner.all_outputs({}, indices), changed, saved, strict=True):
            others = others or differ(dense, variant)
            if not others and differ(dense, by_file):
                raise EngineBugError(
                    f"zeroing '{weight}' changes a freshly saved model and not the {self.name} engine; "
                    "please report this"
                )
        return others

    def _dense_outputs(self, split: SplitName, start: int, stop: int) -> Outputs:
        """Outputs of the dense model, kept; made in one session from the first sample on, as a variant's are.

        So a model that draws random numbers is compared alike whatever was asked before.
        """
        kept = self._dense[split]
        have = sum(len(part[self._reading.output]) for part in kept)
        if have < stop:
            kept[:] = [gather(list(self._runner.outputs({}, self._indices[split][:stop])), self._reading)]
        return {name: value[start:stop] for name, value in kept[0].items()}

    def _weights(self, changes: Sequence[Change]) -> dict[str, AnyArray]:
        return {change.weight: self._changed(change) for change in changes}

    def _changed(self, change: Change) -> AnyArray:
        model, record = self._runner.model, self._inventory.weight(change.weight)
        if record.size > KEPT_ELEMENTS:
            matrix = self._technique(change.technique).once(dense_matrix(model, record), change.level)
        else:
            matrix = self._prepare(change.weight, change.technique).at(change.level)
        return stored_values(model, record, matrix)

    def _prepare(self, weight: str, technique: str) -> PreparedWeight:
        key = (weight, technique)
        if key in self._prepared:
            self._prepared.move_to_end(key)
            return self._prepared[key]
        matrix = dense_matrix(self._runner.model, self._inventory.weight(weight))
        self._prepared[key] = self._technique(technique).prepare(matrix)
        while len(self._prepared) > 1 and self._kept_elements() > KEPT_ELEMENTS:
            self._prepared.popitem(last=False)
        return self._prepared[key]

    def _technique(self, name: str) -> Technique:
        if name not in self._techniques:
            self._techniques[name] = make_technique(name)
        return self._techniques[name]

    def _kept_elements(self) -> int:
        return sum(self._inventory.weight(name).size for name, _ in self._prepared)


def gather(parts: Sequence[Outputs], reading: Reading) -> Outputs:
    """Batches joined: outputs `[n, ...]`.

    Raises:
        ModelError: the output that the metrics read has no axis of samples, or is of one shape for some samples and of
            another for others.
    """
    if any(reading.output not in part for part in parts):
        raise ModelError(
            f"output '{reading.output}' has no batch axis: its first axis is not as long as the batch; "
            "choose another one with --output"
        )
    found = joined(parts)
    if reading.output not in found:
        shapes = sorted({part[reading.output].shape[1:] for part in parts})
        raise ModelError(
            f"output '{reading.output}' is {list(shapes[0])} for some samples and {list(shapes[1])} for others, and "
            "metrics compare equal shapes; choose another one with --output, or give samples of one shape"
        )
    return found


def joined(parts: Sequence[Outputs]) -> Outputs:
    """Batches side by side; outputs that not all have, or not in one shape, are left out."""
    names = set.intersection(*(set(part) for part in parts))
    alike = [name for name in sorted(names) if len({part[name].shape[1:] for part in parts}) == 1]
    return {name: np.concatenate([part[name] for part in parts]) for name in alike}


def differ(dense: Outputs, pruned: Outputs) -> bool:
    """Whether any output differs in any bit that counts, or in its shape; NaN equals NaN."""
    return any(
        name not in pruned or not np.array_equal(values, pruned[name], equal_nan=values.dtype.kind in "fc")
        for name, values in dense.items()
    )


def compare(metric: Metric, dense: Batch, pruned: Batch, *, values: bool, binary: bool) -> Measurement:
    """One metric of the pruned model beside the dense one's, on the same samples.

    Args:
        values: whether per-sample drops are kept.
        binary: whether the metric's values are 0 or 1; a divergence that happens to be 0 everywhere is not.

    Raises:
        MetricError: it failed, or gave a value that is not finite.
    """
    if isinstance(metric, WholeSetMetric):
        return compare_whole_set(metric, dense, pruned, values)
    if not isinstance(metric, PerSampleMetric):
        raise MetricError(f"metric '{metric.name}' gives neither a value per sample nor one of the whole set")
    before = finite(metric, metric.per_sample(dense), "dense")
    after = finite(metric, metric.per_sample(pruned), "pruned")
    drops = np.asarray(drop(metric, before, after), dtype=np.float64)
    return Measurement(
        len(drops),
        float(drops.sum()),
        float(np.square(drops).sum()),
        float(before.mean()),
        float(after.mean()),
        binary=binary and bool(np.isin(before, (0, 1)).all() and np.isin(after, (0, 1)).all()),
        drops=drops if values else None,
    )


def refuse_unusable(metric: PerSampleMetric | WholeSetMetric, dense: Batch) -> None:
    """Try a metric on the dense model against itself.

    Raises:
        MetricError: it fails there already, so nothing can be measured by it.
    """
    if isinstance(metric, WholeSetMetric):
        finite(metric, np.array([metric.value(metric.keep(dense))]), "dense")
    else:
        finite(metric, metric.per_sample(dense), "dense")


def compare_whole_set(metric: WholeSetMetric, dense: Batch, pruned: Batch, values: bool) -> Measurement:
    """A whole-set metric has no value per sample; its error comes from the paired bootstrap."""
    kept_dense, kept_pruned = metric.keep(dense), metric.keep(pruned)
    before = finite(metric, np.array([metric.value(kept_dense)]), "dense")[0]
    after = finite(metric, np.array([metric.value(kept_pruned)]), "pruned")[0]
    lost = float(drop(metric, before, after))
    samples = len(pruned)
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    draws = np.empty(BOOTSTRAP_DRAWS if values else BOOTSTRAP_DRAWS // 10)
    for position in range(draws.size):
        chosen = rng.integers(0, samples, samples)
        draws[position] = drop(
            metric,
            metric.value({name: kept[chosen] for name, kept in kept_dense.items()}),
            metric.value({name: kept[chosen] for name, kept in kept_pruned.items()}),
        )
    undefined = draws.size - int(np.isfinite(draws).sum())
    if undefined:
        raise MetricError(
            f"metric '{metric.name}' is NaN or infinite on {undefined} of {draws.size} resamples of the {samples} "
            "samples, so it has no error bar; give more samples, or make it defined for all"
        )
    error = float(draws.std())
    return Measurement(
        samples,
        lost * samples,
        error**2 * samples * (samples - 1) + lost**2 * samples,  # so that `standard_error` gives `error` back
        float(before),
        float(after),
        extendable=False,
        drops=draws if values else None,
    )


def finite(metric: Metric, values: Float64Array, which: str) -> Float64Array:
    """The values, or an error that counts the broken ones."""
    broken = values.size - int(np.isfinite(values).sum())
    if broken:
        raise MetricError(
            f"metric '{metric.name}' is NaN or infinite for {broken} of {values.size} values ({which} model)"
        )
    return values
