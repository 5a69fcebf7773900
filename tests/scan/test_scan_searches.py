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

    def test_it_cannot_do_without_a_tolerance(self) -> None:
        assert TopDown.needs_tolerance
        with pytest.raises(ValueError, match="without a tolerance"):
            drive(TopDown(), flat, None)

    @given(st.floats(0, 1), st.sampled_from([0.02, 0.05, 0.1, 0.3]), st.sampled_from([0.005, 0.01, 0.02]))
    def test_the_pick_is_within_the_resolution_below_any_cliff(self, at: float, step: float, resolution: float) -> None:
        pick, asked = drive(TopDown(step, resolution), cliff(at), tolerance(0.0))
        assert pick.level <= at + 1e-9
        assert at - pick.level <= resolution + 1e-9
        most = math.ceil(1 / step) + max(0, math.ceil(math.log2(step / resolution)))
        assert len(asked) <= most == TopDown(step, resolution).most


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

    def test_everything_accepted_ends_at_the_end_of_the_range(self) -> None:
        for curve in (flat, improving):
            pick, asked = drive(SweetSpotter(), curve, tolerance(0.0))
            assert (pick.level, len(asked)) == (0.99, 10)

    @pytest.mark.parametrize("curve", [hopeless, failing])
    def test_nothing_accepted_leaves_the_weight_dense(self, curve: CurveOf) -> None:
        pick, _ = drive(SweetSpotter(), curve, tolerance(0.1))
        assert (pick.level, pick.why.split(";")[0]) == (0, "no level was accepted")

    @pytest.mark.parametrize("bend", [2.0, 5.0, 20.0, 60.0])
    def test_without_a_tolerance_the_pick_is_the_knee(self, bend: float) -> None:
        """Flat up to the ratio `bend`, then straight up in log r: the chord is farthest at the bend."""
        pick, _ = drive(SweetSpotter(cap=40), lambda s: max(0.0, math.log(1 / (1 - s) / bend)), None)
        assert 1 / (1 - pick.level) == pytest.approx(bend, rel=0.12)

    def test_a_flat_curve_has_its_knee_at_the_top_and_failed_points_are_no_knee(self) -> None:
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, 0), 100.0: Observed(0.99, 0)}) == 100
        assert knee({1.0: Observed(0, 0), 10.0: Observed(0.9, math.nan), 100.0: Observed(0.99, 1)}) == 1

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
        assert pick.level == 0.7

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
    "make",
    [
        lambda: TopDown(step=0),
        lambda: TopDown(resolution=2),
        lambda: SweetSpotter(per_decade=4),
        lambda: SweetSpotter(resolution=0),
        lambda: SweetSpotter(axis=Axis(0, 10, float)),
        lambda: Grid((0.5, 1.5)),
        lambda: Grid((0.0,)),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Search]) -> None:
    with pytest.raises(UsageError):
        make()
