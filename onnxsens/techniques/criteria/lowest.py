"""The lower end of scores: what is zero already goes first, then what the criterion says is worth nothing.

Knows scores and the weight that they are of, no data.
"""

import numpy as np

from onnxsens.arrays import Float64Array, FloatArray

LIMITS = np.finfo(np.float32)


def zeros_first(scores: Float64Array, weight: FloatArray) -> FloatArray:
    """Scores of at least 0 in float32: 0 where the weight is zero, above 0 elsewhere, finite.

    An input that is always 0 makes its weights worth nothing, and yet they must not be taken for zeros: a level counts
    those. Such elements score below all others, by the rank of their magnitude. Equal magnitudes score the same.

    Args:
        scores: `[out, in]`; larger than float32 can tell is as large as it can.
    """
    lowest = float(LIMITS.tiny) * weight.size  # below it there is room for the rank of every element
    low = np.minimum(scores, LIMITS.max).astype(np.float32, order="C")
    nothing = (scores <= lowest) & (weight != 0)
    if nothing.any():
        rank = np.unique(np.abs(weight[nothing]), return_inverse=True)[1]
        low[nothing] = LIMITS.tiny * (rank + 1)
    low[weight == 0] = 0
    return low
