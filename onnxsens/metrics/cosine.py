"""Cosine similarity to the dense model's output; needs no labels. Knows nothing of ONNX, sessions or splits.

    cosine = <pruned, dense> / (|pruned| |dense|)

over the flattened output of a sample. Two zero outputs are the same (1); one zero output has no direction (0).
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, by_sample
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class Cosine(PerSampleMetric):
    """Cosine of the angle between both models' outputs, in [-1, 1]: 1 when only the scale changed, or nothing."""

    name = "cosine"
    unit = ""
    higher_is_better = True
    needs_labels = False

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`."""
        pruned, dense = of_largest_one(batch.pruned_output), of_largest_one(batch.dense_output)
        power, dense_power = inner(pruned, pruned), inner(dense, dense)
        norms = np.sqrt(power * dense_power)  # equals `power` exactly where both outputs are equal
        cosine = inner(pruned, dense) / np.where(norms == 0.0, 1.0, norms)
        both_zero = (power == 0.0) & (dense_power == 0.0)
        return np.clip(np.where(both_zero, 1.0, cosine), -1.0, 1.0)  # rounding can pass the ends


def of_largest_one(output: Float64Array) -> Float64Array:
    """`[n, values]`, each sample divided by its largest magnitude: squares then neither overflow nor vanish."""
    flat = by_sample(output)
    largest = np.abs(flat).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # inf / inf is the NaN it should be
        scaled: Float64Array = flat / np.where(largest == 0.0, 1.0, largest)
    return scaled


def inner(left: Float64Array, right: Float64Array) -> Float64Array:
    """`[n]`: inner products of rows."""
    product: Float64Array = (left * right).sum(axis=1)
    return product
