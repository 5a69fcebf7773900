"""Damage `scan.db` in every way that disks do, and see what a store makes of it.

    python -m tests.fault store_damage [--seed N] [--cases N]

A row that is still there must be the row that was written. Whatever else is gone must have been said, or refused, in
one line. What the log alone held may be lost without a word: to SQLite a log that is cut short was never longer.
"""

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxsens.engine.questions import Answer, Change, Measurement, Route
from onnxsens.errors import OnnxsensError
from onnxsens.scan.examining import examine
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.store import Store
from onnxsens.scan.tables import FILE, TABLES
from tests.fault.commits import IDENTITY, MADE_BY, SETTINGS

PAGE = 4096
SECTOR = 512
KINDS = ("bit", "byte", "sector of zeros", "sector of garbage", "page of another", "cut", "cut at a page", "longer")

Rows = dict[str, list[tuple[object, ...]]]


@dataclass
class Result:
    """What became of the cases.

    Attributes:
        endings: how many were unnoticed (nothing was lost), mended, lost in the log, or refused.
        failures: what must not be, with the case.
    """

    endings: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def fill(store: Store) -> None:
    """Some of everything that a run keeps."""
    random = np.random.default_rng(0)
    store.claim_metrics({"accuracy": "aa" * 32, "kl": "bb" * 32})
    weights = [f"layer{number}.weight" for number in range(12)]
    store.lanes(2)
    for weight in ["", *weights]:
        store.keep(weight, Route("suffix", "split", exact=True, why="measured: 3.2 ms, 4.1 ms"))
    store.put_predictions(
        "magnitude",
        {
            weight: PredictedCurve(weight, 1000, tuple(range(100, 1000, 100)), tuple(random.random(9)))
            for weight in weights
        },
        {"table": "an embedding has no inputs"},
    )
    for weight in weights:
        store.put_effect(weight, "effective", 256)
        for zeros in range(100, 1000, 300):
            for start in (0, 256):
                measurements = {
                    name: Measurement(
                        256, float(random.normal()), float(random.random()), 0.9, 0.8, binary=name != "kl"
                    )
                    for name in ("accuracy", "kl")
                }
                store.put_point(
                    Change(weight, "magnitude", zeros / 1000),
                    zeros,
                    1000,
                    start,
                    Answer(measurements, {}, 0.1, "suffix"),
                )
    for number in range(4):
        drops = random.normal(size=400)
        measured = Measurement(400, float(drops.sum()), float((drops**2).sum()), 0.9, 0.8, drops=drops)
        store.put_joint(
            f"{number:064x}", "holdout", 0, Answer({"kl": measured}, {"accuracy": "it failed"}, 0.5, "suffix")
        )
    store.put_artefact("plan.json", "cc" * 32)


def contents(path: Path) -> Rows:
    """All rows, by table."""
    database = sqlite3.connect(path)
    try:
        return {name: database.execute(f"SELECT * FROM {name} NOT INDEXED").fetchall() for name in TABLES}
    finally:
        database.close()


def make(folder: Path) -> tuple[Path, Path, Rows]:
    """A store that was closed, one whose log is not yet part of it, and the rows of both."""
    closed, open_ = folder / "closed", folder / "open"
    closed.mkdir(parents=True)
    open_.mkdir()
    with Store(closed, IDENTITY, SETTINGS, MADE_BY) as store:
        fill(store)
        for name in (FILE, f"{FILE}-wal"):
            shutil.copyfile(closed / name, open_ / name)
    return closed, open_, contents(closed / FILE)


