"""The searches, against curves that are known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.errors import UsageError
from onnxsens.scan import Grid, Pick, Search, SweetSpotter, TopDown, searches, tolerance
from onnxsens.scan.searches import Observed
from onnxsens.scan.searches.contract import (
    CurveOf,
    SearchContract,
    cliff,
    dip,
    drive,
    failing,
    flat,
    hopeless,
    improving,
)
from onnxsens.scan.searches.sweet_spotter import Axis, knee, spread


class TestTopDown:
    def test_it_asks_from_the_top_down_and_bisects_below_the_last_rejected_level(self) -> None:
        pick, asked = drive(TopDown(), cliff(0.83), tolerance(0.01))
        assert asked == [1.0, 0.95, 0.9, 0.85, 0.8, 0.825, 0.8375, 0.83125]
        assert pick.level == 0.825

    def test_a_dead_layer_goes_at_the_first_question(self) -> None:
        for curve in (flat, improving):
            pick, asked = drive(TopDown(), curve, tolerance(0.0))
            assert (pick.level, asked) == (1.0, [1.0])

    @pytest.mark.parametrize("curve", [hopeless, failing])
    def test_where_nothing_is_accepted_the_weight_stays_dense(self, curve: CurveOf) -> None:
        pick, asked = drive(TopDown(), curve, tolerance(0.5))
        assert pick.level == 0
        assert asked[:20] == [pytest.approx(1 - 0.05 * i) for i in range(20)]
        assert min(asked) > 0

    def test_a_cliff_below_the_lowest_step_is_still_found(self) -> None:
        pick, _ = drive(TopDown(), cliff(0.03), tolerance(0.0))
        assert 0.02 <= pick.level <= 0.03

    def test_it_stops_at_the_first_accepted_level_and_does_not_see_below(self) -> None:
        pick, asked = drive(TopDown(), dip, tolerance(0.1))
        assert 0.59 <= pick.level <= 0.6
        assert min(asked) == 0.6

    def test_a_step_as_fine_as_the_resolution_refines_nothing(self) -> None:
        _, asked = drive(TopDown(0.1, 0.1), cliff(0.55), tolerance(0.0))
        assert asked == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]

    def test_the_pick_says_what_was_found(self) -> None:
        assert drive(TopDown(), flat, tolerance(0.0))[0] == Pick(1.0, "the whole weight can go")
        assert drive(TopDown(), hopeless, tolerance(0.0))[0] == Pick(0.0, "no level was accepted")
        assert drive(TopDown(), cliff(0.83), tolerance(0.0))[0] == Pick(0.825, "accepted, while 0.8313 is not")

    def test_below_the_lowest_step_it_bisects_from_that_step(self) -> None:
        _, asked = drive(TopDown(0.3), hopeless, tolerance(0.0))
        assert asked == [1.0, 0.7, 0.4, 0.1, 0.05, 0.025, 0.0125, 0.00625]

    def test_levels_have_ten_digits_at_most_whatever_the_step(self) -> None:
        for start in (None, 0.413):
            for edge in (0.0, 0.8):
                pick, asked = drive(TopDown(1 / 3, 1 / 700, start), cliff(edge), tolerance(0.0))
                assert all(level == round(level, 10) for level in (*asked, pick.level))

    def test_it_cannot_do_without_a_tolerance(self) -> None:
        assert TopDown.needs_tolerance
        with pytest.raises(ValueError, match=r"^Top-Down cannot tell when to stop without a tolerance$"):
            drive(TopDown(), flat, None)

    @given(st.floats(0, 1), st.sampled_from([0.02, 0.05, 0.1, 0.3]), st.sampled_from([0.005, 0.01, 0.02]))
    def test_the_pick_is_within_the_resolution_below_any_cliff(self, at: float, step: float, resolution: float) -> None:
        pick, asked = drive(TopDown(step, resolution), cliff(at), tolerance(0.0))
        assert pick.level <= at + 1e-9
        assert at - pick.level <= resolution + 1e-9
        most = math.ceil(1 / step) + max(0, math.ceil(math.log2(step / resolution)))
        assert len(asked) <= most == TopDown(step, resolution).most


class TestTopDownFromAStart:
    """Strides of the resolution that double up to the step; by hand, with 0.01 and 0.05."""

    @pytest.mark.parametrize(
        ("start", "edge", "asked", "picked"),
        [
            (0.62, 0.65, [0.62, 0.64, 0.68, 0.66, 0.65], 0.65),
            (0.62, 0.55, [0.62, 0.6, 0.56, 0.51, 0.535, 0.5475, 0.55375], 0.5475),
            (0.62, 1.0, [0.62, 0.64, 0.68, 0.73, 0.78, 0.83, 0.88, 0.93, 0.98, 1.0], 1.0),
            (0.98, 0.995, [0.98, 1.0, 0.99], 0.99),
            (0.1, -1.0, [0.1, 0.08, 0.04, 0.02, 0.01], 0.0),
            (0.06, 0.015, [0.06, 0.04, 0.02, 0.01], 0.01),
            (0.03, 0.01, [0.03, 0.01, 0.02], 0.01),
            (0.0, -1.0, [0.01], 0.0),
            (0.0, 0.01, [0.01, 0.03, 0.02], 0.01),
            (1.0, 1.0, [1.0], 1.0),
            (0.6249, 0.62, [0.62, 0.64, 0.63], 0.62),
        ],
    )
    def test_it_strides_out_until_the_answer_lies_between_two_levels(
        self, start: float, edge: float, asked: list[float], picked: float
    ) -> None:
        pick, found = drive(TopDown().starting_at(start), cliff(edge), tolerance(0.0))
        assert (found, pick.level) == (asked, picked)

    def test_a_stride_is_never_longer_than_the_step(self) -> None:
        pick, asked = drive(TopDown(0.02, 0.05, 0.5), cliff(0.56), tolerance(0.0))
        assert (asked, pick.level) == ([0.5, 0.52, 0.54, 0.56, 0.58], 0.56)
        pick, asked = drive(TopDown(0.02, 0.05, 0.5), cliff(0.46), tolerance(0.0))
        assert (asked, pick.level) == ([0.5, 0.48, 0.46], 0.46)
        # Down to the resolution, below which nothing is told apart.
        assert drive(TopDown(0.02, 0.04, 0.04), hopeless, tolerance(0.0))[1] == [0.04]

    def test_the_first_level_is_a_multiple_of_the_stride_in_0_1(self) -> None:
        assert drive(TopDown(0.35, 0.4, 0.99), flat, tolerance(0.0))[1] == [1.0]
        assert drive(TopDown(0.35, 0.4, 0.01), hopeless, tolerance(0.0))[1] == [0.35]

    def test_the_pick_says_what_was_found(self) -> None:
        assert drive(TopDown(start=0.62), cliff(0.65), tolerance(0.0))[0].why == "accepted, while 0.66 is not"
        assert drive(TopDown(start=0.62), flat, tolerance(0.0))[0].why == "the whole weight can go"
        assert drive(TopDown(start=0.62), hopeless, tolerance(0.0))[0].why == "no level was accepted"

    def test_it_is_the_same_search_but_for_the_start_which_is_a_level(self) -> None:
        search = TopDown(0.1, 0.02)
        assert search.starting_at(0.4) == TopDown(0.1, 0.02, 0.4)
        assert [search.starting_at(level).start for level in (-0.1, 0.0, 1.0, 1.1)] == [0.0, 0.0, 1.0, 1.0]

    @settings(deadline=None)  # the machine may be busy
    @given(st.floats(0, 1), st.floats(0, 1))
    def test_the_pick_is_within_the_resolution_below_any_cliff(self, start: float, at: float) -> None:
        search = TopDown(start=start)
        pick, asked = drive(search, cliff(at), tolerance(0.0))
        assert at - 0.01 - 1e-9 <= pick.level <= at + 1e-9
        assert len(asked) == len(set(asked)) <= search.most


class TestSweetSpotterFromAStart:
    ROUND = tuple(round(1 - 10 ** (-k / 5), 10) for k in range(11))  # 0, 0.369, 0.602, 0.749, 0.842, 0.9, ...

    @pytest.mark.parametrize(
        ("start", "edge", "places"),
        [
            (0.75, 0.85, [3, 4, 5]),
            (0.75, 0.5, [3, 2, 1]),
            (ROUND[4], 0.85, [4, 5]),
            (0.75, -1.0, [3, 2, 1]),  # the one below is the dense weight, which is known
            (0.0, 0.3, [1]),
            (0.0, 0.5, [1, 2]),
            (0.961, 1.0, [7, 8, 9, 10]),
            (1.0, 0.98, [10, 9, 8]),
        ],
    )
    def test_it_looks_outward_until_one_is_accepted_and_its_neighbour_is_not(
        self, start: float, edge: float, places: list[int]
    ) -> None:
        search = SweetSpotter(cap=40).starting_at(start)
        pick, asked = drive(search, cliff(edge), tolerance(0.0))
        first, later = asked[: len(places)], asked[len(places) :]
        assert first == [self.ROUND[place] for place in places]
        low = max((level for level in self.ROUND if level <= edge), default=0.0)
        high = min((level for level in self.ROUND if level > max(edge, 0)), default=1.0)
        assert all(low < level < high for level in later)
        assert max(min(edge, 0.99), 0) - 0.01 - 1e-9 <= pick.level <= max(edge, 0)

    def test_the_cap_holds_on_the_way_out_too(self) -> None:
        for curve, places in ((flat, [3, 4]), (hopeless, [3, 2])):
            _, asked = drive(SweetSpotter(cap=2, start=0.75), curve, tolerance(0.0))
            assert asked == [self.ROUND[place] for place in places]

    @pytest.mark.parametrize("cap", range(1, 9))
    @given(st.floats(0, 1), st.floats(-0.1, 1))
    def test_whatever_the_cap_only_what_was_accepted_is_picked(self, cap: int, start: float, edge: float) -> None:
        pick, asked = drive(SweetSpotter(cap=cap, start=start), cliff(edge), tolerance(0.0))
        assert pick.level == max((level for level in asked if level <= edge), default=0.0)

    def test_a_start_below_the_whole_axis_is_its_lower_end(self) -> None:
        axis = Axis(1, 100, lambda ratio: ratio / 100)
        levels = [axis.level(ratio) for ratio in spread(1, 100, 10)]
        _, asked = drive(SweetSpotter(axis=axis, resolution=1.0, start=0.001), cliff(levels[1]), tolerance(0.0))
        assert asked == levels[:3]

    def test_what_was_asked_on_the_way_counts_toward_the_cap(self) -> None:
        pick, asked = drive(SweetSpotter(cap=6, resolution=1e-4, start=0.75), cliff(0.85), tolerance(0.0))
        assert len(asked) == 6
        assert pick.why == "the highest accepted ratio; stopped after 6 levels"

    def test_the_knee_needs_the_whole_first_round(self) -> None:
        search = SweetSpotter(resolution=1.0)
        assert drive(search.starting_at(0.75), dip, None) == drive(search, dip, None)

    def test_nothing_is_foreseen_and_it_is_the_same_search_but_for_the_start(self) -> None:
        search = SweetSpotter(per_decade=6, resolution=0.02, cap=14)
        assert search.starting_at(0.4) == SweetSpotter(per_decade=6, resolution=0.02, cap=14, start=0.4)
        assert search.starting_at(0.4).foreseen == ()
        assert SweetSpotter(cap=3).foreseen == self.ROUND[1:4]


class TestSweetSpotter:
    def test_the_example_of_the_design(self) -> None:
        """Over [10, 100]: 10, 16, 25, 40, 63, 100; then over the bracket [63, 100]: 63, 69, 76, 83, 91, 100."""
        assert [round(r) for r in spread(10, 100, 5)] == [10, 16, 25, 40, 63, 100]
        asked: list[float] = []
        search = SweetSpotter(axis=Axis(10, 100, float), resolution=1.0, cap=10)
        conversation = search.search(tolerance(70))
        level = next(conversation)
        while len(asked) < 10:
            asked.append(level)
            try:
                level = conversation.send(Observed(level, level))
            except StopIteration:
                break
        assert [round(r) for r in asked[:6]] == [10, 16, 25, 40, 63, 100]
        assert [round(r) for r in asked[6:10]] == [69, 76, 83, 91]

    def test_the_first_round_covers_ratios_from_1_to_100_with_five_to_a_decade(self) -> None:
        _, asked = drive(SweetSpotter(resolution=1.0), hopeless, tolerance(0.0))
        assert asked == [pytest.approx(1 - 10 ** (-k / 5)) for k in range(1, 11)]

    @given(st.floats(0, 0.99))
    def test_the_pick_is_within_the_resolution_below_any_cliff(self, at: float) -> None:
        search = SweetSpotter(resolution=0.01, cap=40)
        pick, asked = drive(search, cliff(at), tolerance(0.0))
        assert pick.level <= at + 1e-9
        assert at - pick.level <= 0.01 + 1e-9
        assert len(asked) == len(set(asked)) <= 40

    def test_it_sees_behind_a_dip_where_a_walk_from_below_would_stop(self) -> None:
        pick, _ = drive(SweetSpotter(), dip, tolerance(0.1))
        assert 0.59 <= pick.level <= 0.6

    def test_it_sees_good_levels_below_a_bad_one_too(self) -> None:
        pick, _ = drive(SweetSpotter(), lambda level: float(level > 0.2), tolerance(0.1))
        assert 0.18 <= pick.level <= 0.2

    def test_the_cap_is_kept_and_said(self) -> None:
        pick, asked = drive(SweetSpotter(resolution=0.0001, cap=12), cliff(0.5), tolerance(0.0))
        assert len(asked) == 12
        assert pick.why == "the highest accepted ratio; stopped after 12 levels"

    def test_a_bracket_that_is_just_as_wide_as_the_resolution_is_narrow_enough(self) -> None:
        axis = Axis(1, 100, lambda ratio: ratio / 100)
        levels = [axis.level(ratio) for ratio in spread(1, 100, 10)]
        for resolution, more in ((levels[10] - levels[9], 0), (levels[10] - levels[9] - 1e-6, 4)):
            _, asked = drive(SweetSpotter(axis=axis, resolution=resolution), cliff(0.7), tolerance(0.0))
            assert len(asked) == len(levels) + more

    def test_everything_accepted_ends_at_the_end_of_the_range(self) -> None:
        for curve in (flat, improving):
            pick, asked = drive(SweetSpotter(), curve, tolerance(0.0))
            assert (pick.level, len(asked)) == (0.99, 10)

    @pytest.mark.parametrize("curve", [hopeless, failing])
    def test_nothing_accepted_leaves_the_weight_dense(self, curve: CurveOf) -> None:
        pick, _ = drive(SweetSpotter(), curve, tolerance(0.1))
        assert (pick.level, pick.why.split(";")[0]) == (0, "no level was accepted")

    def test_the_pick_says_what_was_found(self) -> None:
        search = SweetSpotter(resolution=1.0)
        assert drive(search, flat, tolerance(0.0))[0] == Pick(0.99, "the highest accepted ratio")
        assert drive(search, hopeless, tolerance(0.0))[0] == Pick(0.0, "no level was accepted")
        assert drive(search, hopeless, None)[0].why == "the knee of the curve"
        assert drive(SweetSpotter(cap=11), dip, None)[0].why == "the knee of the curve; stopped after 11 levels"

    def test_a_knee_is_looked_at_from_both_sides_and_an_edge_from_above(self) -> None:
        """The second round lies between the neighbours of the knee; of an edge, between it and the one above."""
        first = [level for level in SweetSpotter().foreseen if level > 0]

        def bent(level: float) -> float:
            return max(0.0, math.log(1 / (1 - level) / 10))

        _, asked = drive(SweetSpotter(cap=14), bent, None)
        assert asked[:10] == first
        assert asked[10:] == [pytest.approx(1 - 10 ** -(0.8 + 0.08 * k)) for k in range(1, 5)]
        _, asked = drive(SweetSpotter(cap=14), cliff(first[4]), tolerance(0.0))
        assert asked[10:] == [pytest.approx(1 - 10 ** -(1 + 0.04 * k)) for k in range(1, 5)]
        _, asked = drive(SweetSpotter(cap=14), lambda level: max(0.0, math.log(1 / (1 - level) / 10**0.2)), None)
        assert asked[10:] == [pytest.approx(1 - 10 ** -(0.08 * k)) for k in range(1, 5)]  # down to the dense weight

    @pytest.mark.parametrize("bend", [2.0, 5.0, 20.0, 60.0])
    def test_without_a_tolerance_the_pick_is_the_knee(self, bend: float) -> None:
        """Flat up to the ratio `bend`, then straight up in log r: the chord is farthest at the bend."""
        pick, _ = drive(SweetSpotter(cap=40), lambda s: max(0.0, math.log(1 / (1 - s) / bend)), None)
        assert 1 / (1 - pick.level) == pytest.approx(bend, rel=0.12)

    def test_a_flat_curve_has_its_knee_at_the_top_and_failed_points_are_no_knee(self) -> None:
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, 0), 100.0: Observed(0.99, 0)}) == 100
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, math.nan), 100.0: Observed(0.99, 1)}) == 1
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, 0.2), 100.0: Observed(0.99, math.nan)}) == 1
        assert knee({1.0: Observed(0, 0)}) == 1
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, -0.2)}) == 10

    def test_the_knee_by_hand(self) -> None:
        """Chords from (1, 0) to (16, 1) over log2: a drop below the ratio's share of it, the farthest below wins."""
        drops = {1.0: 0.0, 2.0: 0.2, 4.0: 0.3, 8.0: 0.6, 16.0: 1.0}  # 0.05, 0.2, 0.15 below
        points = {ratio: Observed(0.0, drop) for ratio, drop in drops.items()}
        assert knee(points) == 4.0
        assert knee({3 * ratio: Observed(0.0, 7 * drop - 5) for ratio, drop in drops.items()}) == 12.0
        assert knee({ratio: points[ratio] for ratio in (1.0, 4.0, 16.0)}) == 4.0
        assert knee(points | {8.0: Observed(0.0, 0.5)}) == 8.0  # 0.25 below

    @settings(max_examples=50)
    @given(st.integers(0, 10**6), st.floats(0.3, 0.9))
    def test_noise_moves_the_pick_only_where_the_curve_is_near_the_tolerance(self, seed: int, at: float) -> None:
        rng = np.random.default_rng(seed)
        noise = {}

        def curve(level: float) -> float:
            noise.setdefault(level, rng.normal(0, 0.01))
            return 10 * max(0.0, level - at) + noise[level]

        pick, _ = drive(SweetSpotter(), curve, tolerance(0.05))
        assert at - 0.05 <= pick.level <= at + 0.05


