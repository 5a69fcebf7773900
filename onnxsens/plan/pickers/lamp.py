"""LAMP: one threshold for all weights, on magnitudes normalised by what would be left."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxsens.arrays import Float64Array, FloatArray
from onnxsens.plan.pickers.picker import Ground, Picker, TargetFamily
from onnxsens.scan.searches import Level


@dataclass(frozen=True)
class Lamp(Picker):
    """Global pruning by layer-adaptive magnitude scores.

    Source: Lee et al., ICLR 2021, arXiv:2010.07611, eq. 4: the score of the element of rank u in its weight, ascending,
    is w[u]^2 / sum of w[v]^2 over v >= u.
    """

    name: ClassVar[str] = "lamp"
    baseline: ClassVar[bool] = True

    def family(self, ground: Ground) -> TargetFamily:
        """Sort once; a target is then one threshold."""
        scores = {weight.name: lamp_scores(ground.matrix(weight)) for weight in ground.weights}
        ordered = np.sort(np.concatenate(list(scores.values())))

        def allocate(target: float) -> dict[str, Level]:
            count = round(target * ordered.size)
            threshold = ordered[count] if count < ordered.size else np.inf
            return {name: float(np.searchsorted(own, threshold)) / own.size for name, own in scores.items()}

        return TargetFamily(allocate)


def lamp_scores(weight: FloatArray) -> Float64Array:
    """Scores of all elements, ascending; the largest element of a weight has 1, so no weight is emptied."""
    squares = np.sort(np.square(weight, dtype=np.float64), axis=None)
    left = np.cumsum(squares[::-1])[::-1]
    scores: Float64Array = np.divide(squares, left, out=np.zeros_like(squares), where=left > 0)
    return scores
