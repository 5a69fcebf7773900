"""Levels that weights may have: laws over ranges and few levels, and a family whose plans are moved there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.plan.constraints import Range
from onnxsens.plan.pickers.allowed import Allowed, Within, moved
from onnxsens.plan.pickers.picker import TargetFamily

levels = st.floats(0, 1)
fews = st.lists(st.sampled_from([0.25, 0.5, 0.6, 2 / 3, 0.75, 0.9]), max_size=4, unique=True).map(sorted).map(tuple)


@st.composite
def limits(draw: st.DrawFn) -> Allowed:
    """A range, and levels of which one at least is in it, or none."""
    few = draw(fews)
    low, high = sorted((draw(levels), draw(levels)))
    if few:
        inside = draw(st.sampled_from([0.0, *few]))
        low, high = min(low, inside), max(high, inside)
    return Allowed(Range(low, high, "--min and --max"), few)


@given(limits(), levels)
def test_the_nearest_is_in_the_range_and_one_of_the_few(allowed: Allowed, level: float) -> None:
    found = allowed.nearest(level)
    assert allowed.range.low - 1e-9 <= found <= allowed.range.high + 1e-9
    assert not allowed.levels or found in (0.0, *allowed.levels)


@given(limits(), levels)
def test_what_is_allowed_stays(allowed: Allowed, level: float) -> None:
    found = allowed.nearest(level)
    assert allowed.nearest(found) == found


@given(limits(), levels, levels)
def test_a_higher_level_is_never_moved_below_a_lower_one(allowed: Allowed, one: float, other: float) -> None:
    assert allowed.nearest(min(one, other)) <= allowed.nearest(max(one, other))


@given(limits(), levels)
def test_it_never_goes_up_unless_the_range_asks_for_it(allowed: Allowed, level: float) -> None:
    found = allowed.nearest(level)
    lower = [each for each in (0.0, *allowed.levels) if allowed.range.low <= each <= level]
    if level >= allowed.range.low and (lower or not allowed.levels):
        assert found <= level + 1e-9


@pytest.mark.parametrize(
    ("low", "high", "few", "level", "nearest"),
    [
        (0.0, 1.0, (0.5,), 0.49, 0.0),
        (0.0, 1.0, (0.5,), 0.5 - 1e-12, 0.5),
        (0.0, 1.0, (0.5,), 1.0, 0.5),
        (0.3, 1.0, (0.5,), 0.0, 0.5),
        (0.0, 0.4, (0.5,), 1.0, 0.0),
        (0.6, 0.85, (0.7, 0.8, 0.9), 0.75, 0.7),
        (0.75, 1.0, (0.7, 0.8, 0.9), 0.1, 0.8),
        (0.2, 0.3, (), 0.7, 0.3),
        (0.2, 0.3, (), 0.1, 0.2),
    ],
)
def test_by_hand(low: float, high: float, few: tuple[float, ...], level: float, nearest: float) -> None:
    assert Allowed(Range(low, high, "--min"), few).nearest(level) == nearest


def test_a_range_without_any_of_the_few_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="no level of 0 and"):
        Allowed(Range(0.1, 0.4, "--pin"), (0.5,))


def test_only_what_has_to_stay_dense_is_fixed() -> None:
    assert Allowed(Range(0.0, 0.0, "--freeze")).fixed
    assert not Allowed(Range(0.0, 0.1, "--max")).fixed
    assert not Allowed().fixed


def test_a_family_within_limits_proposes_what_is_allowed_and_else_what_it_did() -> None:
    family = TargetFamily(lambda target: {"a": target, "b": target, "c": target})
    within = Within(family, {"a": Allowed(Range(0.2, 0.3, "--min")), "b": Allowed(levels=(0.5,))})
    assert within.propose(0.6) == {"a": 0.3, "b": 0.5, "c": 0.6}
    assert within.propose(0.1) == {"a": 0.2, "b": 0.0, "c": 0.1}
    assert (within.kind, within.highest, within.start, within.stride, within.precision) == (
        family.kind,
        family.highest,
        family.start,
        family.stride,
        family.precision,
    )
    assert within.settle(0.5) is None


class Settling(TargetFamily):
    """Finds other levels than it proposes, by as many samples as it may take; its gap is what was asked for last."""

    gap = 0.25

    def propose(self, boldness: float) -> dict[str, float]:
        self.gap = boldness
        return super().propose(boldness)

    def settle(self, boldness: float, most: int | None = None) -> dict[str, float]:
        return {"a": boldness, "b": 1.0 if most is None else most / 10}


def test_what_a_family_within_limits_settles_on_is_moved_and_its_gap_is_that_of_the_family() -> None:
    family = Settling(lambda target: {"a": target, "b": target})
    within = Within(family, {"a": Allowed(Range(0.2, 0.3, "--min"))})
    assert within.gap == 0.25
    assert within.settle(0.6) == {"a": 0.3, "b": 1.0}
    assert within.settle(0.25, 4) == {"a": 0.25, "b": 0.4}
    assert within.propose(0.5) == {"a": 0.3, "b": 0.5}
    assert within.gap == 0.5


def test_weights_of_which_nothing_is_said_keep_their_level() -> None:
    assert moved({"a": 0.7, "b": 0.7}, {"a": Allowed(Range(0.0, 0.5, "--max"))}) == {"a": 0.5, "b": 0.7}
