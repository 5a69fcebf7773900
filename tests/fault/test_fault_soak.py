"""Memory, over thousands of evaluations, and where a metric takes all it can get."""

from pathlib import Path

import pytest

from tests.fault.memory import GREEDY, memory
from tests.fault.soak import LIMIT, soak


@pytest.mark.slow
def test_memory_does_not_grow_over_thousands_of_evaluations_but_by_what_was_measured(tmp_path: Path) -> None:
    found = soak(tmp_path, 9000)
    assert found.evaluations[-1] > 6000
    assert found.growth(found.worker) <= LIMIT, str(found)
    assert found.growth(found.parent) <= LIMIT, str(found)


@pytest.mark.parametrize("name", GREEDY)
def test_a_metric_that_takes_memory_without_end_costs_one_evaluation(name: str, tmp_path: Path) -> None:
    _, wrong = memory(tmp_path, name, 600)
    assert wrong == []
