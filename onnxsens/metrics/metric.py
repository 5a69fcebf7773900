"""What a metric is: it declares what it needs, and turns a batch into one value a sample, or a set into one value.

A drop can be paired and carries an error bar where there is one value a sample; a metric of the whole set keeps
what it needs of every sample, so that the set can be put together in parts and resampled. Knows nothing of ONNX,
sessions or splits.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array
from onnxsens.metrics import checks
from onnxsens.metrics.batch import Batch

Value = TypeVar("Value", float, Float64Array)


class Metric(ABC):
    """What every metric declares. A class attribute is enough: `unit = "nats"`."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The spec that makes it, such as `top5` or `quality.py:iou`."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """Unit of the value, empty where it is a pure number."""

    @property
    @abstractmethod
    def higher_is_better(self) -> bool:
        """The direction of quality."""

    @property
    @abstractmethod
    def needs_labels(self) -> bool:
        """False where outputs alone are enough."""

    @property
    def class_output(self) -> bool:
        """True where the output that is read must hold class scores."""
        return False

    @property
    def binary(self) -> bool:
        """True where a sample's value can only be 0 or 1 on an output `[n, C]`.

        Positions in between are averaged, so on `[n, T, C]` it is a fraction: look at the values too.
        """
        return False

    @property
    def source_digest(self) -> str:
        """SHA-256 of the file that it was read from, empty for what is installed."""
        return ""

    @abstractmethod
    def resolve(self, batch: Batch) -> "PerSampleMetric | WholeSetMetric":
        """Itself; a metric that only shows its kind when called tries itself on `batch`."""

    def check(self, batch: Batch) -> None:
        """Raise MetricError where this metric cannot be computed on such a batch; `needs_labels` is checked already."""
        checks.output_is_readable(self.name, batch)
        if self.class_output:
            checks.output_has_classes(self.name, batch)
        if self.class_output and self.needs_labels:
            checks.labels_are_classes(self.name, batch)


class PerSampleMetric(Metric):
    """One value a sample, independent of every other sample."""

    @abstractmethod
    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`; positions in between are averaged. NaN where outputs hold NaN: what to do then is the caller's."""

    def resolve(self, batch: Batch) -> "PerSampleMetric | WholeSetMetric":
        """Itself."""
        return self


class WholeSetMetric(Metric):
    """One value of all samples together, such as F1."""

    @abstractmethod
    def keep(self, batch: Batch) -> dict[str, AnyArray]:
        """What the value needs of each sample, every array `[n, ...]`, to be concatenated or indexed along `n`."""

    @abstractmethod
    def value(self, kept: Mapping[str, AnyArray]) -> float:
        """The value of the samples that were kept."""

    def resolve(self, batch: Batch) -> "PerSampleMetric | WholeSetMetric":
        """Itself."""
        return self


def check(metric: Metric, batch: Batch) -> None:
    """Say in one line why `metric` cannot be computed on batches such as this one.

    Raises:
        MetricError: labels missing, out of range or of another type or shape; no such output, not floats `[n, ...]`,
            not class scores; a class axis that does not exist or holds fewer than two classes.
    """
    if metric.needs_labels:
        checks.has_labels(metric.name, batch)
    metric.check(batch)


def drop(metric: Metric, dense_value: Value, pruned_value: Value) -> Value:
    """Quality lost, elementwise: positive is worse, whatever the metric's own direction."""
    with np.errstate(invalid="ignore"):  # inf - inf is the NaN it should be
        return dense_value - pruned_value if metric.higher_is_better else pruned_value - dense_value
