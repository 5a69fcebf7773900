"""Accuracy: how often the highest class is the label. Knows nothing of ONNX, sessions or splits.

accuracy = [argmax_c score_c = label]
"""

from dataclasses import dataclass

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, mean_by_sample, same_class
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class Accuracy(PerSampleMetric):
    """1 where the highest class is the label, else 0; equal scores go to the lower index."""

    name = "accuracy"
    unit = "fraction"
    higher_is_better = True
    needs_labels = True
    class_output = True
    binary = True

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, the fraction of a sample's positions that are right; NaN where scores hold NaN."""
        return mean_by_sample(same_class(batch.pruned_classes, batch.targets))
