"""Cross-entropy of the labels. Knows nothing of ONNX, sessions or splits.

    H = -ln p_label,   p = softmax(logits), or the model's own probabilities

Source: Good, Rational Decisions, J. R. Stat. Soc. B 14, 1952 (the logarithmic score). Natural logarithm.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, mean_by_sample
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class CrossEntropy(PerSampleMetric):
    """Surprise at the label, in nats, at least 0: smoother than accuracy, so a small damage shows in few samples."""

    name = "cross-entropy"
    unit = "nats"
    higher_is_better = False
    needs_labels = True
    class_output = True

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, averaged over positions."""
        label = batch.targets.astype(np.int64)[..., None]
        return mean_by_sample(-np.take_along_axis(batch.pruned_log_probabilities, label, axis=-1))
