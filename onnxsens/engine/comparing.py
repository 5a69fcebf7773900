"""Outputs of two models side by side: batches joined, bits compared, metrics taken of both.

Knows neither sessions nor how the outputs were made.
"""

from collections.abc import Sequence

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.engine.questions import Measurement
from onnxsens.engine.runner import Outputs
from onnxsens.errors import MetricError, ModelError
from onnxsens.metrics import Batch, Metric, PerSampleMetric, Reading, WholeSetMetric, drop

BOOTSTRAP_DRAWS = 1000
BOOTSTRAP_SEED = 20260101


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
