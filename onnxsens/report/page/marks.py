"""Intervals as small drawings: where a dot, a bar and a limit lie on an axis that rows share. Knows numbers only."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

WIDTH = 100.0  # of the drawing's own units
EDGE = 3.0  # left free on either side


@dataclass(frozen=True)
class Mark:
    """One row, in the drawing's units from left to right.

    Attributes:
        low, high: of the bar; None where there is no interval.
        limit: None where there is none.
        zero: where nothing is lost.
    """

    dot: float
    low: float | None
    high: float | None
    zero: float
    limit: float | None


@dataclass(frozen=True)
class Scale:
    """An axis from the smallest to the largest of what is on it, with 0."""

    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Scale":
        """The axis that has all of these."""
        known = [value for value in values if value is not None and isfinite(value)]
        least, most = min(0.0, *known, 0.0), max(0.0, *known, 0.0)
        return cls(least, most if most > least else least + 1.0)

    def at(self, value: float) -> float:
        """Where a value is; what is no number is at the end."""
        share = (value - self.least) / (self.most - self.least) if isfinite(value) else 1.0
        return round(EDGE + share * (WIDTH - 2 * EDGE), 2)

    def mark(self, dot: float, low: float | None, high: float | None, limit: float | None = None) -> Mark:
        """A row on this axis."""
        return Mark(
            self.at(dot),
            None if low is None else self.at(low),
            None if high is None else self.at(high),
            self.at(0.0),
            None if limit is None else self.at(limit),
        )
