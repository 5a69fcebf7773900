"""The same plan by other ways, on every model that is shipped."""

from pathlib import Path

import pytest

from tests.fault.determinism import determinism, shipped


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_a_plan_is_the_same_to_the_byte_over_processes_hash_seeds_and_the_order_of_work(
    name: str, tmp_path: Path
) -> None:
    compared, wrong = determinism(tmp_path, seed=0, cases=0, names=[name])
    assert wrong == []
    assert compared == 2
