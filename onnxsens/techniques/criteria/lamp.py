"""Magnitude, measured by what would be left of the weight: scores of different weights can be compared."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.criteria.lowest import zeros_first
from onnxsens.techniques.moments import Moments


@dataclass(frozen=True)
class Lamp:
    """`w[u]^2` over the sum of `w[v]^2` of all `v` that come at or after `u` in ascending order.

    Within a weight it orders as magnitude does, the lower index first where magnitudes are the same; it is another
    criterion only where scores are added up, as in blocks.

    Source: Lee et al., ICLR 2021, arXiv:2010.07611, eq. 4.
    """

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]`, in [0, 1], without unit; the largest element of a weight has 1."""
        flat = np.abs(weight).reshape(-1)
        ascending = np.argsort(flat, kind="stable")
        squares = np.square(flat[ascending], dtype=np.float64)
        left = np.cumsum(squares[::-1])[::-1]
        scores = np.empty_like(squares)
        scores[ascending] = np.divide(squares, left, out=np.zeros_like(squares), where=left > 0)
        return zeros_first(scores.reshape(weight.shape), weight)
