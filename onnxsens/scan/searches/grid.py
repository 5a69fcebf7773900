"""Every level of a fixed list: whole curves, no decisions."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.errors import UsageError
from onnxsens.scan.searches.search import Acceptance, Conversation, Level, Pick

NINE = tuple(round(0.1 * step, 10) for step in range(1, 10))


@dataclass(frozen=True)
class Grid:
    """Measure `levels` from the lowest up; pick the highest accepted one.

    Args:
        levels: each in (0, 1].
    """

    needs_tolerance: ClassVar[bool] = False

    levels: tuple[Level, ...] = NINE

    def __post_init__(self) -> None:
        for level in self.levels:
            if not 0 < level <= 1:
                raise UsageError(f"level {level} is not in (0, 1]; levels are fractions of zeros")

    @property
    def most(self) -> int:
        """One a level."""
        return len(set(self.levels))

    @property
    def foreseen(self) -> tuple[Level, ...]:
        """All of them."""
        return tuple(sorted(set(self.levels)))

    def starting_at(self, level: Level) -> "Grid":
        """Itself: every level is asked for anyway."""
        return self

    def search(self, accepts: Acceptance | None) -> Conversation:
        """Ask for every level. Without a tolerance the pick stays at the dense weight."""
        pick = Pick(0.0, "no level was accepted" if accepts else "no tolerance was given")
        for level in self.foreseen:
            point = yield level
            if accepts and accepts(point):
                pick = Pick(level, "the highest accepted level of the grid")
        return pick
