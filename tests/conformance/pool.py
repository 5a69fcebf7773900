"""Processes that sweep models side by side; a crash, a hang or a kill costs the model it happened on and no other."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from tests.conformance.cases import Case
from tests.conformance.stages import Row

ROOT = Path(__file__).parent.parent.parent
CHUNK = 60
POLL_SECONDS = 0.1
TRACEBACK = "Traceback (most recent call last)"


class Watcher(Protocol):
    """Who is told of each row."""

    def __call__(self, row: Row) -> None:
        """A row is done."""


@dataclass
class Process:
    """A worker and what is known of it.

    Attributes:
        cases: not done yet, in order; the first is being done.
        since: when the first began.
        read: bytes of the results that were seen.
    """

    cases: list[Case]
    handle: subprocess.Popen[bytes]
    results: Path
    errors: Path
    alone: bool
    since: float = field(default_factory=time.monotonic)
    stage: str = "start"
    read: int = 0


class Pool:
    """Runs chunks of cases in at most `jobs` processes.

    Args:
        limit_s: seconds for one case.
    """

    def __init__(self, scratch: Path, jobs: int, limit_s: float, watch: Watcher) -> None:
        self._scratch = scratch
        self._jobs = jobs
        self._limit_s = limit_s
        self._watch = watch
        self._started = 0

    def run(self, cases: Iterable[Case]) -> list[Row]:
        """Rows of all cases, in the order in which they were done."""
        waiting = chunks(list(cases))
        running: list[Process] = []
        rows: list[Row] = []

        def done(row: Row) -> None:
            rows.append(row)
            self._watch(row)

        try:
            while waiting or running:
                while waiting and len(running) < self._jobs:
                    chunk, alone = waiting.pop(0)
                    running.append(self._start(chunk, alone))
                time.sleep(POLL_SECONDS)
                for process in list(running):
                    again = self._look(process, done)
                    if again is not None:
                        running.remove(process)
                        waiting = again + waiting
        finally:
            for process in running:
                process.handle.kill()
                process.handle.wait()
        return rows

    def _start(self, cases: list[Case], alone: bool) -> Process:
        self._started += 1
        folder = self._scratch / f"process-{self._started}"
        folder.mkdir(parents=True)
        (folder / "cases.json").write_text(json.dumps([case.as_dict() for case in cases]), encoding="utf-8")
        results = folder / "results.jsonl"
        results.touch()
        errors = folder / "stderr.txt"
        with errors.open("wb") as file:
            handle = subprocess.Popen(
                [sys.executable, "-m", "tests.conformance.worker", folder / "cases.json", results, folder],
                cwd=ROOT,
                stdout=file,
                stderr=file,
            )
        return Process(list(cases), handle, results, errors, alone)

    def _look(self, process: Process, done: Callable[[Row], None]) -> list[tuple[list[Case], bool]] | None:
        """Take in what a process has done. None while it goes on; else what is left of its cases, as chunks."""
        code = process.handle.poll()  # before reading, so that nothing is missed
        for record in self._records(process):
            if "row" in record:
                process.cases.pop(0)
                done(record["row"])
            process.since = time.monotonic() if "begun" in record else process.since
            process.stage = record.get("stage", process.stage)
        if code is None and time.monotonic() - process.since <= self._limit_s:
            return None
        hung = code is None
        if hung:
            process.handle.kill()
            process.handle.wait()
            for record in self._records(process):
                if "row" in record:
                    process.cases.pop(0)
                    done(record["row"])
        if not process.cases:
            return []
        culprit, *rest = process.cases
        left = [(rest, False)] if rest else []
        if process.alone or hung:
            done(self._lost(culprit, process, None if hung else code))
            return left
        # It may have died of what came before it: once more, alone.
        note = f"{self._end(process, code)}, among others; not so when alone"
        return [([replace(culprit, notes=(*culprit.notes, note))], True), *left]

    def _records(self, process: Process) -> Iterator[dict[str, Any]]:
        with process.results.open("rb") as file:
            file.seek(process.read)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        process.read += len(whole)
        for text in whole.splitlines():
            yield json.loads(text)

    def _lost(self, case: Case, process: Process, code: int | None) -> Row:
        """The row of a case that took its process with it."""
        said = process.errors.read_text(encoding="utf-8", errors="replace").strip()
        what = self._end(process, code)
        if TRACEBACK in said:
            what += f"; {said.splitlines()[-1]}"
        ours = process.stage != "runs" or TRACEBACK in said  # there it is onnxruntime alone, on a file as it came
        return {
            "key": case.key,
            "source": case.source,
            "name": case.name,
            "notes": list(case.notes),
            "lost": what,
            "trouble": [what] if ours else [],
        }

    def _end(self, process: Process, code: int | None) -> str:
        """How a process ended, and at what."""
        if code is None:
            what = f"no end after {self._limit_s:g} s"
        elif code < 0:
            what = f"process died of {signal.Signals(-code).name}"
        else:
            what = f"process ended with exit code {code}"
        return f"{what} at stage '{process.stage}'"


def chunks(cases: list[Case]) -> list[tuple[list[Case], bool]]:
    """Weighty cases one by one and first, since they take longest; the others many to a process."""
    light = [case for case in cases if not case.weighty]
    weighty = sorted((case for case in cases if case.weighty), key=lambda case: -Path(case.model).stat().st_size)
    return [([case], True) for case in weighty] + [
        (light[start : start + CHUNK], False) for start in range(0, len(light), CHUNK)
    ]
