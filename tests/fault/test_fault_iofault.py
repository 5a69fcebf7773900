"""Failing calls and full disks, at the size that fits a test run."""

import errno
import tempfile
from pathlib import Path

import pytest

from onnxsens.errors import StorageError
from onnxsens.files import write_atomically
from tests.fault import iofault
from tests.fault.oscalls import Calls, from_then_on, once
from tests.fault.store_damage import in_memory


@pytest.mark.parametrize("scenario", iofault.SCENARIOS, ids=lambda scenario: scenario.name)
def test_whatever_call_fails_what_existed_is_intact_and_one_line_says_so(
    scenario: iofault.Scenario, tmp_path: Path
) -> None:
    result = iofault.Result()
    iofault.every_call(scenario, tmp_path, result)
    assert result.failures == []
    assert result.cases >= 30


def test_a_call_of_sqlite_that_fails_costs_no_commit_that_was_told_of(tmp_path: Path) -> None:
    result = iofault.Result()
    with tempfile.TemporaryDirectory(dir=in_memory() or tmp_path) as folder:
        iofault.sqlite_calls(Path(folder), 3, result)
    if result.skipped:
        pytest.skip(result.skipped[0])
    assert result.failures == []
    assert result.hits >= 5


def test_a_full_disk_costs_no_commit_that_was_told_of(tmp_path: Path) -> None:
    result = iofault.Result()
    iofault.full_disks(tmp_path, result)
    assert result.failures == []
    assert result.cases + len(result.skipped) == 2


@pytest.mark.parametrize("how", [once, from_then_on])
def test_the_tool_makes_a_call_fail(tmp_path: Path, how: object) -> None:
    with Calls(tmp_path) as calls:
        write_atomically(tmp_path / "x", [b"1"])
    number = calls.log.index("fsync *")
    (tmp_path / "x").unlink()
    with pytest.raises(StorageError, match="Input/output error"), Calls(tmp_path, how(number, errno.EIO)):  # type: ignore[operator]
        write_atomically(tmp_path / "x", [b"1"])
    assert list(tmp_path.iterdir()) == []


def test_the_tool_sees_damage(tmp_path: Path) -> None:
    careless = iofault.Scenario(
        "careless",
        iofault.plan_before,
        lambda folder: [(folder / "plan.json").write_bytes(b""), iofault.write_plan(folder)],  # type: ignore[arg-type,return-value,func-returns-value]
        iofault.plan_there,
    )
    result = iofault.Result()
    iofault.every_call(careless, tmp_path, result)
    assert any("neither old nor new" in failure for failure in result.failures)
