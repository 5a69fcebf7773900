"""The k-th write, fsync, rename, ... fails, for every k; and full disks: what existed is what it was, in one line.

    python -m tests.fault iofault [--cases N]

Our own writing fails in this process. SQLite's fails in others: by strace, which lets the k-th system call fail, by a
limit on the size of files, and on a file system of one megabyte.
"""

import argparse
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxsens.errors import StorageError
from onnxsens.files import TEMPORARY, write_atomically
from onnxsens.model import load_model, write_model
from onnxsens.scan.store import FILE, Store
from onnxsens.scan.tables import TABLES
from tests.fault.commits import COMMITS, IDENTITY, MADE_BY, SETTINGS, value
from tests.fault.oscalls import Calls, from_then_on, once
from tests.fault.store_damage import PAGE, contents, fill, in_memory
from tests.networks import convolutional, with_external_data
from tests.scan.older_store import make_older_store

ROOT = Path(__file__).parent.parent.parent
CODES = (errno.ENOSPC, errno.EIO)
OLDER = ("run", "metric", "effect", "route", "lanes", "artefact", "point", "joint")
SQLITE_CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "openat", "unlink")
FILE_LIMIT = 120_000  # bytes
SPACE = "600k"
FILLER = "400000"


@dataclass
class Result:
    """What became of the cases.

    Attributes:
        cases: how many were tried.
        hits: in how many of them a process of its own was told of a failure.
        failures: what must not be.
        skipped: what could not be tried here, and why.
    """

    cases: int = 0
    hits: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Scenario:
    """Something that is written over something that is there.

    Attributes:
        prepare: makes a folder as it is before.
        write: writes.
        whole: reads what is there, in a form that can be compared; raises where it is neither old nor new.
    """

    name: str
    prepare: Callable[[Path], object]
    write: Callable[[Path], None]
    whole: Callable[[Path], object]


def plan_before(folder: Path) -> None:
    (folder / "plan.json").write_bytes(b'{"old": true}\n')


def write_plan(folder: Path) -> None:
    write_atomically(folder / "plan.json", [b'{"new": ', b"[" + b"1, " * (1 << 19) + b"1]", b"}\n"])


def plan_there(folder: Path) -> object:
    return (folder / "plan.json").read_bytes()


def model_before(folder: Path) -> None:
    (folder / "in").mkdir()
    (folder / "out").mkdir()
    with_external_data(convolutional(), folder / "in" / "m.onnx")
    write_values(folder, 1.0)


def write_values(folder: Path, value: float) -> None:
    model = load_model(folder / "in" / "m.onnx")
    write_model(model, {"head": np.full((5, 6), value, np.float32)}, folder / "out" / "pruned.onnx")


def model_there(folder: Path) -> object:
    model = load_model(folder / "out" / "pruned.onnx")
    return {name: model.array(name).tobytes() for name in model.stored}


def damaged_before(folder: Path) -> None:
    with Store(folder, IDENTITY, SETTINGS, MADE_BY) as store:
        fill(store)
    content = bytearray((folder / FILE).read_bytes())
    content[6 * PAGE : 7 * PAGE] = bytes(PAGE)
    (folder / FILE).write_bytes(content)
    (folder / "original").write_bytes(content)


def open_store(folder: Path) -> None:
    Store(folder, IDENTITY, SETTINGS, MADE_BY).close()


def damaged_there(folder: Path) -> object:
    """Whether the damaged store is still there, to the byte, under its name or another."""
    original = (folder / "original").read_bytes()
    kept = [folder / FILE, *folder.glob(f"{FILE}.damaged-*")]
    return original in [path.read_bytes() for path in kept if path.exists()]


def older_there(folder: Path) -> object:
    """What was measured, whatever the schema."""
    with closing(sqlite3.connect(folder / FILE)) as database:
        return {
            name: database.execute(f"SELECT {', '.join(TABLES[name].names)} FROM {name}").fetchall() for name in OLDER
        }


SCENARIOS = (
    Scenario("a plan", plan_before, write_plan, plan_there),
    Scenario("a model with external data", model_before, lambda folder: write_values(folder, 2.0), model_there),
    Scenario("a damaged store that is mended", damaged_before, open_store, damaged_there),
    Scenario("an older store that is migrated", make_older_store, open_store, older_there),
)


def every_call(scenario: Scenario, folder: Path, result: Result) -> None:
    """Let each call of ours fail, by itself and together with all that follow."""
    start = folder / "start"
    start.mkdir(parents=True)
    scenario.prepare(start)
    before = scenario.whole(start)
    clean = folder / "clean"
    shutil.copytree(start, clean)
    with Calls(clean) as calls:
        scenario.write(clean)
    after = scenario.whole(clean)
    for number, call in enumerate(calls.log):
        for code in CODES:
            for how in (once, from_then_on):
                result.cases += 1
                what = f"{scenario.name}: {call}, call {number}, {errno.errorcode[code]}, {how.__name__}"
                try_one(what, scenario, start, folder / "case", (before, after), how(number, code), result)


