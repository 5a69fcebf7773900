"""A run's file operations, cut off after each, torn and lost: every folder that this leaves is opened, and some go on.

python -m tests.fault replay --cases 0 --resumes 200 --seed 1
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from onnxsens.scan.opening import open_database
from onnxsens.scan.tables import FILE, TABLES
from tests.fault.recorded import Operation, State, can_record, named, read_operations, recording, states, synced
from tests.fault.running import (
    OUTCOME,
    Rows,
    Running,
    Task,
    Undisturbed,
    outcome,
    small_task,
    stale_files,
    work_folder,
)

LOG = f"{FILE}-wal"
NEW = "so the run starts anew"  # which may be said where nothing was acknowledged
NO_STRACE = "strace, which records file operations, is not installed"
TASKS = (small_task("masks only", "--update", "none"), small_task("values too"))


@dataclass
class Recording:
    """A run, all that it did to its folder, and every row that was in its store at some time.

    Attributes:
        rows: by how many operations there were, whenever the store's log was synced.
        known: every row, with its key, as it was committed.
        artefacts: as they are at the end.
    """

    task: Task
    operations: Sequence[Operation]
    artefacts: MappingProxyType[str, bytes]
    rows: dict[int, Rows] = field(default_factory=dict)
    known: set[tuple[object, ...]] = field(default_factory=set)

    def acknowledged(self, stop: int) -> Rows:
        """Rows that the run was told are on disk, by the time of so many operations."""
        return self.rows.get(synced(self.operations, stop, LOG), {})


@dataclass
class Tally:
    """How many states were looked at, by kind, and what was wrong."""

    operations: int = 0
    states: dict[str, int] = field(default_factory=dict)
    resumes: int = 0
    complaints: list[str] = field(default_factory=list)


def record(task: Task, place: Path) -> Recording:
    """Run it to its end under the eyes of strace.

    Raises:
        RuntimeError: it does not succeed.
    """
    log = place / "operations"
    place.mkdir(parents=True)
    done = Running(task.arguments(place / "run"), place, wrap=recording(log)).wait()
    if done.code:
        raise RuntimeError(f"'{task.name}' ends with {done.code} under strace: {done.err[-1000:]}")
    made = Recording(task, read_operations(log, place / "run"), MappingProxyType(outcome(place / "run")))
    log.unlink()
    check_replay(made, place)
    remember_rows(made, place / "state")
    return made


def check_replay(made: Recording, place: Path) -> None:
    """All operations together must give what is there; else the recording misses something.

    Raises:
        RuntimeError: they do not.
    """
    files = State(len(made.operations), "prefix").contents(made.operations).files()
    kept = {path.relative_to(place / "run").as_posix(): path for path in (place / "run").rglob("*") if path.is_file()}
    other = sorted(name for name in {*files, *kept} if name not in kept or kept[name].read_bytes() != files.get(name))
    if other:
        raise RuntimeError(f"what was recorded does not give {other}")


def remember_rows(made: Recording, folder: Path) -> None:
    """Read the rows there are whenever the log was synced."""
    for number, operation in enumerate(made.operations, 1):
        if operation.kind == "sync" and operation.path == LOG:
            State(number, "prefix").contents(made.operations).put(folder)
            made.rows[number] = opened(folder, [])
            made.known |= set(made.rows[number].items())


def opened(folder: Path, said: list[str]) -> Rows:
    """Open a store as a run does; every row in it."""
    found: Rows = {}
    with closing(open_database(folder / FILE, said.append)) as database:
        for name, table in TABLES.items():
            keys = [table.names.index(column) for column in table.key.split(", ")] if table.key else []
            for row in database.execute(f"SELECT * FROM {name}"):
                found[name, *(row[key] for key in keys)] = row
    return found


def look_at(made: Recording, state: State, folder: Path) -> list[str]:
    """Open what a crash has left, in a real folder; what is wrong with it."""
    contents = state.contents(made.operations)
    contents.put(folder)
    wrong = [
        f"{name} has {len(content)} bytes that it was never to have"
        for name, content in named(contents, OUTCOME).items()
        if content != made.artefacts[name]
    ]
    said: list[str] = []
    try:
        rows = opened(folder, said)
    except Exception as error:  # whatever it is, it is what is looked for
        return [*wrong, f"{type(error).__name__}: {error}"]
    lost = [key for key in made.acknowledged(state.stop) if key not in rows]
    strange = [key for key, row in rows.items() if (key, row) not in made.known]
    wrong += [f"said '{text}'" for text in said if made.acknowledged(state.stop) or NEW not in text]
    wrong += [f"lost {key}" for key in lost[:3]]
    wrong += [f"a row that was never written: {key}" for key in strange[:3]]
    return wrong


def go_on(made: Recording, state: State, place: Path, undisturbed: Undisturbed) -> list[str]:
    """The same command in what a crash has left; what is wrong with its end."""
    state.contents(made.operations).put(place / "run")
    running = Running(made.task.arguments(place / "run"), place)
    ended = running.wait()
    if ended.code:
        return [f"exit code {ended.code}: {ended.errors or ended.err[-500:]}"]
    wrong = undisturbed.differences(made.task, place / "run")
    if left := stale_files(running.temporary, place / "run"):
        wrong.append(f"stale files: {left}")
    if not wrong:
        shutil.rmtree(place)
    return wrong


def replay(folder: Path, seed: int, cases: int, resumes: int, lanes: int = 2, tasks: Sequence[Task] = TASKS) -> Tally:
    """Open `cases` states of each task's run, all with 0, and go on from `resumes` of them."""
    tally, undisturbed = Tally(), Undisturbed(folder / "undisturbed")
    rng = np.random.default_rng(seed)
    for task in tasks:
        made = record(task, folder / task.name.replace(" ", "-"))
        tally.operations += len(made.operations)
        wanted = different(made, list(states(made.operations)))
        if cases and cases < len(wanted):
            wanted = [wanted[number] for number in sorted(rng.choice(len(wanted), cases, replace=False))]
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as fast:
            for state in wanted:
                tally.states[state.kind] = tally.states.get(state.kind, 0) + 1
                tally.complaints += [
                    f"{task.name}, {told(made, state)}: {what}" for what in look_at(made, state, Path(fast, "run"))
                ]
        chosen = [wanted[number] for number in rng.choice(len(wanted), min(resumes, len(wanted)), replace=False)]

        def resume(numbered: tuple[int, State], made: Recording = made) -> list[str]:
            number, state = numbered
            place = folder / f"{made.task.name.replace(' ', '-')}-{number}"
            return [
                f"{made.task.name}, goes on {told(made, state)}: {what}"
                for what in go_on(made, state, place, undisturbed)
            ]

        with ThreadPoolExecutor(lanes) as pool:
            for found in pool.map(resume, enumerate(chosen)):
                tally.complaints += found
        tally.resumes += len(chosen)
    return tally


