"""Agreement: how often both models choose the same class; needs no labels. Knows nothing of ONNX, sessions or splits.

agreement = [argmax_c pruned_c = argmax_c dense_c]
"""

from dataclasses import dataclass

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, mean_by_sample, same_class
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class Agreement(PerSampleMetric):
    """1 where both models have the same highest class, else 0; accuracy cannot drop by more than 1 minus its mean."""

    name = "agreement"
    unit = "fraction"
    higher_is_better = True
    needs_labels = False
    class_output = True
    binary = True

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, the fraction of a sample's positions that agree; NaN where scores of either hold NaN."""
        return mean_by_sample(same_class(batch.pruned_classes, batch.dense_classes))
