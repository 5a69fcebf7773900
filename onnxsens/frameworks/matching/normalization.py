"""Factors that a checkpoint explains: gamma / sqrt(variance + epsilon) of a BatchNorm, g / |v| of a weight norm.

Knows the names that frameworks give to these vectors.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.frameworks.checkpoints import Parameter

# Last parts of names: PyTorch, Keras, Flax, Paddle.
VARIANCE = ("running_var", "moving_variance", "var", "_variance", "w_2")
MEAN = ("running_mean", "moving_mean", "mean", "_mean", "w_1")
GAMMA = ("weight", "gamma", "scale", "w_0")
BETA = ("bias", "beta", "b_0")
# PyTorch's weight norms: the parameter of directions, and that of their lengths.
DIRECTIONS = (("parametrizations.weight.original1", "parametrizations.weight.original0"), ("weight_v", "weight_g"))
COLLECTIONS = ("params", "batch_stats")  # of Flax, which keeps statistics apart from parameters
EPSILONS = (1e-5, 1e-3, 1e-6, 1e-4, 2e-5, 1.001e-5, 1e-12, 1e-2)
CLOSE = 2e-4  # relative; exporters compute factors in float32
COARSE = 1e-2  # the same, where factors are estimated from numbers of 16 bits and fewer


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """The vectors of one, `[channels]`; gamma of ones and beta of zeros where it has none."""

    name: str
    gamma: Float64Array = field(repr=False)
    beta: Parameter | None
    mean: Parameter | None
    variance: Float64Array = field(repr=False)

    def factor(self, epsilon: float) -> Float64Array:
        """What it multiplies each channel by."""
        return self.gamma / np.sqrt(self.variance + epsilon)


@dataclass(frozen=True)
class Explained:
    """A BatchNorm whose factors are the ones seen."""

    norm: BatchNorm
    epsilon: float


class Norms:
    """All BatchNorms of a checkpoint, by number of channels."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._by_length: dict[int, list[BatchNorm]] = {}
        for norm in batch_norms(parameters):
            self._by_length.setdefault(len(norm.variance), []).append(norm)

    def explaining(self, scale: Float64Array, close: float = CLOSE) -> Explained | None:
        """The BatchNorm that gives these factors, `[channels]`; None where none does, or two do.

        Channels with the factor 0 are not looked at: a dead slice shows no factor. There have to be four others.
        """
        live = scale != 0
        if live.sum() < min(4, len(scale)) or len(scale) < 2:
            return None
        found = []
        for norm in self._by_length.get(len(scale), []):
            for epsilon in EPSILONS:
                factor = norm.factor(epsilon)
                off = np.abs(factor - scale)[live] / np.abs(scale)[live]
                if off.max() < close:
                    found.append(Explained(norm, epsilon))
                    break
        return found[0] if len(found) == 1 else None


def magnitude_of(name: str) -> str:
    """What a weight norm calls the norms that belong to a parameter of directions; empty where it is none."""
    for direction, magnitude in DIRECTIONS:
        if name.endswith(f".{direction}"):
            return name.removesuffix(direction) + magnitude
    return ""


def batch_norms(parameters: Iterable[Parameter]) -> Iterator[BatchNorm]:
    """Every family of vectors with a variance."""
    families: dict[tuple[str, ...], dict[str, Parameter]] = {}
    for parameter in parameters:
        if len(parameter.shape) == 1:
            path = tuple(part for part in split(parameter.name) if part not in COLLECTIONS)
            families.setdefault(path[:-1], {})[path[-1]] = parameter
    for path, family in families.items():
        variance = member(family, VARIANCE)
        if variance is None:
            continue
        gamma, length = member(family, GAMMA), variance.shape[0]
        if gamma is not None and gamma.shape[0] != length:
            continue
        yield BatchNorm(
            ".".join(path),
            np.ones(length) if gamma is None else gamma.read().astype(np.float64),
            member(family, BETA),
            member(family, MEAN),
            variance.read().astype(np.float64),
        )


def member(family: Mapping[str, Parameter], names: Sequence[str]) -> Parameter | None:
    """The one with the first of these names."""
    return next((family[name] for name in names if name in family), None)


def split(name: str) -> list[str]:
    """A name's parts, whichever of `.` and `/` is between them."""
    return name.replace("/", ".").split(".")


def leaf(name: str) -> str:
    """The last part of a name."""
    return split(name)[-1]
