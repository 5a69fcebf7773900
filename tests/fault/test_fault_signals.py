"""Signals at any moment, at the size that fits a test run."""

from pathlib import Path

import pytest

from tests.fault.signals import SECONDS, signals


@pytest.mark.slow
def test_signals_end_a_run_in_time_with_one_line_and_no_orphans_and_it_goes_on_to_the_same_plan(tmp_path: Path) -> None:
    tally = signals(tmp_path, seed=0, cases=200)
    assert tally.complaints == []
    assert tally.done >= 200
    assert tally.slowest < SECONDS
