"""Top-Down: from everything pruned downward, until it is good enough."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
        start: where the answer is expected; the walk then begins there, goes up while levels are accepted or down until
            one is, in strides that double, and is blind to what lies beyond.
    """

    needs_tolerance: ClassVar[bool] = True

    step: float = 0.05
    resolution: float = 0.01
    start: Level | None = None

    def __post_init__(self) -> None:
        if not 0 < self.step <= 1:
            raise UsageError(f"step {self.step} is not in (0, 1]; it is a distance in sparsity")
        if not 0 < self.resolution <= 1:
            raise UsageError(f"resolution {self.resolution} is not in (0, 1]; it is a distance in sparsity")
        if self.start is not None and not 0 <= self.start <= 1:
            raise ValueError(f"start {self.start} is not in [0, 1]")

    @property
    def most(self) -> int:
        """All the way down, and one bisection; from a start all the way in strides that first grow."""
        halvings = max(0, math.ceil(math.log2(self.step / self.resolution)))
        return math.ceil(1 / self.step) + halvings + (0 if self.start is None else halvings + 1)

    @property
    def foreseen(self) -> tuple[Level, ...]:
        """None: the first answer may be the last."""
        return ()

    def starting_at(self, level: Level) -> "TopDown":
        """On the way that begins at this level."""
        return replace(self, start=min(max(level, 0.0), 1.0))

    def search(self, accepts: Acceptance | None) -> Conversation:
        """At most `1 / step + log2(step / resolution)` levels are asked for, each rounded up."""
        if accepts is None:
            raise ValueError("Top-Down cannot tell when to stop without a tolerance")
        if self.start is not None:
            return (yield from self._around(self.start, accepts))
        rejected: Level = 1.0
        for level in descending(self.step):
            point = yield level
            if accepts(point):
                if level == 1:
                    return Pick(level, "the whole weight can go")
                return (yield from self._refine(level, rejected, accepts))
            rejected = level
        # Nothing but the dense weight itself is left below the lowest step, and that is always accepted.
        return (yield from self._refine(0.0, rejected, accepts))

    def _around(self, start: Level, accepts: Acceptance) -> Conversation:
        """Stride out from `start` until the answer lies between two levels."""
        stride = min(self.resolution, self.step)
        level = max(round(round(start / stride) * stride, 10), stride)
        level = min(level, 1.0)
        accepted, rejected = 0.0, None
        if accepts((yield level)):
            accepted = level
            while accepted < 1:
                stride = min(2 * stride, self.step)
                level = min(round(accepted + stride, 10), 1.0)
                if not accepts((yield level)):
                    rejected = level
                    break
                accepted = level
            if rejected is None:
                return Pick(accepted, "the whole weight can go")
        else:
            rejected = level
            while rejected > self.resolution + 1e-9:
                stride = min(2 * stride, self.step)
                level = round(rejected - stride, 10)
                if level <= 0:
                    break
                if accepts((yield level)):
                    accepted = level
                    break
                rejected = level
        return (yield from self._refine(accepted, rejected, accepts))

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
