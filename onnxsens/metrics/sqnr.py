"""Signal to quantisation-noise ratio against the dense model's output; needs no labels.

    sqnr = 10 log10( sum_j dense_j^2 / sum_j (dense_j - pruned_j)^2 )

over all values of a sample's output. The noise here is what pruning did; the name is the one that is in use for
comparing a compressed model with its original. Knows nothing of ONNX, sessions or splits.

Values are held in [-40, 120] dB, so that means exist: no error at all is infinite, and float32 rounding alone leaves
about 120 dB, so that is the ceiling, and the dense model's own value. At the floor the error is a hundred times the
signal, where nothing is left to lose; an error on a dense output of zeros is the floor.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, by_sample
from onnxsens.metrics.metric import PerSampleMetric

FLOOR_DB = -40.0
CEILING_DB = 120.0


@dataclass(frozen=True)
class SignalToNoise(PerSampleMetric):
    """Power of the dense output over power of the error, in dB, in [-40, 120]: 120 when nothing changed."""

    name = "sqnr"
    unit = "dB"
    higher_is_better = True
    needs_labels = False

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`."""
        dense, pruned = by_sample(batch.dense_output), by_sample(batch.pruned_output)
        largest = np.abs(dense).max(axis=1, keepdims=True)
        scale = np.where(largest == 0.0, 1.0, largest)  # squares then neither overflow nor vanish
        # Signal and noise both 0 is no error; inf - inf and log10(0) are what they should be.
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            signal = ((dense / scale) ** 2).sum(axis=1)
            noise = ((dense / scale - pruned / scale) ** 2).sum(axis=1)
            decibels = 10.0 * (np.log10(signal) - np.log10(noise))
        return np.clip(np.where(noise == 0.0, CEILING_DB, decibels), FLOOR_DB, CEILING_DB)
