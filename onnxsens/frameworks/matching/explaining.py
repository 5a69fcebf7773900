"""Why a tensor is a parameter times factors: a BatchNorm, a weight norm, rounding; and how well it is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.frameworks.checkpoints import Parameter
from onnxsens.frameworks.matching.blocks import Option, laid_out
from onnxsens.frameworks.matching.normalization import CLOSE, COARSE, Explained, Norms, magnitude_of
from onnxsens.frameworks.matching.scaling import SAME, Scaled, itemsize_of
from onnxsens.frameworks.matching.tensor import UNEXPLAINED, Match, Tensor

ALIKE = 0.05  # how far factors may be from 1 where a tensor is a rounded parameter
HALF = 0.505  # of a step: what rounding moves a number by
LOOSE = 0.6  # the same where factors had to be estimated from rounded numbers
FEWEST_LENGTHS = 4  # of slices, below which equal ones may be chance


@dataclass(frozen=True, eq=False)
class Explanation:
    """One way in which a tensor is a parameter times factors.

    Attributes:
        fit: how far it is from that, smaller is better; infinite where rounding cannot have moved its numbers so far.
        proven: whether nothing had to be estimated.
        is_output: whether factors differ along the output channels.
    """

    scaled: Scaled
    norm: Explained | None
    magnitude: str
    fit: float
    proven: bool
    is_output: bool
    evidence: tuple[str, ...] = field(default=())

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Of ways of one parameter; the smallest is the likeliest. Where all factors are equal, every axis fits."""
        return not self.norm, not self.magnitude, not self.is_output, -self.scaled.freedom


def explained(tensor: Tensor, scaled: Scaled, norms: Norms, parameters: Sequence[Parameter]) -> Explanation:
    """What in the checkpoint gives these factors, and how well they give the tensor."""
    narrow = not tensor.exact or min(tensor.values().dtype.itemsize, itemsize_of(scaled.source)) < 4
    norm = norms.explaining(scaled.scale, COARSE if narrow else CLOSE)
    magnitude = (
        "" if norm else lengths_in(tensor, scaled.axis, scaled.scale, magnitude_of(scaled.source.name), parameters)
    )
    live = scaled.scale[scaled.scale != 0]
    alike = bool(np.abs(live - 1).max() < ALIKE)
    fit, proven = scaled.off, True
    if tensor.step is not None:
        known = norm.norm.factor(norm.epsilon) if norm else np.ones(len(scaled.scale))
        fit, proven = (moved(tensor, scaled, known), True) if norm or alike else (inf, False)
        if fit > HALF:
            fit, proven = (inf, False) if alike and not norm else (moved(tensor, scaled, scaled.scale), False)
            fit = fit if fit <= LOOSE else inf
    evidence = [f"the same numbers times a factor along axis {scaled.axis}"]
    if norm:
        evidence.append(f"the factors are those of '{norm.norm.name}' with epsilon {norm.epsilon:g}")
    elif magnitude:
        evidence.append(f"the lengths of its slices are '{magnitude}'")
    elif alike and (narrow or scaled.off > SAME):
        evidence = ["the same numbers, rounded"]
    else:
        evidence.append(UNEXPLAINED)
    rows = 1 if tensor.operator == "ConvTranspose" or (tensor.turned is not None and tensor.turned()) else 0
    return Explanation(scaled, norm, magnitude, fit, proven, scaled.axis == rows, tuple(evidence))


def moved(tensor: Tensor, scaled: Scaled, factors: Float64Array) -> float:
    """How far numbers are from the parameter times these factors, in steps of the quantization; the largest."""
    assert tensor.step is not None
    step, clipped = tensor.step()
    shape = [1] * len(tensor.shape)
    shape[scaled.axis] = -1
    held = scaled.source.values().transpose(scaled.order).reshape(tensor.shape).astype(np.float64)
    apart = np.abs(tensor.values() - held * factors.reshape(shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(apart > 0, apart / step, 0.0)
    return float(np.max(steps, where=~clipped, initial=0.0))


def lengths_in(tensor: Tensor, axis: int, scale: Float64Array, sibling: str, parameters: Iterable[Parameter]) -> str:
    """The parameter that holds the lengths of the tensor's slices, or of all of it; empty where there is none.

    Args:
        sibling: what a weight norm would call it.
    """
    slices = np.moveaxis(tensor.values(), axis, 0).reshape(tensor.shape[axis], -1).astype(np.float64)
    lengths = np.sqrt(np.square(slices).sum(axis=1))
    uniform = bool(np.ptp(scale[scale != 0]) <= CLOSE * np.abs(scale).max())
    found = []
    for parameter in parameters:
        whole = parameter.size == 1 and uniform and parameter.name == sibling
        fits = whole or max(parameter.shape, default=0) == parameter.size == len(lengths)
        if not fits or not parameter.dtype.startswith(("float", "bfloat")):
            continue
        given = np.abs(parameter.read().reshape(-1).astype(np.float64))
        expected = np.sqrt(np.square(lengths).sum(keepdims=True)) if whole else lengths
        if np.allclose(given, expected, rtol=CLOSE, atol=0):
            found.append(parameter.name)
    if len(found) > 1 or len(lengths) < FEWEST_LENGTHS:
        return sibling if sibling in found else ""
    return found[0] if found else ""


def as_option(tensor: Tensor, scaled: Scaled) -> Option:
    """The parameter in the tensor's place."""
    return Option((laid_out(scaled.source, (scaled.order, ()), tensor.shape),), scaled.source)


def with_lengths(match: Match, parameters: Mapping[str, Parameter]) -> Match:
    """A tensor that is the directions of a weight norm, since their lengths are the norm's: these belong to it."""
    sibling = magnitude_of(match.pieces[0].parameter)
    if sibling not in parameters or len(match.pieces) != 1:
        return match
    tensor = match.tensor
    for axis, length in enumerate(tensor.shape):
        if lengths_in(tensor, axis, np.ones(length), sibling, [parameters[sibling]]):
            evidence = (*match.evidence, f"the lengths of its slices are '{sibling}'")
            return replace(match, scale_axis=axis, scale=np.ones(length), magnitude=sibling, evidence=evidence)
    return replace(match, remade=True)
