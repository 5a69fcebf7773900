"""Top-Down: from everything pruned downward, until it is good enough."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from onnxsens.errors import UsageError
from onnxsens.scan.searches.search import Acceptance, Conversation, Level, Pick


@dataclass(frozen=True)
class TopDown:
    """The highest sparsity that is accepted, looked for from 100 % downward.

    100 % itself is tried: a layer may be dead. Blind to what lies below the first accepted level.

    Args:
        step: distance of the levels on the way down, in sparsity.
        resolution: how narrow the bracket between accepted and rejected becomes; `step` or more refines nothing.
    """

    needs_tolerance: ClassVar[bool] = True

    step: float = 0.05
    resolution: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise UsageError(f"step {self.step} is not in (0, 1]; it is a distance in sparsity")
        if not 0 < self.resolution <= 1:
            raise UsageError(f"resolution {self.resolution} is not in (0, 1]; it is a distance in sparsity")

    @property
    def most(self) -> int:
        """All the way down, and one bisection."""
        return math.ceil(1 / self.step) + max(0, math.ceil(math.log2(self.step / self.resolution)))

    def search(self, accepts: Acceptance | None) -> Conversation:
        """At most `1 / step + log2(step / resolution)` levels are asked for, each rounded up."""
        if accepts is None:
            raise ValueError("Top-Down cannot tell when to stop without a tolerance")
        rejected: Level | None = None
        for level in descending(self.step):
            point = yield level
            if not accepts(point):
                rejected = level
                continue
            if rejected is None:
                return Pick(level, "the whole weight can go")
            return (yield from self._refine(level, rejected, accepts))
        # Nothing but the dense weight itself is left below the lowest step, and that is always accepted.
        return (yield from self._refine(0.0, rejected or self.step, accepts))

    def _refine(self, accepted: Level, rejected: Level, accepts: Acceptance) -> Conversation:
        """Bisect between an accepted level and the rejected one above it."""
        while rejected - accepted > self.resolution + 1e-9:
            level = round((accepted + rejected) / 2, 10)
            point = yield level
            if accepts(point):
                accepted = level
            else:
                rejected = level
        if accepted == 0:
            return Pick(0.0, "no level was accepted")
        return Pick(accepted, f"accepted, while {rejected:.4g} is not")


def descending(step: float) -> Iterator[Level]:
    """1, 1 - step, ... down to the last one above 0; computed, not accumulated, so that levels repeat exactly."""
    position = 0
    while (level := round(1 - position * step, 10)) > 0:
        yield level
        position += 1
