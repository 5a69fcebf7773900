"""The oldest criterion, and still the one to beat: small weights matter least."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.moments import Moments


@dataclass(frozen=True)
class Magnitude:
    """The absolute value of a weight. Source: Han et al., NIPS 2015, arXiv:1506.02626."""

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]`, at least 0, in weight units."""
        # In the order of ranking: a weight that is a transposed view would be copied for that.
        return np.abs(weight, order="C")
