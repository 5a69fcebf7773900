"""Kullback-Leibler divergence of the class distributions; needs no labels. Knows nothing of ONNX, sessions or splits.

    KL(dense || pruned) = sum_c p_c (ln p_c - ln q_c),   p = dense, q = pruned; a class with p_c = 0 adds 0

Source: Kullback & Leibler, On Information and Sufficiency, Ann. Math. Stat. 22, 1951. Natural logarithm.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.metrics.batch import Batch, mean_by_sample
from onnxsens.metrics.metric import PerSampleMetric


@dataclass(frozen=True)
class KLDivergence(PerSampleMetric):
    """What the pruned model's distribution loses against the dense one's, in nats: 0 when nothing changed."""

    name = "kl"
    unit = "nats"
    higher_is_better = False
    needs_labels = False
    class_output = True

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, at least 0 (a sum that rounding left below is 0), averaged over positions."""
        dense, pruned = batch.dense_log_probabilities, batch.pruned_log_probabilities
        with np.errstate(invalid="ignore"):  # -inf - -inf, where the class adds 0
            terms = np.exp(dense) * (dense - pruned)
        terms = np.where(dense == -np.inf, 0.0, terms)  # a NaN of the pruned model is in its other classes too
        return mean_by_sample(np.maximum(terms.sum(axis=-1), 0.0))
