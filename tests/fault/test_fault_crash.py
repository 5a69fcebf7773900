"""Runs that are killed, at the size that fits a test run."""

from pathlib import Path

import pytest

from tests.fault.chains import Tally
from tests.fault.crash import crash
from tests.fault.recorded import Contents, Operation, State, can_record, losses, states
from tests.fault.replay import NO_STRACE, TASKS, replay
from tests.fault.running import rows_lost


@pytest.mark.slow
def test_after_kill_9_at_any_moment_a_run_goes_on_to_the_same_plan_and_repeats_only_what_was_under_way(
    tmp_path: Path,
) -> None:
    tally: Tally = crash(tmp_path, seed=0, cases=50)
    assert tally.complaints == []
    assert tally.done >= 50
    assert tally.rows > 1000


@pytest.mark.slow
@pytest.mark.skipif(not can_record(), reason=NO_STRACE)
def test_whatever_a_crash_leaves_of_the_file_operations_of_a_run_it_goes_on_to_the_same_plan(tmp_path: Path) -> None:
    tally = replay(tmp_path, seed=0, cases=500, resumes=3, tasks=TASKS)
    assert tally.complaints == []
    assert set(tally.states) == {"prefix", "torn", "lost all", "lost but the last", "lost file", "lost one"}


OPERATIONS = (
    Operation("create", "a", 1),
    Operation("write", "a", 1, data=b"one"),
    Operation("sync", "a", 1),
    Operation("write", "a", 1, offset=3, data=b"two"),
    Operation("rename", "a", 1, target="b"),
    Operation("sync folder", ""),
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State(2, "prefix"), {"a": b"one"}),
        (State(2, "torn", torn=1), {"a": b"o"}),
        (State(4, "lost all", frozenset([3])), {"a": b"one"}),
        (State(5, "lost one", frozenset([3])), {"b": b"one"}),
        (State(5, "lost all", frozenset([3, 4])), {"a": b"one"}),
        (State(6, "prefix"), {"b": b"onetwo"}),
    ],
)
def test_the_tool_makes_the_folder_that_a_crash_leaves(state: State, expected: dict[str, bytes]) -> None:
    assert state.contents(OPERATIONS).files() == expected


def test_the_tool_loses_nothing_that_was_synced() -> None:
    for state in states(OPERATIONS):
        assert not (state.stop > 2 and state.without & {0, 1})
        assert not (state.stop == 6 and 4 in state.without)
    assert [lost for _, lost in losses(OPERATIONS, [3])] == [{3}]


def test_a_folder_that_is_renamed_takes_its_files_along() -> None:
    made = Contents()
    for operation in (
        Operation("mkdir", "x"),
        Operation("create", "x/a", 1),
        Operation("write", "x/a", 1, data=b"in"),
        Operation("rename", "x", target="y"),
    ):
        made.apply(operation)
    assert made.files() == {"y/a": b"in"}


def test_the_tool_sees_a_row_that_is_gone_and_one_that_was_made_again() -> None:
    before = {("point", "w", 1): ("w", 1, 0.5), ("point", "w", 2): ("w", 2, 0.5)}
    assert rows_lost(before, {("point", "w", 1): ("w", 1, 0.6)}) == [
        "lost ('point', 'w', 2)",
        "changed ('point', 'w', 1): ('w', 1, 0.5) -> ('w', 1, 0.6)",
    ]
    assert rows_lost(before, before) == []
    plan = ("artefact", "plan.json")
    for one, other, lost in (("", "ab", 0), ("ab", "", 0), ("ab", "cd", 1)):
        assert len(rows_lost({plan: ("plan.json", one)}, {plan: ("plan.json", other)})) == lost
