"""Macro F1 of a classification, a metric of the whole set. Knows nothing of ONNX, sessions or splits.

    F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)
    F1   = mean of F1_c over the classes that occur

Source: van Rijsbergen, Information Retrieval, 1979, chapter 7, with equal weight of precision and recall; averaged over
classes. A class that is neither a label nor predicted has no F1 (0 / 0) and is left out, as in scikit-learn's
`f1_score(average="macro")`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.metrics.batch import UNDECIDED, Batch
from onnxsens.metrics.metric import WholeSetMetric


@dataclass(frozen=True)
class MacroF1(WholeSetMetric):
    """F1 averaged over classes, in [0, 1]: rare classes count as much as frequent ones."""

    name = "f1"
    unit = "fraction"
    higher_is_better = True
    needs_labels = True
    class_output = True

    def keep(self, batch: Batch) -> dict[str, AnyArray]:
        """Predicted and true class of every sample and position, `[n, ...]`."""
        return {"predicted": batch.pruned_classes, "actual": batch.targets.astype(np.int64)}

    def value(self, kept: Mapping[str, AnyArray]) -> float:
        """F1 over all samples and positions; NaN where there is none, or scores held NaN."""
        predicted, actual = kept["predicted"].ravel(), kept["actual"].ravel()
        if predicted.size == 0 or np.any(predicted == UNDECIDED):
            return float("nan")
        found = np.bincount(predicted[predicted == actual], minlength=max(predicted.max(), actual.max()) + 1)
        # TP + FP are the predictions of a class, TP + FN its labels.
        claims = np.bincount(predicted, minlength=found.size) + np.bincount(actual, minlength=found.size)
        occurs = claims > 0
        return float(np.mean(2.0 * found[occurs] / claims[occurs]))
