"""The laws that every search keeps, as tests for whoever writes one:

    class TestMine(SearchContract):
        @pytest.fixture
        def search(self) -> Search:
            return Mine()

Run by pytest, which this module does not import.
"""

import math
from collections.abc import Callable
from typing import ClassVar

from onnxsens.scan.searches.search import Acceptance, Level, Observed, Pick, Search, tolerance

CurveOf = Callable[[Level], float]


def cliff(at: Level) -> CurveOf:
    """Nothing lost up to `at`, everything above."""
    return lambda level: 0.0 if level <= at + 1e-12 else 1.0


def flat(level: Level) -> float:
    """Nothing is ever lost."""
    return 0.0


def improving(level: Level) -> float:
    """The sparser, the better."""
    return -level


def hopeless(level: Level) -> float:
    """Everything is lost at once."""
    return 1.0


def dip(level: Level) -> float:
    """Not monotone: bad around 30 %, good again from 35 to 60 %, bad above."""
    return 0.5 if 0.25 < level < 0.35 or level > 0.6 else 0.0


def noisy(level: Level) -> float:
    """Rising, with a ripple that is finer than any step."""
    return 0.4 * level**2 + 0.05 * math.sin(9973 * level)


def failing(level: Level) -> float:
    """No point can be measured."""
    return math.nan


def drive(search: Search, curve: CurveOf, accepts: Acceptance | None) -> tuple[Pick, list[Level]]:
    """Let a search talk to a curve; its pick, and the levels it asked for."""
    asked: list[Level] = []
    conversation = search.search(accepts)
    try:
        level = next(conversation)
        while True:
            asked.append(level)
            level = conversation.send(Observed(level, curve(level)))
    except StopIteration as end:
        pick: Pick = end.value
        return pick, asked


class SearchContract:
    """Subclass it with a fixture `search`."""

    curves: ClassVar[tuple[CurveOf, ...]] = (
        flat,
        improving,
        hopeless,
        dip,
        noisy,
        failing,
        cliff(0.5),
        cliff(0.0),
        cliff(1.0),
    )
    limits: ClassVar[tuple[float, ...]] = (0.0, 0.2)

    def test_levels_are_in_0_1_none_is_asked_twice_and_the_bound_holds(self, search: Search) -> None:
        for curve in self.curves:
            for limit in self.limits:
                _, asked = drive(search, curve, tolerance(limit))
                assert all(0 < level <= 1 for level in asked)
                assert len(asked) == len(set(asked)) <= search.most

    def test_the_pick_was_asked_for_and_accepted_or_is_the_dense_weight(self, search: Search) -> None:
        for curve in self.curves:
            for limit in self.limits:
                pick, asked = drive(search, curve, tolerance(limit))
                assert pick.level == 0 or (pick.level in asked and curve(pick.level) <= limit)
                assert pick.why

    def test_it_asks_the_same_again(self, search: Search) -> None:
        for curve in self.curves:
            assert drive(search, curve, tolerance(0.1)) == drive(search, curve, tolerance(0.1))

    def test_it_does_without_a_tolerance_if_it_says_so(self, search: Search) -> None:
        if not search.needs_tolerance:
            for curve in self.curves:
                assert 0 <= drive(search, curve, None)[0].level <= 1
