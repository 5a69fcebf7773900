"""Levels that a weight may have, whatever a picker would like: a range, and of a few levels only those."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.plan.constraints import FREE, Range
from onnxsens.plan.pickers.picker import Family
from onnxsens.scan.searches import Level

ROUNDING = 1e-9


@dataclass(frozen=True)
class Allowed:
    """What one weight may have.

    Attributes:
        levels: the only ones besides 0; any in the range, where there are none.

    Raises:
        ValueError: none of the levels is in the range.
    """

    range: Range = FREE
    levels: tuple[Level, ...] = ()

    def __post_init__(self) -> None:
        if self.levels and not self._offered:
            raise ValueError(f"no level of 0 and {self.levels} is in [{self.range.low}, {self.range.high}]")

    @property
    def _offered(self) -> list[Level]:
        """Of a few levels those in the range."""
        low, high = self.range.low - ROUNDING, self.range.high + ROUNDING
        return [each for each in (0.0, *self.levels) if low <= each <= high]

    @property
    def fixed(self) -> bool:
        """Whether it stays dense."""
        return self.range.high == 0

    def nearest(self, level: Level) -> Level:
        """Into the range; of a few levels in it the highest one that is not above, so that it is never less dense.

        Where all of them are above, the least.
        """
        inside = min(max(level, self.range.low), self.range.high)
        if not self.levels:
            return inside
        return max((each for each in self._offered if each <= inside + ROUNDING), default=min(self._offered))


AnyLevel = Mapping[str, Allowed]


class Within(Family):
    """Another family's plans, every level moved to one that is allowed."""

    kind = ""

    def __init__(self, family: Family, allowed: AnyLevel) -> None:
        self._family = family
        self._allowed = allowed
        self.kind = family.kind  # type: ignore[misc]  # of the family that it stands for
        self.highest, self.start = family.highest, family.start
        self.stride, self.precision = family.stride, family.precision
        self.gap = family.gap

    def propose(self, boldness: float) -> dict[str, Level]:
        """Of the family, moved."""
        levels = moved(self._family.propose(boldness), self._allowed)
        self.gap = self._family.gap
        return levels

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level] | None:
        """Of the family, moved."""
        found = self._family.settle(boldness, most)
        return None if found is None else moved(found, self._allowed)


def moved(levels: Mapping[str, Level], allowed: AnyLevel) -> dict[str, Level]:
    """Every level to one that is allowed."""
    return {name: allowed[name].nearest(level) if name in allowed else level for name, level in levels.items()}
