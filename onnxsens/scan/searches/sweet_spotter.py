"""Sweet-Spotter: look at the whole range, then ever closer at the place where it pays most.

The axis is any positive parameter, on a logarithmic scale. For sparsity s it is the compression ratio
r = 1 / (1 - s): half the weights of 90 % and of 99 % are as far apart as they should be.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import ClassVar

from onnxsens.errors import UsageError
from onnxsens.scan.searches.search import DENSE_POINT, Acceptance, Conversation, Level, Observed, Pick

PARTS = 5  # a bracket is divided into so many parts, equal in the logarithm


@dataclass(frozen=True)
class Axis:
    """A positive parameter, and the level that it stands for.

    Args:
        low, high: the range that is searched; `low` is where nothing has been done yet.
        level: parameter to level, increasing.
    """

    low: float
    high: float
    level: Callable[[float], Level]


def sparsity_at(ratio: float) -> Level:
    """Sparsity of a compression ratio: what 1 in `ratio` leaves."""
    return round(1 - 1 / ratio, 10)


COMPRESSION_RATIO = Axis(1.0, 100.0, sparsity_at)


@dataclass(frozen=True)
class SweetSpotter:
    """The sweet spot of a curve, found by rounds that each look five times closer.

    The sweet spot is the highest accepted ratio where there is a tolerance, else the knee. Unlike Top-Down it sees
    both sides of the curve, so it survives curves that are not monotone.

    Args:
        per_decade: points of the first round in a tenfold range, at least 5.
        resolution: how narrow the bracket becomes, in units of the level.
        cap: how many levels may be asked for.
        start: where the answer is expected, if there is a tolerance; of the first round only the points around it are
            asked for, and further ones until both an accepted and a rejected one are known.
    """

    needs_tolerance: ClassVar[bool] = False

    per_decade: int = 5
    resolution: float = 0.01
    cap: int = 18  # ten of the first round, and two closer looks
    axis: Axis = COMPRESSION_RATIO
    start: Level | None = None

    def __post_init__(self) -> None:
        if self.per_decade < 5:
            raise UsageError(f"{self.per_decade} points to a decade are too few; take at least 5")
        if not 0 < self.resolution <= 1:
            raise UsageError(f"resolution {self.resolution} is not in (0, 1]; it is a distance in levels")
        if not 0 < self.axis.low < self.axis.high:
            raise UsageError(f"axis from {self.axis.low} to {self.axis.high} is empty or not positive")

    @property
    def most(self) -> int:
        """The cap."""
        return self.cap

    @property
    def foreseen(self) -> tuple[Level, ...]:
        """The first round, as far as the cap allows; nothing where the answer is expected somewhere."""
        levels = map(self.axis.level, self._first_round()) if self.start is None else ()
        return tuple(level for level in levels if level > 0)[: self.cap]

    def starting_at(self, level: Level) -> "SweetSpotter":
        """The same with less of a first round."""
        return replace(self, start=level)

    def search(self, accepts: Acceptance | None) -> Conversation:
        """Round after round, until the bracket is narrow enough or the cap is reached."""
        points: dict[float, Observed] = {}
        asked = 0
        parameters = self._first_round()
        if accepts and self.start is not None:
            if self.axis.level(self.axis.low) == 0:
                points[self.axis.low] = DENSE_POINT  # which is accepted, where the cap ends it before anything else is
            asked = yield from self._around(self.start, parameters, points, accepts)
            parameters = []
        while True:
            fresh = [parameter for parameter in parameters if parameter not in points][: self.cap - asked]
            asked += yield from self._measure(fresh, points)
            spot = highest_accepted(points, accepts) if accepts else knee(points)
            low, high = bracket(points, spot, both_sides=accepts is None)
            narrow = self.axis.level(high) - self.axis.level(low) <= self.resolution + 1e-9
            if narrow or asked >= self.cap:
                return self._pick(spot, accepts is None, stopped=not narrow)
            parameters = spread(low, high, PARTS)

    def _first_round(self) -> list[float]:
        """Its parameters."""
        parts = math.ceil(self.per_decade * math.log10(self.axis.high / self.axis.low) - 1e-9)
        return spread(self.axis.low, self.axis.high, parts)

    def _around(
        self, start: Level, parameters: list[float], points: dict[float, Observed], accepts: Acceptance
    ) -> Generator[Level, Observed, int]:
        """Points of the first round, from the last one at or below `start` outward; how many were asked for."""
        levels = [self.axis.level(parameter) for parameter in parameters]
        low = max((index for index, level in enumerate(levels) if level <= start), default=0)
        asked = yield from self._measure(parameters[low : low + 1], points)
        step = 1 if accepts(points[parameters[low]]) else -1
        while asked < self.cap and 0 <= low + step < len(parameters):
            low += step
            asked += yield from self._measure(parameters[low : low + 1], points)
            if accepts(points[parameters[low]]) != (step == 1):
                break
        return asked

    def _measure(self, parameters: list[float], points: dict[float, Observed]) -> Generator[Level, Observed, int]:
        """Ask for these parameters, and count the questions; the dense weight is known."""
        asked = 0
        for parameter in parameters:
            level = self.axis.level(parameter)
            if level == 0:
                points[parameter] = DENSE_POINT
                continue
            points[parameter] = yield level
            asked += 1
        return asked

    def _pick(self, spot: float, is_knee: bool, *, stopped: bool) -> Pick:
        level = self.axis.level(spot)
        if is_knee:
            why = "the knee of the curve"
        elif level == 0:
            why = "no level was accepted"
        else:
            why = "the highest accepted ratio"
        return Pick(level, f"{why}; stopped after {self.cap} levels" if stopped else why)


def spread(low: float, high: float, parts: int) -> list[float]:
    """`parts` intervals between `low` and `high`, equal in the logarithm; both ends exactly."""
    inner = [low * (high / low) ** (position / parts) for position in range(1, parts)]
    return [low, *inner, high]


def highest_accepted(points: dict[float, Observed], accepts: Acceptance) -> float:
    """The highest parameter whose drop is accepted; the lowest one of all where none is."""
    return max((parameter for parameter, point in points.items() if accepts(point)), default=min(points))


def knee(points: dict[float, Observed]) -> float:
    """Where the normalised drop lies farthest below its chord over log r; the lowest parameter for a flat curve.

    Failed points are left out.
    """
    known = sorted((parameter, point.drop) for parameter, point in points.items() if not math.isnan(point.drop))
    first, last = known[0], known[-1]
    rise = last[1] - first[1]
    if len(known) < 3 or rise <= 0:
        return last[0] if len(known) > 1 and rise <= 0 else first[0]
    span = math.log(last[0] / first[0])
    return max(known, key=lambda item: math.log(item[0] / first[0]) / span - (item[1] - first[1]) / rise)[0]


def bracket(points: dict[float, Observed], spot: float, *, both_sides: bool) -> tuple[float, float]:
    """The neighbours around the spot: from it to the next higher one, or from the one below to the one above."""
    ordered = sorted(points)
    position = ordered.index(spot)
    high = ordered[min(position + 1, len(ordered) - 1)]
    low = ordered[max(position - 1, 0)] if both_sides else spot
    return low, high
