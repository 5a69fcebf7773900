"""A small weight on a loud input matters more than a larger one on an input that is hardly there."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.criteria.lowest import zeros_first
from onnxsens.techniques.moments import Moments


@dataclass(frozen=True)
class Wanda:
    """Magnitude of a weight times the root mean square of the input that it multiplies.

    Source: Sun et al., ICLR 2024, arXiv:2306.11695, eq. 1. There it is the norm of the input, which is the same but for
    a constant, and scores are compared within an output row; here the pattern decides what is compared with what.
    """

    needs_moments: ClassVar[bool] = True

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]`, at least 0, in weight units times input units."""
        assert moments is not None  # it is never asked without
        return zeros_first(np.abs(weight) * moments.over_rows(np.sqrt(moments.squares), weight), weight)