class TestGrid:
    def test_every_level_is_asked_once_from_below(self) -> None:
        pick, asked = drive(Grid((0.9, 0.5, 0.5, 0.7)), cliff(0.7), tolerance(0.0))
        assert asked == [0.5, 0.7, 0.9]
        assert pick == Pick(0.7, "the highest accepted level of the grid")

    def test_where_nothing_is_accepted_it_says_so_and_everything_may_go(self) -> None:
        assert drive(Grid(), hopeless, tolerance(0.0))[0] == Pick(0.0, "no level was accepted")
        assert drive(Grid((0.5, 1.0)), flat, tolerance(0.0))[0].level == 1.0

    def test_without_a_tolerance_nothing_is_picked(self) -> None:
        assert drive(Grid(), flat, None)[0] == Pick(0.0, "no tolerance was given")


class TestEveryBuiltIn(SearchContract):
    @pytest.fixture(params=searches.names())
    def search(self, request: pytest.FixtureRequest) -> Search:
        made: Search = searches.get(request.param)()
        return made


def test_an_improvement_is_accepted_at_any_tolerance_and_a_failure_at_none() -> None:
    assert tolerance(0.0)(Observed(0.5, -0.1))
    assert not tolerance(math.inf)(Observed(0.5, math.nan))


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: TopDown(step=0), "step 0 is not in (0, 1]; it is a distance in sparsity"),
        (lambda: TopDown(step=1.1), "step 1.1 is not in (0, 1]; it is a distance in sparsity"),
        (lambda: TopDown(resolution=0), "resolution 0 is not in (0, 1]; it is a distance in sparsity"),
        (lambda: TopDown(resolution=2), "resolution 2 is not in (0, 1]; it is a distance in sparsity"),
        (lambda: SweetSpotter(per_decade=4), "4 points to a decade are too few; take at least 5"),
        (lambda: SweetSpotter(resolution=0), "resolution 0 is not in (0, 1]; it is a distance in levels"),
        (lambda: SweetSpotter(resolution=1.1), "resolution 1.1 is not in (0, 1]; it is a distance in levels"),
        (lambda: SweetSpotter(axis=Axis(0, 10, float)), "axis from 0 to 10 is empty or not positive"),
        (lambda: SweetSpotter(axis=Axis(10, 10, float)), "axis from 10 to 10 is empty or not positive"),
        (lambda: Grid((0.5, 1.5)), "level 1.5 is not in (0, 1]; levels are fractions of zeros"),
        (lambda: Grid((0.0,)), "level 0.0 is not in (0, 1]; levels are fractions of zeros"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Search], problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == problem


def test_settings_at_the_ends_of_their_ranges_are_taken() -> None:
    assert drive(TopDown(1, 1), cliff(0.5), tolerance(0.0)) == (Pick(0.0, "no level was accepted"), [1.0])
    assert SweetSpotter(resolution=1).foreseen
    assert TopDown(start=0).start == 0
    assert TopDown(start=1).start == 1


@pytest.mark.parametrize("start", [-0.1, 1.1])
def test_a_start_that_is_no_level_is_refused(start: float) -> None:
    with pytest.raises(ValueError, match=rf"^start {start} is not in \[0, 1\]$"):
        TopDown(start=start)
