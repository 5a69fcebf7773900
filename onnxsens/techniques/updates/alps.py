"""Which elements to keep, decided over the whole weight at once and with the others' help in sight.

The alternating direction method of multipliers on

    minimise  tr(W' H W'^T) - 2 tr(T W'^T)    subject to    W' = D,  D sparse

`W'` may have any elements, `D` only as many as the mask keeps; both are drawn together by a penalty that grows:

    W' = (T - V + r D) (H + r)^-1,    D = the part of W' + V / r that the pattern keeps,    V = V + r (W' - D)

Source: Meng et al., ALPS, NeurIPS 2024, arXiv:2406.07831, algorithm 1 and its schedule of the penalty. As there, inputs
are scaled to the same mean square first. We begin at the mask of a criterion.
"""

from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from onnxsens.arrays import Float64Array, FloatArray, Mask
from onnxsens.techniques.moments import LayerProblem

PENALTY = 0.1  # at first, where the mean square of every input is 1
ROUND = 3  # steps with one penalty
MOST_ROUNDS = 40
# The penalty grows by the second where at least the first, as a share of what is kept, changed sides in a round.
GROWTH = ((0.1, 1.3), (0.005, 1.2), (0.0, 1.1))

Projection = Callable[[FloatArray], Mask]


def alps_mask(problem: LayerProblem, start: Mask, project: Projection) -> Mask:
    """`[groups, out / groups, in]`, True where kept.

    Args:
        start: a mask in blocks to begin at.
        project: scores `[out, in]` to the mask that keeps the highest ones, `[out, in]`.
    """
    scale = np.sqrt(np.diagonal(problem.hessian, axis1=1, axis2=2))[:, None, :]
    hessian = problem.hessian / (scale * scale.transpose(0, 2, 1))
    targets = problem.targets / scale
    dense = problem.dense * scale
    sparse, dual = np.where(start, dense, 0.0), np.zeros_like(dense)
    mask, penalty = start, PENALTY
    kept = max(int(np.count_nonzero(start)), 1)
    shape = (-1, dense.shape[-1])
    for _ in range(MOST_ROUNDS):
        before = mask
        factors = [shifted_factor(each, penalty) for each in hessian]
        for _ in range(ROUND):
            full = solved_all(factors, targets - dual + penalty * sparse)
            wanted = full + dual / penalty
            mask = project(np.square(wanted, dtype=np.float64).astype(np.float32).reshape(shape)).reshape(dense.shape)
            sparse = np.where(mask, wanted, 0.0)
            dual += penalty * (full - sparse)
        moved = np.count_nonzero(mask != before)
        if not moved:
            break
        penalty *= next(growth for share, growth in GROWTH if moved >= share * kept)
    return mask


Factor = tuple[Float64Array, bool]


def shifted_factor(hessian: Float64Array, penalty: float) -> Factor:
    """Of `H + r`."""
    shifted = hessian + penalty * np.eye(len(hessian))
    found: Factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
    return found


def solved_all(factors: list[Factor], right: Float64Array) -> Float64Array:
    """`[groups, rows, in]`: every row times the inverse of its group's matrix."""
    return np.stack(
        [cho_solve(factor, each.T, check_finite=False).T for factor, each in zip(factors, right, strict=True)]
    )
