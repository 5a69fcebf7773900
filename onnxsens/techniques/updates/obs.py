"""Optimal brain surgery, column by column: each column that goes is made up for by those that come after it."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from onnxsens.arrays import Float64Array, Mask
from onnxsens.techniques.moments import LayerProblem

BLOCK = 128  # columns after which the rest is brought up to date; the result does not depend on it


@dataclass(frozen=True)
class Obs:
    """Cheap: one factorisation a weight, and one sweep a mask. Columns that were passed are not touched again.

    Source: Frantar & Alistarh, SparseGPT, ICML 2023, arXiv:2301.00774, algorithm 1, for a mask that is given; there it
    is chosen on the way. Of inputs that are pruned already, the sweep begins at the dampened least-squares answer.
    """

    def prepare(self, problem: LayerProblem) -> "PreparedObs":
        """Factorise once."""
        factors = np.stack([inverse_factor(hessian) for hessian in problem.hessian])
        start = problem.dense
        if problem.moments.cross is not None:
            start = np.stack(
                [targets @ factor.T @ factor for targets, factor in zip(problem.targets, factors, strict=True)]
            )
        return PreparedObs(start, factors)


@dataclass(frozen=True, eq=False)
class PreparedObs:
    """Where the sweep begins, `[groups, out / groups, in]`, and `U` with `(H + d)^-1 = U^T U`, upper triangular."""

    start: Float64Array
    factors: Float64Array

    def fit(self, mask: Mask) -> Float64Array:
        """One sweep over the columns."""
        return np.stack([sweep(*each) for each in zip(self.start, self.factors, mask, strict=True)])


def inverse_factor(hessian: Float64Array) -> Float64Array:
    """`U`, upper triangular, with `U^T U` the inverse.

    Of `H` with its order turned round, a lower factor `L` gives it: turned back, `L` is upper, and so is its inverse.
    """
    lower = cholesky(hessian[::-1, ::-1], lower=True, check_finite=False)
    identity = np.eye(len(hessian))
    inverse: Float64Array = solve_triangular(lower, identity, lower=True, check_finite=False, overwrite_b=True)
    # H = P L L^T P with P the reversal, so H^-1 = (P L^-1 P)^T (P L^-1 P), and P L^-1 P is upper triangular.
    return np.ascontiguousarray(inverse[::-1, ::-1])


def sweep(start: Float64Array, factor: Float64Array, mask: Mask, block: int = BLOCK) -> Float64Array:
    """`[out, in]`: the columns from left to right, what each loses spread over those to its right."""
    values = start.copy()
    for first in range(0, values.shape[1], block):
        last = min(first + block, values.shape[1])
        part, own = values[:, first:last], factor[first:last, first:last]
        gone = ~mask[:, first:last]
        lost = np.zeros_like(part)
        for column in range(last - first):
            lost[:, column] = part[:, column] * gone[:, column] / own[column, column]
            part[:, column:] -= lost[:, column, None] * own[column, column:]
        values[:, last:] -= lost @ factor[first:last, last:]
    values[~mask] = 0.0
    return values
