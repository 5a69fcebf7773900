"""A technique: what happens to a weight at a level. Sparsity, criterion x pattern x update, is the first kind.

Knows matrices `[out, in]` and moments of their inputs, no operators, no models.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from inspect import signature
from typing import ClassVar, Protocol

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.errors import UsageError
from onnxsens.plugins import Registry
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.moments import LayerProblem, Moments
from onnxsens.techniques.patterns import UNSTRUCTURED, Pattern, Ranked, make_pattern
from onnxsens.techniques.updates import PreparedUpdate, Update, updates

CONTROL = "random"
PLAIN = "magnitude"  # what a weight gets whose inputs nothing is known of

Shape = tuple[int, int]  # of a matrix `[out, in]`


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

    @property
    def needs_moments(self) -> bool:
        """Whether a weight cannot be prepared without moments of its inputs."""

    def prepare(self, weight: FloatArray, moments: Moments | None = None) -> PreparedWeight:
        """Look at a weight `[out, in]` once."""

    def once(self, weight: FloatArray, level: float, moments: Moments | None = None) -> FloatArray:
        """`prepare(weight, moments).at(level)` in less memory."""

    def steps(self, shape: Shape, level: float) -> int:
        """The integer that says what `level` does to a weight `[out, in]`; equal steps, equal result.

        For sparsity: the number of elements zeroed. Points are stored under it, never under a float.
        """

    def refuses(self, shape: Shape, channels: int) -> str | None:
        """Why a weight of this shape has to stay dense; None where it need not.

        Args:
            channels: input channels of a group, which lie side by side in a row.
        """

    def without_moments(self) -> "Technique":
        """What is done to a weight whose inputs nothing is known of; the technique itself where it needs nothing."""

    def setting(self, level: float) -> float:
        """What a level comes to in the technique's own unit: a sparsity, or a number of bits."""


kinds: Registry[type[Technique]] = Registry("techniques", "technique", {"bits": "onnxsens.techniques.bits:Bits"})


@dataclass(frozen=True)
class PrunedWeight:
    """One weight under a sparsity technique.

    Attributes:
        update: of the elements that stay, if they are to change.
    """

    dense: FloatArray
    ranked: Ranked
    update: PreparedUpdate | None = None
    groups: int = 1

    def at(self, level: float) -> FloatArray:
        """Zeros are +0.0: `w * mask` would leave -0.0, which compressors and some runtimes do not take for zero."""
        if level == 0:
            return self.dense.copy(order="K")
        mask = self.ranked.mask(level)
        if self.update is None:
            return masked(self.dense, mask)
        kept = mask & (self.dense != 0)  # what was zero already stays so
        found = self.update.fit(kept.reshape(self.groups, -1, kept.shape[1]))
        # A value that is too small for float32 becomes a zero; adding 0 makes it +0.0.
        return masked(found.reshape(kept.shape).astype(np.float32) + np.float32(0), kept)


def masked(dense: FloatArray, mask: Mask) -> FloatArray:
    """`dense` where `mask` is True, else +0.0; laid out in memory as `dense` is."""
    values = dense.copy(order="K")
    np.copyto(values, np.float32(0), where=~mask)
    return values


