"""Top-K accuracy: how often the label is among the K highest classes. Knows nothing of ONNX, sessions or splits.

    rank(label) = #{c : score_c > score_label} + #{c < label : score_c = score_label}
    topK = [rank(label) < K]

Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, arXiv:1409.0575, section 4.1 (K = 5).
It leaves ties open; here equal scores go to the lower index, as in `accuracy`, so top1 equals accuracy.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.errors import MetricError, UsageError
from onnxsens.metrics.batch import Batch, mean_by_sample
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class TopK(PerSampleMetric):
    """1 where the label is among the `k` highest classes, else 0.

    Args:
        k: at least 1, and fewer than the classes of the output, where the value would always be 1.
    """

    k: int

    unit = "fraction"
    higher_is_better = True
    needs_labels = True
    class_output = True
    binary = True

    def __post_init__(self) -> None:
        """Refuse K below 1."""
        if self.k < 1:
            raise UsageError(f"metric 'top{self.k}' counts no class; use top1 or more")

    @property
    def name(self) -> str:
        """`top5` for k = 5."""
        return f"top{self.k}"

    def check(self, batch: Batch) -> None:
        """As every metric of classes, and there are more than `k` of them."""
        super().check(batch)
        reading = batch.reading
        classes = batch.pruned[reading.output].shape[reading.class_axis]
        if self.k >= classes:
            raise MetricError(
                f"metric '{self.name}' is always 1 on the {classes} classes of output '{reading.output}'; "
                "use a smaller K, or accuracy"
            )

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, the fraction of a sample's positions that are right; NaN where scores hold NaN."""
        scores = batch.pruned_scores
        label = batch.targets.astype(np.int64)[..., None]
        own = np.take_along_axis(scores, label, axis=-1)
        ahead = (scores > own) | ((scores == own) & (np.arange(scores.shape[-1]) < label))
        inside = ahead.sum(axis=-1) < self.k
        return mean_by_sample(np.where(np.isnan(scores).any(axis=-1), np.nan, inside))


def any_top_k() -> TopK:
    """What `topK` without a number stands for: nothing, but the name lists it."""
    raise UsageError("metric 'topK' needs a number for K; use top5, for example")
