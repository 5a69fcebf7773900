"""Peak memory of a process that measures: 250 MB, 1.5 times the weights, and the budget it was given."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.cases import METRICS, case
from benchmarks.engine import grid_alone
from benchmarks.growth import BASE
from benchmarks.opened import opened, with_budget
from benchmarks.timing import MB, in_child


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("budget", [0, 16 * MB, 64 * MB])
def test_a_scan_stays_inside_its_memory(budget: int, tmp_path: Path) -> None:
    # With an arena for each session the process came to 332 MB at 16 MB, and to 353 at 64.
    made = case("chain", tmp_path, 96, settings={"threads": 1}, depth=12, side=32, channels=1)
    wanted = replace(made, options=with_budget(made.options, budget))
    with opened(wanted.model, wanted.options, METRICS, wanted.samples, alone=True) as bench:
        weights = list(bench.weights)[::3]
    _, peak = in_child(grid_alone, wanted, weights, [0.5])
    assert peak <= BASE + made.weight_bytes * 3 // 2 + budget
