"""What data say of a weight: second moments of the inputs that its matrix is multiplied by.

Knows matrices `[out, in]` and blocks of them, no models, no samples.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array

DAMPENING = 0.01  # of the mean square of an input; 0.001 to 0.1 give the same plans
ROUNDING = 1e-9  # of the mean square of an input, that what is left of it without its mean may be off by


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over the rows `x` that a weight's matrix is multiplied by, group by group.

    A group is a block of output rows that sees inputs of its own; most weights have one. Where the network before the
    weight is pruned already, `x` is what it gets there, and `y` what it got in the dense model; else both are the same.

    Attributes:
        inputs: `[groups, in, in]`, mean of `x x^T`, in units of the input squared.
        mean: `[groups, in]`, of `x`.
        cross: `[groups, in, in]`, mean of `y x^T`; None where `y` is `x`.
        dense_mean: `[groups, in]`, of `y`; None where `y` is `x`.
        rows: how many were looked at, in each group.
        noise: `[groups]`, what elements of `inputs` may be off by: dampening is no less.
    """

    inputs: Float64Array
    mean: Float64Array
    cross: Float64Array | None = None
    dense_mean: Float64Array | None = None
    rows: int = 0
    noise: Float64Array | None = None

    @property
    def groups(self) -> int:
        """Blocks of output rows."""
        return len(self.inputs)

    @property
    def width(self) -> int:
        """Columns of the weight's matrix."""
        return int(self.inputs.shape[-1])

    @cached_property
    def squares(self) -> Float64Array:
        """`[groups, in]`, mean square of each input."""
        return np.diagonal(self.inputs, axis1=1, axis2=2)

    def blocks(self, matrix: AnyArray) -> Float64Array:
        """`[out, in]` as `[groups, out / groups, in]`, in float64."""
        return matrix.reshape(self.groups, -1, self.width).astype(np.float64)

    def over_rows(self, each: Float64Array, matrix: AnyArray) -> Float64Array:
        """`[groups, in]` as `[out, in]`, repeated for every output row of its group."""
        return np.repeat(each, len(matrix) // self.groups, axis=0)

    def centred(self) -> "Moments":
        """Of the inputs less their means: what is left to a weight where a bias takes the mean."""
        cross = self.cross
        if cross is not None and self.dense_mean is not None:
            cross = cross - outer(self.dense_mean, self.mean)
        # What is left where an input hardly varies is rounding, and need not even be positive.
        inputs = self.inputs - outer(self.mean, self.mean)
        noise = ROUNDING * self.squares.mean(axis=1)
        return Moments(inputs, self.mean, cross, self.dense_mean, self.rows, noise)


def outer(one: Float64Array, other: Float64Array) -> Float64Array:
    """`[groups, in]` twice, to `[groups, in, in]`."""
    return one[:, :, None] * other[:, None, :]


class LayerProblem:
    """`minimise  E |W y - W' x|^2 + d |W' - W|^2  over W'`, which is what is left when a weight has to be sparse.

    With `H = E[x x^T]`, `C = E[y x^T]` and `d` the dampening, that is `W' (H + d) W'^T - 2 (W C + d W) W'^T` but for a
    constant, row by row. So an input that is always 0 leaves its weights as they are.

    Args:
        weight: `W`, `[out, in]`, dense.
        moments: centred, where a bias takes the mean.
        dampening: as a share of the mean square of an input.

    Attributes:
        dense: `[groups, out / groups, in]`.
        hessian: `H + d`, `[groups, in, in]`; symmetric, positive definite.
        targets: `W C + d W`, `[groups, out / groups, in]`.
    """

    def __init__(self, weight: AnyArray, moments: Moments, dampening: float = DAMPENING) -> None:
        self.moments = moments
        self.dense = moments.blocks(weight)
        mean = np.diagonal(moments.inputs, axis1=1, axis2=2).mean(axis=1)
        damp = np.maximum(dampening * mean, 0.0 if moments.noise is None else moments.noise)
        self._damp = np.where(damp > 0, damp, 1.0)
        self.hessian = moments.inputs + self._damp[:, None, None] * np.eye(moments.width)
        self._bare = self.dense @ (moments.inputs if moments.cross is None else moments.cross)
        self.targets = self._bare + self._damp[:, None, None] * self.dense

    def losses(self, values: Float64Array) -> Float64Array:
        """`[groups, out / groups]`: what each row loses without dampening, but for a constant of the row.

        Args:
            values: `W'` in blocks.
        """
        lost: Float64Array = np.einsum("gri,gri->gr", values @ self.moments.inputs - 2 * self._bare, values)
        return lost

    def damped_losses(self, values: Float64Array) -> Float64Array:
        """`[groups, out / groups]`: the same with dampening, which is what updates minimise."""
        lost: Float64Array = np.einsum("gri,gri->gr", values @ self.hessian - 2 * self.targets, values)
        return lost