@dataclass(frozen=True)
class Sparsity:
    """Zero the elements that a criterion scores lowest, in the groups that a pattern allows; then update the others.

    Attributes:
        criterion_name: with its seed, where it draws lots: `random@0`.
        update_name: empty for none.
    """

    criterion_name: str
    pattern_name: str
    criterion: Criterion
    pattern: Pattern
    update_name: str = ""
    update: Update | None = None

    level_kind: ClassVar[str] = "sparsity"

    @property
    def name(self) -> str:
        """`criterion`, with `:pattern` where it is not the plain one, and `+update` where there is one."""
        pattern = "" if self.pattern_name == UNSTRUCTURED else f":{self.pattern_name}"
        return f"{self.criterion_name}{pattern}{'+' * bool(self.update_name)}{self.update_name}"

    @property
    def needs_moments(self) -> bool:
        """An update always does."""
        return self.update is not None or getattr(self.criterion, "needs_moments", False)

    def prepare(self, weight: FloatArray, moments: Moments | None = None) -> PrunedWeight:
        """Score and rank once."""
        ranked = self.pattern.rank(self.criterion.scores(weight, moments))
        if self.update is None:
            return PrunedWeight(weight, ranked)
        if moments is None:
            raise ValueError(f"{self.name} needs moments of the weight's inputs")
        return PrunedWeight(weight, ranked, self.update.prepare(LayerProblem(weight, moments)), moments.groups)

    def once(self, weight: FloatArray, level: float, moments: Moments | None = None) -> FloatArray:
        """The scores are gone before the new weight is made."""
        if level == 0:
            return weight.copy(order="K")
        if self.update is not None:
            return self.prepare(weight, moments).at(level)
        return masked(weight, self.pattern.rank(self.criterion.scores(weight, moments)).mask(level))

    def steps(self, shape: Shape, level: float) -> int:
        """The number of elements zeroed."""
        return self.pattern.zeros(shape, level)

    def refuses(self, shape: Shape, channels: int) -> str | None:
        """Where it does not divide into the pattern's groups."""
        return self.pattern.refuses(shape, channels)

    def setting(self, level: float) -> float:
        """The level itself."""
        return level

    def without_moments(self) -> "Sparsity":
        """Magnitude, in the same pattern, the others left as they are."""
        return make_sparsity(f"{PLAIN}:{self.pattern_name}") if self.needs_moments else self

    def updated_by(self, update: str) -> "Sparsity":
        """The same with this update; none for an empty name."""
        return replace(self, update_name=update, update=updates.get(update)() if update else None)


def make_technique(spec: str) -> Technique:
    """The name of another kind, such as `bits`; else a sparsity, as `make_sparsity` reads it.

    Raises:
        UsageError: as that does.
    """
    if spec in kinds.table or (":" not in spec and "+" not in spec and spec in kinds.names()):
        return kinds.get(spec)()
    return make_sparsity(spec)


def make_sparsity(spec: str) -> Sparsity:
    """`criterion`, `criterion@seed` for one that draws lots; either with `:pattern`, `+update`, or both.

    Raises:
        UsageError: no such criterion, pattern or update, and the message lists them; or a seed that is none.
    """
    masks, _, update = spec.partition("+")
    named, _, pattern = masks.partition(":")
    name, marked, seed = named.partition("@")
    kind: Callable[..., Criterion] = criteria.get(name)
    seeded = "seed" in signature(kind).parameters
    if marked and not seeded:
        raise UsageError(f"--technique '{spec}' has a seed, and {name} draws no lots; leave '@{seed}' out")
    if marked and not (seed.isascii() and seed.isdecimal()):
        raise UsageError(f"--technique '{spec}' has the seed '{seed}'; give a whole number, such as {name}@1")
    number = int(seed or 0)
    criterion = kind(seed=number) if seeded else kind()
    pattern = pattern or UNSTRUCTURED
    made = Sparsity(f"{name}@{number}" if seeded else name, pattern, criterion, make_pattern(pattern))
    return made.updated_by(update)


def control_of(technique: Technique, seed: int) -> Sparsity:
    """Random pruning in the same pattern and with the same update: what a technique has to beat.

    Raises:
        UsageError: the technique is random itself, or zeroes nothing.
    """
    if not isinstance(technique, Sparsity):
        raise UsageError(f"technique '{technique.name}' zeroes nothing, so random pruning is no match for it")
    if technique.criterion_name.startswith(f"{CONTROL}@"):
        raise UsageError("the technique is random already, so there is nothing to compare it with; leave --control out")
    return make_sparsity(f"{CONTROL}@{seed}:{technique.pattern_name}").updated_by(technique.update_name)
