"""One weight's best answer at a level: a mask, values for what is kept, and what its bias has to take.

Knows a matrix and moments of its inputs; no model.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxsens.arrays import Float64Array, FloatArray, Mask
from onnxsens.techniques.moments import LayerProblem, Moments
from onnxsens.techniques.technique import Sparsity, masked
from onnxsens.techniques.updates import updates
from onnxsens.techniques.updates.alps import alps_mask

Masks = Literal["criterion", "alps"]


@dataclass(frozen=True, eq=False)
class LayerFit:
    """What becomes of a weight.

    Attributes:
        values: `[out, in]`; 0 where the mask keeps nothing.
        shift: `[out]`, what has to be added to the output so that its mean is the dense one's; None without moments of
            a bias.
        loss, masked_loss: what the output loses with these values, and with the old ones where they are kept; mean
            squares over the inputs, of all rows in sum, but for the same constant.
        kept_rows: rows that keep their old values, because new ones lose more.
    """

    values: FloatArray
    shift: Float64Array | None
    loss: float
    masked_loss: float
    kept_rows: int


def fit_layer(
    weight: FloatArray,
    level: float,
    technique: Sparsity,
    moments: Moments,
    *,
    update: str,
    masks: Masks = "criterion",
    bias: bool = True,
) -> LayerFit:
    """A weight `[out, in]` at a level of sparsity.

    A row whose loss without dampening is larger with the update than with its old values keeps those: made for a
    few inputs, an update can be worse on some rows.

    Args:
        technique: says which elements go; of masks by ALPS, where to begin.
        update: name of one; empty to leave kept values as they are.
        bias: whether the output's mean can be put right.
    """
    centred = moments.centred() if bias else moments
    problem = LayerProblem(weight, centred)
    mask = weight != 0
    if level > 0:
        mask &= technique.pattern.rank(technique.criterion.scores(weight, moments)).mask(level)
    old = problem.moments.blocks(masked(weight, mask))
    before = problem.losses(old)
    if not update:
        return done(weight, old, moments, before, before, 0, bias=bias)
    prepared = updates.get(update)().prepare(problem)
    kept = blocks(mask, problem)
    found = prepared.fit(kept)
    if masks == "alps" and level > 0:
        better, better_kept = by_alps(weight, level, technique, problem, kept)
        if problem.damped_losses(better).sum() < problem.damped_losses(found).sum():
            found, kept = better, better_kept
            old = np.where(kept, problem.dense, 0.0)
            before = problem.losses(old)
    after = problem.losses(found)
    worse = after > before
    found[worse] = old[worse]
    return done(weight, found, moments, np.minimum(after, before), before, int(worse.sum()), bias=bias)


def by_alps(
    weight: FloatArray, level: float, technique: Sparsity, problem: LayerProblem, start: Mask
) -> tuple[Float64Array, Mask]:
    """Values and mask by ALPS, refitted exactly."""
    zero = weight == 0

    def project(scores: FloatArray) -> Mask:
        # What is zero already goes first, since a level counts it; and is worth nothing in a sum over a block.
        alive = np.maximum(scores, np.finfo(np.float32).tiny)
        chosen: Mask = technique.pattern.rank(np.where(zero, np.float32(0), alive)).mask(level) & ~zero
        return chosen

    mask = alps_mask(problem, start, project)
    return updates.get("refit")().prepare(problem).fit(mask), mask


def blocks(mask: Mask, problem: LayerProblem) -> Mask:
    """`[out, in]` in blocks."""
    return mask.reshape(problem.dense.shape)


def done(
    weight: FloatArray,
    found: Float64Array,
    moments: Moments,
    after: Float64Array,
    before: Float64Array,
    kept_rows: int,
    *,
    bias: bool,
) -> LayerFit:
    """The record; what is zero is +0.0."""
    values = found.reshape(weight.shape).astype(np.float32)
    values[values == 0] = 0.0
    shift = None
    if bias:
        dense_mean = moments.mean if moments.dense_mean is None else moments.dense_mean
        shift = products(moments, weight, dense_mean) - products(moments, values, moments.mean)
    return LayerFit(values, shift, float(after.sum()), float(before.sum()), kept_rows)


def products(moments: Moments, matrix: FloatArray, mean: Float64Array) -> Float64Array:
    """`[out]`: what a matrix makes of the mean input of each group."""
    found: Float64Array = np.einsum("gri,gi->gr", moments.blocks(matrix), mean).reshape(-1)
    return found
