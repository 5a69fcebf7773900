"""Commands in processes of their own: started, watched, killed, and what is left of them.

Every process of a command, however it was started, carries a mark in its environment, by which it is found in /proc.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnxsens.scan.store import UNFINISHED

ROOT = Path(__file__).parent.parent.parent
MODELS = ROOT / "models"
MARK = "ONNXSENS_FAULT"
EVALUATION = re.compile(r"^  \S.*: \d+\.\d\d s$", re.MULTILINE)  # what -v prints of each
LONGEST = 300.0  # seconds, for any one command
OUTCOME = ("plan.json", "changes.safetensors", "pruned.onnx")
# What a run folder may hold at the end of a run, and how a name there may begin.
ORDERLY = {".lock", "scan.db", "scan.db-wal", "scan.db-shm", "variants", "report.html", *OUTCOME}
KEPT = "moments-"

Rows = dict[tuple[object, ...], tuple[object, ...]]


@dataclass(frozen=True)
class Task:
    """What a run is made from.

    Attributes:
        jobs: processes that measure at once.
    """

    name: str
    model: Path
    data: Path
    options: tuple[str, ...]
    jobs: int = 1
    command: str = "auto"

    def arguments(self, folder: Path) -> list[str]:
        """Of the command that makes the run in `folder`, and goes on with it."""
        many = ("-j", str(self.jobs)) if self.jobs > 1 else ()
        return [self.command, str(self.model), "-d", str(self.data), *self.options, *many, "-v", "-o", str(folder)]


def small_task(name: str, *options: str, jobs: int = 1) -> Task:
    """Sparsity 50 % on the smallest model that is shipped, on few samples."""
    given = ("--sparsity", "0.5", "--scan-samples", "64", *options)
    return Task(name, MODELS / "jv_gru1.onnx", MODELS / "japanese_vowels_test.npz", given, jobs)


@dataclass(frozen=True)
class Ended:
    """How a command ended. `seconds`: from its start; `at`: when, by the clock of `time.monotonic`."""

    code: int
    out: str
    err: str
    seconds: float
    at: float

    @property
    def evaluations(self) -> int:
        """That it told of."""
        return len(EVALUATION.findall(self.err))

    @property
    def errors(self) -> list[str]:
        """Lines that say why it ended."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


class Running:
    """A command under way, in a session of its own, as a terminal starts it.

    Args:
        place: for what it says, and for temporary files: `TMPDIR` is a folder in it.
        wrap: a program that starts it, and its arguments.
        environment: besides ours.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        place: Path,
        *,
        wrap: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.temporary = place / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self._said = place / f"said-{self.mark}"
        own = {MARK: self.mark, "TMPDIR": str(self.temporary), "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
        self._started = time.monotonic()
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*wrap, sys.executable, "-m", "onnxsens", *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                cwd=place,
                env={**os.environ, **own, **(environment or {})},
                start_new_session=True,
            )  # fmt: skip

    @property
    def out(self) -> Path:
        """What it says on stdout."""
        return self._said.with_suffix(".out")

    @property
    def err(self) -> Path:
        """What it says on stderr."""
        return self._said.with_suffix(".err")

    @property
    def alive(self) -> bool:
        """Whether its first process is."""
        return self.process.poll() is None

    def members(self) -> list[int]:
        """Its processes that live, the first one among them."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
        return sorted(found)

    def workers(self) -> list[int]:
        """Its worker processes that live."""
        return [pid for pid in self.members() if pid != self.process.pid and b"spawn_main" in command_line(pid)]

    def told(self) -> int:
        """Evaluations that it has told of so far."""
        return len(EVALUATION.findall(self.err.read_text("utf-8", "replace")))

    def until(self, seconds: float, evaluations: int | None = None) -> bool:
        """Wait so long, or until it has told of so many evaluations; whether it lives then."""
        stop = self._started + seconds
        size = -1
        while self.alive and time.monotonic() < stop:
            if evaluations is not None and self.err.stat().st_size != size:
                size = self.err.stat().st_size
                if self.told() >= evaluations:
                    break
            time.sleep(0.001)
        return self.alive

    def wait(self, seconds: float = LONGEST) -> Ended:
        """Its end.

        Raises:
            TimeoutError: it does not come.
        """
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.process.args!r} did not end in {seconds:.0f} s") from None
        at = time.monotonic()
        said = [path.read_text("utf-8", "replace") for path in (self.out, self.err)]
        return Ended(code, said[0], said[1], at - self._started, at)

    def orphans(self, seconds: float = 15.0) -> list[str]:
        """Processes that are still there so long after its end; on a busy machine, leaving takes seconds too."""
        stop = time.monotonic() + seconds
        while (left := self.members()) and time.monotonic() < stop:
            time.sleep(0.02)
        return [f"{pid}: {command_line(pid).decode('utf-8', 'replace')[:80]}" for pid in left]

    def kill(self) -> None:
        """All of its processes."""
        while members := self.members():
            for pid in members:
                kill(pid)
            time.sleep(0.01)
        self.process.wait()


