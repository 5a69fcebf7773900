"""A batch of samples as metrics see it: outputs of the pruned and of the dense model, labels, and what to read.

Knows nothing of ONNX, sessions or splits.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array, IntArray
from onnxsens.errors import MetricError
from onnxsens.metrics.reading import OutputKind, Reading

UNDECIDED = -1  # the class of scores that hold a NaN
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)  # 1.2e-38: 87.3 nats; float32 softmax underflows below it


@dataclass(frozen=True, eq=False)
class Batch:
    """Outputs of both models for the same samples, in the same order.

    Args:
        pruned: every output by name, `[n, ...]`.
        dense: the same of the dense model.
        labels: `[n, ...]`, or None where the data has none.
        reading: the output that is read, and how.
    """

    pruned: Mapping[str, AnyArray]
    dense: Mapping[str, AnyArray]
    labels: AnyArray | None
    reading: Reading

    def __len__(self) -> int:
        """The number of samples."""
        return len(self.pruned[self.reading.output])

    @property
    def targets(self) -> AnyArray:
        """The labels; MetricError where there are none."""
        if self.labels is None:
            raise MetricError("the metric needs labels, and the data has none; use a label-free metric")
        return self.labels

    @cached_property
    def pruned_output(self) -> Float64Array:
        """`[n, ...]`, the output that is read."""
        return self.pruned[self.reading.output].astype(np.float64)

    @cached_property
    def dense_output(self) -> Float64Array:
        """`[n, ...]`, the output that is read."""
        return self.dense[self.reading.output].astype(np.float64)

    @cached_property
    def pruned_scores(self) -> Float64Array:
        """`[n, ..., classes]`, as the model gave them."""
        return np.moveaxis(self.pruned_output, self.reading.class_axis, -1)

    @cached_property
    def dense_scores(self) -> Float64Array:
        """`[n, ..., classes]`, as the model gave them."""
        return np.moveaxis(self.dense_output, self.reading.class_axis, -1)

    @cached_property
    def pruned_log_probabilities(self) -> Float64Array:
        """`[n, ..., classes]` in nats, at most 0; see `log_probabilities`."""
        return log_probabilities(self.pruned_scores, self.reading.kind)

    @cached_property
    def dense_log_probabilities(self) -> Float64Array:
        """`[n, ..., classes]` in nats, at most 0; see `log_probabilities`."""
        return log_probabilities(self.dense_scores, self.reading.kind)

    @cached_property
    def pruned_classes(self) -> IntArray:
        """`[n, ...]`: the highest class, the lower index where scores are equal, `UNDECIDED` where one is NaN."""
        return highest_class(self.pruned_scores)

    @cached_property
    def dense_classes(self) -> IntArray:
        """`[n, ...]`: the highest class, the lower index where scores are equal, `UNDECIDED` where one is NaN."""
        return highest_class(self.dense_scores)


def log_probabilities(scores: Float64Array, kind: OutputKind) -> Float64Array:
    """Log-softmax over the last axis.

    Probabilities are first clipped to `SMALLEST_PROBABILITY` from below and turned into their logarithms, whose
    log-softmax makes them sum to 1 exactly: rounding in the model's softmax would else give negative divergences.
    """
    logits = np.log(np.maximum(scores, SMALLEST_PROBABILITY)) if kind == "probabilities" else scores
    with np.errstate(invalid="ignore"):  # inf - inf is the NaN it should be
        shifted = logits - logits.max(axis=-1, keepdims=True)
        normalised: Float64Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return normalised


def highest_class(scores: Float64Array) -> IntArray:
    """Index of the highest score on the last axis; `UNDECIDED` where there is a NaN."""
    best = scores.argmax(axis=-1)  # the first NaN, where there is one
    top = np.take_along_axis(scores, best[..., None], axis=-1)[..., 0]
    return np.where(np.isnan(top), UNDECIDED, best)


def same_class(left: AnyArray, right: AnyArray) -> Float64Array:
    """1.0 where equal, 0.0 where not, NaN where either is `UNDECIDED`."""
    return np.where((left == UNDECIDED) | (right == UNDECIDED), np.nan, left == right)


def by_sample(values: Float64Array) -> Float64Array:
    """`[n, ...]` flattened to `[n, positions]`."""
    return values.reshape(len(values), math.prod(values.shape[1:]))


def mean_by_sample(values: Float64Array) -> Float64Array:
    """`[n, ...]` to `[n]`: positions in between (of a sequence, of an image) are averaged."""
    averaged: Float64Array = by_sample(values).mean(axis=1)
    return averaged
