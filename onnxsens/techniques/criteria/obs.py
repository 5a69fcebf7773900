"""What the layer's output loses with an element, once all others of its row have made up for it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxsens.arrays import Float64Array, FloatArray
from onnxsens.techniques.criteria.lowest import zeros_first
from onnxsens.techniques.moments import LayerProblem, Moments
from onnxsens.techniques.updates.obs import inverse_factor


@dataclass(frozen=True)
class Obs:
    """`w[j]^2 / [(H + d)^-1][j, j]`, the saliency of optimal brain surgery, all elements at once.

    Source: Frantar & Alistarh, SparseGPT, ICML 2023, arXiv:2301.00774, section 3 and algorithm 1. There masks are
    chosen block after block, and `H` is of the columns that are left; here all at once, and `H` is of all columns.
    Where an input is always 0, its weights are worth nothing, though `d` alone would give them a price.
    """

    needs_moments: ClassVar[bool] = True

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]`, at least 0, in units of the output squared."""
        assert moments is not None  # it is never asked without
        price = 1 / np.stack([inverse_diagonal(each) for each in LayerProblem(weight, moments).hessian])
        price[moments.squares == 0] = 0
        return zeros_first(np.square(weight, dtype=np.float64) * moments.over_rows(price, weight), weight)


def inverse_diagonal(hessian: Float64Array) -> Float64Array:
    """`[in]`: the diagonal of the inverse, above 0."""
    # The inverse is U^T U: its diagonal is the squared length of each column of U.
    diagonal: Float64Array = np.square(inverse_factor(hessian)).sum(axis=0)
    return diagonal
