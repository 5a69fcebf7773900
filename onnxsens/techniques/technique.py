"""A technique: what happens to a weight at a level. Sparsity, criterion x pattern, is the first kind.

Knows matrices `[out, in]`, no operators, no models.
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.patterns import Pattern, Ranked, patterns


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
        if level == 0:
            return self.dense.copy()
        return np.where(self.ranked.mask(level), self.dense, np.float32(0))


@dataclass(frozen=True)
class Sparsity:
    """Zero the elements that a criterion scores lowest, in the groups that a pattern allows."""

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

    def steps(self, size: int, level: float) -> int:
        """The number of elements zeroed."""
        return self.pattern.zeros(size, level)


def make_technique(spec: str) -> Sparsity:
    """`magnitude`, or `criterion:pattern`.

    Raises:
        UsageError: no such criterion or pattern; the message lists them.
    """
    criterion, _, pattern = spec.partition(":")
    pattern = pattern or "unstructured"
    return Sparsity(criterion, pattern, criteria.get(criterion)(), patterns.get(pattern)())
