"""Metrics that do what no metric should."""

from pathlib import Path

import pytest

from tests.fault.misbehaving import MISDEEDS, Misdeed, judged, scan_with


@pytest.mark.parametrize("misdeed", MISDEEDS, ids=lambda misdeed: misdeed.name)
def test_a_metric_that_misbehaves_costs_one_evaluation_at_the_most(misdeed: Misdeed, tmp_path: Path) -> None:
    assert judged(misdeed, scan_with(misdeed, tmp_path)) == []
