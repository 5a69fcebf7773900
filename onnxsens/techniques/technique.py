"""A technique: what happens to a weight at a level. Sparsity, criterion x pattern, is the first kind.

Knows matrices `[out, in]`, no operators, no models.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import ClassVar, Protocol

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.errors import UsageError
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.patterns import Pattern, Ranked, patterns

CONTROL = "random"


class PreparedWeight(Protocol):
    """A weight that was looked at once, ready for many levels."""

    def at(self, level: float) -> FloatArray:
        """The changed weight `[out, in]`, a new array; at level 0 equal to the dense one to the bit."""


class Technique(Protocol):
    """Anything that takes a strength as its hyperparameter."""

    level_kind: ClassVar[str]

    @property
    def pattern_name(self) -> str | None:
        """Which elements may be zeroed together; None for a technique that zeroes none."""

    @property
    def name(self) -> str:
        """The spec that makes this technique again."""

    def prepare(self, weight: FloatArray) -> PreparedWeight:
        """Look at a weight `[out, in]` once."""

    def once(self, weight: FloatArray, level: float) -> FloatArray:
        """`prepare(weight).at(level)` in less memory."""

    def steps(self, size: int, level: float) -> int:
        """The integer that says what `level` does to a weight of `size` elements; equal steps, equal result.

        For sparsity: the number of elements zeroed. Points are stored under it, never under a float.
        """


@dataclass(frozen=True)
class PrunedWeight:
    """One weight under a sparsity technique."""

    dense: FloatArray
    ranked: Ranked

    def at(self, level: float) -> FloatArray:
        """Zeros are +0.0: `w * mask` would leave -0.0, which compressors and some runtimes do not take for zero."""
        return self.dense.copy(order="K") if level == 0 else masked(self.dense, self.ranked.mask(level))


def masked(dense: FloatArray, mask: Mask) -> FloatArray:
    """`dense` where `mask` is True, else +0.0; laid out in memory as `dense` is."""
    values = dense.copy(order="K")
    np.copyto(values, np.float32(0), where=~mask)
    return values


@dataclass(frozen=True)
class Sparsity:
    """Zero the elements that a criterion scores lowest, in the groups that a pattern allows.

    Attributes:
        criterion_name: with its seed, where it draws lots: `random@0`.
    """

    criterion_name: str
    pattern_name: str
    criterion: Criterion
    pattern: Pattern

    level_kind: ClassVar[str] = "sparsity"

    @property
    def name(self) -> str:
        """`criterion`, with `:pattern` where it is not the plain one."""
        return (
            self.criterion_name if self.pattern_name == "unstructured" else f"{self.criterion_name}:{self.pattern_name}"
        )

    def prepare(self, weight: FloatArray) -> PrunedWeight:
        """Score and rank once."""
        return PrunedWeight(weight, self.pattern.rank(self.criterion.scores(weight)))

    def once(self, weight: FloatArray, level: float) -> FloatArray:
        """The scores are gone before the new weight is made."""
        if level == 0:
            return weight.copy(order="K")
        return masked(weight, self.pattern.rank(self.criterion.scores(weight)).mask(level))

    def steps(self, size: int, level: float) -> int:
        """The number of elements zeroed."""
        return self.pattern.zeros(size, level)


def make_technique(spec: str) -> Sparsity:
    """`criterion`, `criterion@seed` for one that draws lots, either with `:pattern`.

    Raises:
        UsageError: no such criterion or pattern, and the message lists them; or a seed that is none.
    """
    named, _, pattern = spec.partition(":")
    name, marked, seed = named.partition("@")
    kind: Callable[..., Criterion] = criteria.get(name)
    seeded = "seed" in signature(kind).parameters
    if marked and not seeded:
        raise UsageError(f"--technique '{spec}' has a seed, and {name} draws no lots; leave '@{seed}' out")
    if marked and not (seed.isascii() and seed.isdecimal()):
        raise UsageError(f"--technique '{spec}' has the seed '{seed}'; give a whole number, such as {name}@1")
    number = int(seed or 0)
    criterion = kind(seed=number) if seeded else kind()
    pattern = pattern or "unstructured"
    return Sparsity(f"{name}@{number}" if seeded else name, pattern, criterion, patterns.get(pattern)())


def control_of(technique: Sparsity, seed: int) -> Sparsity:
    """Random pruning in the same pattern: what a technique has to beat.

    Raises:
        UsageError: the technique is random itself.
    """
    if technique.criterion_name.startswith(f"{CONTROL}@"):
        raise UsageError("the technique is random already, so there is nothing to compare it with; leave --control out")
    return make_technique(f"{CONTROL}@{seed}:{technique.pattern_name}")