def different(made: Recording, found: Sequence[State]) -> list[State]:
    """One of all states that leave the same folder behind after as many syncs of the log."""
    seen = set()
    kept = []
    for state in found:
        digest = hashlib.blake2b(str(synced(made.operations, state.stop, LOG)).encode())
        for name, content in sorted(state.contents(made.operations).files().items()):
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
        if digest.digest() not in seen:
            seen.add(digest.digest())
            kept.append(state)
    return kept


def told(made: Recording, state: State) -> str:
    """Where a state is, for messages."""
    last = made.operations[state.stop - 1]
    return (
        f"after {state.stop} operations ({state.kind}; {last.kind} '{last.path}'; without {sorted(state.without)[:5]})"
    )


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="replay", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000, help="states to open of each run; 0 is all")
    parser.add_argument("--resumes", type=int, default=10, help="states of each run to go on from")
    parser.add_argument("--lanes", type=int, default=2, help="runs at a time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave there what is complained of")
    given = parser.parse_args(arguments)
    if not can_record():
        sys.stdout.write(f"replay: {NO_STRACE}\n")
        return 2
    with work_folder(given.keep) as folder:
        tally = replay(folder, given.seed, given.cases, given.resumes, given.lanes)
    sys.stdout.write("".join(f"{complaint}\n" for complaint in tally.complaints))
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.states.items()))
    sys.stdout.write(
        f"replay: {tally.operations} operations of {len(TASKS)} runs; {sum(tally.states.values()):,} states opened "
        f"({kinds}), {tally.resumes} gone on from; {len(tally.complaints)} complaints\n"
    )
    return 1 if tally.complaints else 0