def try_one(
    what: str,
    scenario: Scenario,
    start: Path,
    folder: Path,
    either: tuple[object, object],
    fails: Callable[[int, str], int | None],
    result: Result,
) -> None:
    """One failing call, and once more without."""
    shutil.copytree(start, folder)
    there = {path: path.read_bytes() for path in start.rglob("*") if path.is_file() and path.name != ".lock"}
    said = ""
    try:
        with Calls(folder, fails):
            scenario.write(folder)
    except StorageError as error:
        said = str(error)
    except Exception as error:
        result.failures.append(f"{what}: {type(error).__name__}: {error}")
    if said and len(said.splitlines()) != 1:
        result.failures.append(f"{what}: not one line: {said!r}")
    try:
        found = scenario.whole(folder)
    except Exception as error:
        result.failures.append(f"{what}: what is there cannot be read: {error}")
        found = either[0]
    if found not in either:
        result.failures.append(f"{what}: what is there is neither old nor new")
    for path, content in there.items():
        own = folder / path.relative_to(start)
        if own.suffix not in {".json", ".onnx", ".db", ".db-wal", ".db-shm"} and own.read_bytes() != content:
            result.failures.append(f"{what}: {own.name} has changed")
    left = [path.name for path in folder.rglob("*") if TEMPORARY.fullmatch(path.name)]
    if left and "unlink" not in what and "rmdir" not in what:
        result.failures.append(f"{what}: {left[0]} is left")
    try:
        scenario.write(folder)
        if scenario.whole(folder) != either[1]:
            result.failures.append(f"{what}: written again, it is not the new one")
    except StorageError as error:
        result.failures.append(f"{what}: it cannot be written again: {error}")
    shutil.rmtree(folder)


def judge_points(what: str, folder: Path, lines: list[str], result: Result, *, must_fail: bool = False) -> None:
    """What a process was told of is there, exactly; and a next one completes it."""
    result.cases += 1
    told = {line.removeprefix("told ") for line in lines if line.startswith("told ")}
    errors = [line for line in lines if line.startswith("error ")]
    result.hits += bool(errors)
    if not lines or lines[-1] not in {"complete", "given up"}:
        result.failures.append(f"{what}: ended by {lines[-1:]}")
    if must_fail and not errors:
        result.failures.append(f"{what}: nothing failed")
    notes: list[str] = []
    with Store(folder, IDENTITY, SETTINGS, MADE_BY, say=notes.append) as store:
        found = store.artefacts()
        if any(found.get(number) != value(number) for number in told):
            result.failures.append(f"{what}: a point that was told of is lost")
        for number in map(str, range(COMMITS)):
            store.put_artefact(number, value(number))
    if notes and "empty" not in notes[0]:
        result.failures.append(f"{what}: {notes[0]}")
    if len(contents(folder / FILE)["artefact"]) != COMMITS:
        result.failures.append(f"{what}: a next process does not complete it")


def inside(*arguments: str, before: tuple[str, ...] = ()) -> list[str]:
    """Lines that this module says in a process of its own."""
    command = [*before, sys.executable, "-m", "tests.fault.commits", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300)
    lines = done.stdout.splitlines()
    return lines if done.returncode == 0 else [*lines, f"exit code {done.returncode}: {done.stderr[-300:]}"]


def sqlite_calls(folder: Path, most: int, result: Result) -> None:
    """The k-th system call of SQLite's fails."""
    if shutil.which("strace") is None:
        result.skipped.append("SQLite's system calls: there is no strace")
        return
    for call in SQLITE_CALLS:
        for number in spread(most):
            run = folder / f"{call}-{number}"
            run.mkdir(parents=True)
            trace = f"inject={call}:error={'EIO' if number % 2 else 'ENOSPC'}:when={number + 1}"
            before = ("strace", "-f", "-qq", "-o", os.devnull, "-P", str(run / FILE), "-P", str(run / f"{FILE}-wal"))
            lines = inside(str(run), before=(*before, "-e", f"trace={call}", "-e", trace))
            judge_points(f"{call} {number + 1} of SQLite fails", run, lines, result)
            shutil.rmtree(run)


def spread(most: int) -> Iterator[int]:
    """So many numbers, the first ones and then ever sparser ones."""
    number = 0
    for at in range(most):
        yield number
        number += 1 + at // 6


def full_disks(folder: Path, result: Result) -> None:
    """A limit on the size of files, and a small file system."""
    limited = folder / "limited"
    limited.mkdir(parents=True)
    lines = inside(str(limited), "--file-limit", str(FILE_LIMIT))
    judge_points("files have a limit", limited, lines, result, must_fail=True)
    small = folder / "small"
    small.mkdir()
    kept = folder / "kept"
    script = f'mount -t tmpfs -o size={SPACE} none "$0" && shift 0 && "$@" && cp -r "$0" "$KEPT"'
    before = ("env", f"KEPT={kept}", "unshare", "-rm", "sh", "-c", script, str(small))
    probe = subprocess.run([*before[2:4], "mount", "-t", "tmpfs", "none", str(small)], capture_output=True, check=False)
    if probe.returncode:
        result.skipped.append("a full file system: none can be mounted here")
        return
    lines = inside(str(small), "--filler", FILLER, before=before)
    judge_points("the disk is full", kept, lines, result, must_fail=True)


def run_cases(folder: Path, sqlite_cases: int) -> Result:
    """All of it; of each of SQLite's calls so many."""
    result = Result()
    for number, scenario in enumerate(SCENARIOS):
        every_call(scenario, folder / f"{number}", result)
    sqlite_calls(folder / "sqlite", sqlite_cases, result)
    full_disks(folder / "full", result)
    return result


def main(arguments: list[str]) -> int:
    """Run, print what became of the cases, and end with 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="iofault", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="nothing here is by chance")
    parser.add_argument("--cases", type=int, default=30, help="failing calls of each kind that SQLite makes")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        result = run_cases(Path(folder), given.cases)
    lines = [f"{result.cases} failing calls and full disks; {result.hits} of those below SQLite were told of"]
    lines += [*(f"left out: {each}" for each in result.skipped), *result.failures[:20]]
    sys.stdout.write("\n".join([*lines, f"{len(result.failures)} that must not be", ""]))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
