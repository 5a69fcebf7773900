"""One command in one run folder, again and again, with something done to it each time, until it comes to its end.

Then: nothing that was ever in the store is gone or was made twice, nothing is left behind, and the plan is, to the
byte, that of a run that nothing happened to.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np

from tests.fault.running import (
    Ended,
    Rows,
    Running,
    Task,
    Undisturbed,
    rows_in,
    rows_lost,
    small_task,
    stale_files,
    strange_files,
)

MOST = 12  # times that something is done in one folder, before its run is left to end
IN_ITS_WORK = 0.6  # share of the times that are in the middle of evaluations, wherever those begin
WORKER_DEATH = "died while"  # what is noted of each
TASKS = (
    small_task("masks only", "--update", "none"),
    small_task("in this process", "--update", "none", "--in-process"),
    small_task("two workers", "--update", "none", jobs=2),
    small_task("values too"),
)


@dataclass
class Tally:
    """What was done to runs, and what was wrong with what came of it.

    Attributes:
        counts: what was done, by kind.
        rows: that were in stores when it was done, all together.
        repeated: evaluations that were made more than once.
        runs: that came to their end.
        slowest: seconds from a signal to the end.
    """

    counts: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    repeated: int = 0
    runs: int = 0
    slowest: float = 0.0
    complaints: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    @property
    def done(self) -> int:
        """How often something was done."""
        return sum(self.counts.values())

    def count(self, kind: str, rows: int = 0) -> None:
        """Something was done."""
        with self.lock:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.rows += rows

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items()))
        return (
            f"{self.done} ({kinds}) in {self.runs} runs, with {self.rows:,} rows in their stores then; "
            f"{self.repeated} evaluations repeated, {len(self.complaints)} complaints"
        )


@dataclass
class Chain:
    """One run folder. A subclass says what is done.

    Attributes:
        usual: how a run ends that nothing happens to.
        told: evaluations that were told of so far.
        times: how often something was done.
        deaths: of workers that were not their own.
    """

    task: Task
    place: Path
    rng: np.random.Generator
    tally: Tally
    usual: Ended
    told: int = 0
    times: int = 0
    deaths: int = 0
    sound: bool = True
    seen: Rows = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.place / "run"

    def disturb(self, running: Running, *, alive: bool) -> bool:
        """Do something to the command, at the moment that was chosen; whether it is to come to its end now."""
        raise NotImplementedError

    def complain(self, text: str) -> None:
        """Keep a complaint."""
        self.sound = False
        with self.tally.lock:
            self.tally.complaints.append(f"{self.place.name} ({self.task.name}, {self.times} times): {text}")

    def go(self, times: int, undisturbed: Undisturbed) -> None:
        """Do something so often, then let it come to its end."""
        ended = False
        while not ended:
            running = Running(self.task.arguments(self.run), self.place)
            try:
                ended = self.times >= times or self.disturb(running, alive=self._wait(running))
                if ended:
                    self._finish(running)
            finally:
                running.kill()
        if not (self.run / "scan.db").exists():
            return
        for what in undisturbed.differences(self.task, self.run):
            self.complain(what)
        repeated = max(self.told - undisturbed.like(self.task, self.run)[1].evaluations, 0)
        with self.tally.lock:
            self.tally.repeated += repeated
            self.tally.runs += 1
        if repeated > self.times * self.task.jobs:
            self.complain(f"{repeated} evaluations were made more than once")

    def _wait(self, running: Running) -> bool:
        """For a moment that is chosen at random; whether the command lives then."""
        if self.rng.random() < IN_ITS_WORK:
            left = max(self.usual.evaluations - self.told, 0)
            evaluations = int(self.rng.integers(1, left // 3 + 2))
            return running.until(10 * self.usual.seconds + 20, evaluations)
        return running.until(float(self.rng.uniform(0.0, self.usual.seconds)))

    def ended_early(self, running: Running, acknowledged: Rows) -> Ended:
        """It was brought to an end: what is left?"""
        ended = running.wait()
        self.told += ended.evaluations
        if left := running.orphans():
            self.complain(f"orphans: {left}")
        self._compare(acknowledged)
        return ended

    def _finish(self, running: Running) -> None:
        """Nothing more happens to it."""
        ended = self.ended_early(running, {})
        if ended.code:
            self.complain(f"exit code {ended.code}: {ended.errors or ended.err[-500:]}")
        if ended.err.count(WORKER_DEATH) > self.deaths:
            self.complain(f"a worker died: {[line for line in ended.err.splitlines() if WORKER_DEATH in line]}")
        if left := stale_files(running.temporary, self.run):
            self.complain(f"stale files: {left}")
        if strays := strange_files(self.run):
            self.complain(f"strange files: {strays}")

    def _compare(self, acknowledged: Rows) -> None:
        """What was ever seen in the store is still there."""
        found = rows_in(self.run)
        for what in rows_lost(self.seen | acknowledged, found)[:3]:
            self.complain(what)
        self.seen = found


def chains(
    kind: Callable[[Task, Path, np.random.Generator, Tally, Ended], Chain],
    folder: Path,
    seed: int,
    cases: int,
    lanes: int,
    tasks: Sequence[Task] = TASKS,
) -> Tally:
    """Do something `cases` times, in as many runs as that takes, `lanes` at a time."""
    tally, undisturbed = Tally(), Undisturbed(folder / "undisturbed")
    usual = {task: undisturbed.first(task)[1] for task in dict.fromkeys(tasks)}
    numbers = iter(range(sys.maxsize))

    def lane(_: int) -> None:
        while tally.done < cases:
            number = next(numbers)
            rng = np.random.default_rng((seed, number))
            task = tasks[number % len(tasks)]
            chain = kind(task, folder / f"chain-{number}", rng, tally, usual[task])
            chain.go(int(rng.integers(2, MOST + 1)), undisturbed)
            if chain.sound:
                shutil.rmtree(chain.place)

    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(lane, range(lanes)))
    return tally
