"""A search is a conversation about levels: ask for one, be told what it costs, in the end make a pick.

Generators, pure: they know no model, no store, no weight. Whoever drives one answers from wherever it likes.
"""

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

Level: TypeAlias = float


@dataclass(frozen=True)
class Observed:
    """What a probe said: the drop at a level, NaN where it could not be measured."""

    level: Level
    drop: float


@dataclass(frozen=True)
class Pick:
    """The level a search ends with, 0 for the dense weight, and why."""

    level: Level
    why: str


Acceptance: TypeAlias = Callable[[Observed], bool]
Conversation: TypeAlias = Generator[Level, Observed, Pick]


class Search(Protocol):
    """One way to look for the best level of one weight."""

    needs_tolerance: ClassVar[bool]

    @property
    def most(self) -> int:
        """The most levels that it asks for."""

    @property
    def foreseen(self) -> tuple[Level, ...]:
        """Levels that it asks for whatever the answers are; they may be measured together before it begins."""

    def starting_at(self, level: Level) -> "Search":
        """The same search for a weight whose answer is expected there; itself where that makes no difference."""

    def search(self, accepts: Acceptance | None) -> Conversation:
        """Ask for levels, be told points, return the pick.

        Args:
            accepts: whether a drop is within the tolerance; None where there is no tolerance.
        """


def tolerance(limit: float) -> Acceptance:
    """Accepted: a drop of at most `limit`. An improvement always is, a failed measurement never."""

    def accepts(point: Observed) -> bool:
        return not math.isnan(point.drop) and point.drop <= max(limit, 0.0)

    return accepts


DENSE_POINT = Observed(0.0, 0.0)
PROBE_LEVEL = round(1 - 10 ** (-2 / 5), 10)  # 60 %: the middle of most curves, and a level that Sweet-Spotter measures
