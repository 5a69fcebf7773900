"""The exact answer for a mask: every row's kept elements by least squares."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from onnxsens.arrays import Float64Array, Mask
from onnxsens.techniques.moments import LayerProblem


@dataclass(frozen=True)
class Refit:
    """`w'_S = b_S (H_SS + d)^-1` for the kept elements `S` of a row, `b` its targets. No other values lose less."""

    def prepare(self, problem: LayerProblem) -> "PreparedRefit":
        """Rows have nothing in common but the problem."""
        return PreparedRefit(problem)


@dataclass(frozen=True, eq=False)
class PreparedRefit:
    """A system of equations for each row and mask."""

    problem: LayerProblem

    def fit(self, mask: Mask) -> Float64Array:
        """Row by row; rows with the same mask are solved together."""
        values = np.zeros_like(self.problem.dense)
        for group, hessian in enumerate(self.problem.hessian):
            rows: dict[bytes, list[int]] = {}
            for row, kept in enumerate(mask[group]):
                rows.setdefault(np.packbits(kept).tobytes(), []).append(row)
            for alike in map(np.array, rows.values()):
                kept = np.flatnonzero(mask[group, alike[0]])
                targets = self.problem.targets[group][np.ix_(alike, kept)]
                values[group][np.ix_(alike, kept)] = solved(hessian, kept, targets)
        return values


def solved(hessian: Float64Array, kept: np.typing.NDArray[np.intp], targets: Float64Array) -> Float64Array:
    """`[rows, kept]`: `targets H[kept, kept]^-1`."""
    if not kept.size:
        return targets
    factor = cho_factor(hessian[np.ix_(kept, kept)], lower=True, overwrite_a=True, check_finite=False)
    found: Float64Array = cho_solve(factor, targets.T, check_finite=False).T
    return found