def damage(path: Path, kind: str, random: np.random.Generator) -> str:
    """Change a file; what was done."""
    content = bytearray(path.read_bytes())
    at = int(random.integers(len(content)))
    if kind == "bit":
        content[at] ^= 1 << int(random.integers(8))
    elif kind == "byte":
        content[at] = int(random.integers(256))
    elif kind in {"sector of zeros", "sector of garbage"}:
        at -= at % SECTOR
        content[at : at + SECTOR] = bytes(SECTOR) if kind == "sector of zeros" else random.bytes(SECTOR)
    elif kind == "page of another":
        at -= at % PAGE
        other = int(random.integers(len(content) // PAGE)) * PAGE
        content[at : at + PAGE] = content[other : other + PAGE]
    elif kind == "cut":
        del content[at:]
    elif kind == "cut at a page":
        at -= at % PAGE
        del content[at:]
    else:
        content += random.bytes(at % (3 * PAGE))
    path.write_bytes(content)
    return f"{kind} at {at} of {path.name}"


def cases(folder: Path, seed: int, count: int) -> Iterator[tuple[str, Path, bool]]:
    """Run folders with a damaged store: what was done, where, and whether it was the log."""
    closed, open_, _ = make(folder / "made")
    for number in range(count):
        random = np.random.default_rng([seed, number])
        run = folder / f"{number}"
        is_open = number % 4 == 3
        shutil.copytree(open_ if is_open else closed, run)
        in_log = is_open and number % 8 == 7
        what = damage(run / (f"{FILE}-wal" if in_log else FILE), KINDS[int(random.integers(len(KINDS)))], random)
        yield f"case {number} of seed {seed}: {what}" + (", with a log beside it" if is_open else ""), run, is_open


def judge(what: str, run: Path, is_open: bool, original: Rows, result: Result) -> None:
    """Open one, compare, open it again and go on with it."""
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    try:
        examine(run / FILE)
    except OnnxsensError as error:
        refuse_lines(what, str(error), result)
    if before != {path.name: path.read_bytes() for path in run.iterdir()}:
        result.failures.append(f"{what}: looking at it changed it")
    notes: list[str] = []
    try:
        Store(run, IDENTITY, SETTINGS, MADE_BY, say=notes.append).close()
    except OnnxsensError as error:
        refuse_lines(what, str(error), result)
        result.endings["refused"] += 1
        return
    for note in notes:
        refuse_lines(what, note, result)
    found = contents(run / FILE)
    lost = 0
    for name, rows in original.items():
        changed = [row for row in found[name] if row not in rows]
        if changed and not (name in {"run", "history"} and len(found["point"]) == 0):
            result.failures.append(f"{what}: table {name} has {changed[0]}, which was not written")
        lost += sum(row not in found[name] for row in rows)
    if lost and not notes and not is_open:
        result.failures.append(f"{what}: {lost} rows are gone without a word")
    result.endings["mended" if notes else "lost with the log" if lost else "unnoticed"] += 1
    again: list[str] = []
    with Store(run, IDENTITY, SETTINGS, MADE_BY, say=again.append) as store:
        if again:
            result.failures.append(f"{what}: it is not mended for good: {again[0]}")
        if lost:
            fill(store)
    if lost and comparable(contents(run / FILE)) != comparable(original):
        result.failures.append(f"{what}: measured again, it is not what it was")


def comparable(rows: Rows) -> dict[str, list[str]]:
    """What was measured, in no order."""
    return {name: sorted(map(repr, found)) for name, found in rows.items() if name not in {"run", "history"}}


def refuse_lines(what: str, text: str, result: Result) -> None:
    """Whatever is said takes one line."""
    if len(text.splitlines()) != 1 or not text.isprintable():
        result.failures.append(f"{what}: not one line: {text!r}")


def in_memory() -> Path | None:
    """A folder that needs no disk, where there is one: stores wait for the disk at every commit."""
    folder = Path("/dev/shm")
    return folder if os.access(folder, os.W_OK) else None


def run_cases(folder: Path, seed: int, count: int) -> Result:
    """Damage and open so many stores."""
    result = Result()
    original: Rows = {}
    for what, run, is_open in cases(folder, seed, count):
        original = original or contents(folder / "made" / "closed" / FILE)
        try:
            judge(what, run, is_open, original, result)
        except Exception as error:
            result.failures.append(f"{what}: {type(error).__name__}: {error}")
        shutil.rmtree(run)
    return result


def main(arguments: list[str]) -> int:
    """Run, print what became of the cases, and end with 1 where something must not be."""
    parser = argparse.ArgumentParser(prog="store_damage", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        result = run_cases(Path(folder), given.seed, given.cases)
    counts = ", ".join(f"{count} {ending}" for ending, count in sorted(result.endings.items()))
    took = time.perf_counter() - began
    lines = [f"{given.cases} damaged stores in {took:.1f} s: {counts}", *result.failures[:20]]
    sys.stdout.write("\n".join([*lines, f"{len(result.failures)} that must not be", ""]))
    return 1 if result.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
