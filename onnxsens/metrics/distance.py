"""Distances of an output to its labels or to the dense model's output. Knows nothing of ONNX, sessions or splits.

    mse = mean_j (pruned_j - label_j)^2      mae = mean_j |pruned_j - label_j|
    dense-mse = mean_j (pruned_j - dense_j)^2

j runs over all values of a sample's output.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array
from onnxsens.metrics import checks
from onnxsens.metrics.batch import Batch, mean_by_sample
from onnxsens.metrics.metric import PerSampleMetric


class AgainstValues(PerSampleMetric):
    """A metric whose labels are what the output should be, value by value."""

    higher_is_better = False
    needs_labels = True

    def check(self, batch: Batch) -> None:
        """Labels have the output's shape."""
        super().check(batch)
        checks.labels_are_values(self.name, batch)


@dataclass(frozen=True)
class MeanSquaredError(AgainstValues):
    """Mean squared difference to labels of the output's own shape, at least 0."""

    name = "mse"
    unit = "squared output units"

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`."""
        return mean_by_sample(difference(batch.pruned_output, batch.targets) ** 2)


@dataclass(frozen=True)
class MeanAbsoluteError(AgainstValues):
    """Mean absolute difference to labels of the output's own shape, at least 0."""

    name = "mae"
    unit = "output units"

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`."""
        return mean_by_sample(np.abs(difference(batch.pruned_output, batch.targets)))


@dataclass(frozen=True)
class DenseMeanSquaredError(PerSampleMetric):
    """Mean squared difference to the dense model's output, at least 0: 0 when nothing changed."""

    name = "dense-mse"
    unit = "squared output units"
    higher_is_better = False
    needs_labels = False

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`."""
        return mean_by_sample(difference(batch.pruned_output, batch.dense_output) ** 2)


def difference(output: Float64Array, reference: AnyArray) -> Float64Array:
    """Elementwise; NaN where both are the same infinity."""
    with np.errstate(invalid="ignore"):
        return output - reference.astype(np.float64)