def command_line(pid: int) -> bytes:
    """Its arguments; empty of one that is no more."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send it a signal; whether it was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def run(arguments: Sequence[object], place: Path, **options: Mapping[str, str] | Sequence[str]) -> Ended:
    """A command, to its end."""
    return Running(arguments, place, **options).wait()  # type: ignore[arg-type]  # as they are declared there


def rows_in(folder: Path) -> Rows:
    """Every row that a reader sees in a run's store: table and key, to the whole row."""
    path = folder / "scan.db"
    if not path.is_file() or not path.stat().st_size:
        return {}
    found: Rows = {}
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = database.execute(f"PRAGMA table_info({table})").fetchall()
            key = [number for number, column in enumerate(columns) if column[5]]
            for row in database.execute(f"SELECT * FROM {table}"):
                found[table, *(row[number] for number in key)] = row
    return found


def rows_lost(before: Rows, after: Rows) -> list[str]:
    """Rows that are no more, or are not what they were: a point that was measured again took another time.

    That a file is being written stands in its row while it is, before the hash of it; so that may come and go.
    """
    lost = [key for key in before if key not in after]
    changed = [
        key
        for key, row in before.items()
        if key in after and after[key] != row and not (key[0] == "artefact" and UNFINISHED in (*row, *after[key]))
    ]
    return [f"lost {key}" for key in lost] + [f"changed {key}: {before[key]} -> {after[key]}" for key in changed]


def stale_files(*folders: Path) -> list[str]:
    """Temporary files in these folders, and below them."""
    return sorted(
        str(path)
        for folder in folders
        if folder.exists()
        for path in folder.rglob("*")
        if "onnxsens-" in path.name or path.name.endswith(".part")
    )


def strange_files(folder: Path) -> list[str]:
    """What a run folder should not hold."""
    return sorted(path.name for path in folder.iterdir() if path.name not in ORDERLY and not path.name.startswith(KEPT))


def digests(folder: Path) -> dict[str, str]:
    """Relative path to SHA-256, of every file below."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def outcome(folder: Path) -> dict[str, bytes]:
    """The artefacts of a run that are there."""
    return {name: (folder / name).read_bytes() for name in OUTCOME if (folder / name).is_file()}


def routes_of(folder: Path) -> tuple[object, ...]:
    """How a run does what it does, as its store has it: plans are the same for the same of these."""
    with contextlib.closing(sqlite3.connect(f"{(folder / 'scan.db').as_uri()}?mode=ro", uri=True)) as database:
        routes = database.execute("SELECT weight, engine, way, exact FROM route ORDER BY weight").fetchall()
        return (*routes, *database.execute("SELECT batches FROM lanes").fetchall())


def with_routes_of(finished: Path, folder: Path) -> None:
    """A run folder in which nothing is measured yet, but how is chosen."""
    folder.mkdir(parents=True)
    with (
        contextlib.closing(sqlite3.connect(finished / "scan.db")) as source,
        contextlib.closing(sqlite3.connect(folder / "scan.db")) as copy,
    ):
        source.backup(copy)
        for table in ("point", "joint", "effect", "prediction", "unpredicted", "artefact"):
            copy.execute(f"DELETE FROM {table}")
        copy.commit()


@dataclass
class Undisturbed:
    """Runs that nothing happens to, each made once for one task and one set of routes."""

    folder: Path
    _made: dict[object, tuple[dict[str, bytes], Ended]] = field(default_factory=dict)

    def first(self, task: Task) -> tuple[Path, Ended]:
        """A run in a new folder.

        Raises:
            RuntimeError: it does not succeed.
        """
        place = self.folder / f"first-{uuid.uuid4().hex[:8]}"
        done = run(task.arguments(place / "run"), place)
        if done.code:
            raise RuntimeError(f"'{task.name}' ends with {done.code}: {done.err[-1000:]}")
        return place / "run", done

    def like(self, task: Task, finished: Path) -> tuple[dict[str, bytes], Ended]:
        """Its artefacts and its end, for the routes of a run that is finished."""
        key = (task, routes_of(finished))
        if key not in self._made:
            place = self.folder / f"like-{uuid.uuid4().hex[:8]}"
            with_routes_of(finished, place / "run")
            done = run(task.arguments(place / "run"), place)
            if done.code:
                raise RuntimeError(f"'{task.name}' ends with {done.code}: {done.err[-1000:]}")
            self._made[key] = outcome(place / "run"), done
            shutil.rmtree(place)
        return self._made[key]

    def differences(self, task: Task, finished: Path) -> list[str]:
        """Artefacts of a finished run that are not, to the byte, those of an undisturbed one."""
        expected, _ = self.like(task, finished)
        found = outcome(finished)
        return [f"{name} is another" for name in OUTCOME if expected.get(name) != found.get(name)]


@contextlib.contextmanager
def work_folder(kept: Path | None = None) -> Iterator[Path]:
    """A folder for a tool: one that stays, where it is named."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="fault-") as folder:
        yield Path(folder)
