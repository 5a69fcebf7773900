"""Many cases in a few processes that may be lost: who died of which case, what took too long, what must not be.

Knows no model and no reader: what is done with a case is a function that is made in the process.
"""

import contextlib
import gc
import os
import resource
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from onnxsens.engine.serving import limit_memory, settle
from onnxsens.errors import OnnxsensError
from onnxsens.spawning import Spawned

LOT = 200  # cases that a process is given at once
TOLD = 0.05  # seconds after which a process tells what became of its cases
LARGEST = 1 << 30  # resident bytes, at which a process makes room for a fresh one
WALL = 6  # times the limit in seconds of processor time, where none is used
EXAMPLES = 5  # of each kind of death
OURS = "here: "  # what is done in the process of a command begins so
LONGEST = 600  # signs of a message that are shown
TICKS = os.sysconf("SC_CLK_TCK")

Say = Callable[[str], None]
Run = Callable[[str, int], str]  # a kind and a number to what became of it
Build = Callable[..., Run]


@dataclass(frozen=True, order=True)
class Case:
    """One of a kind; with the seed, all that it depends on."""

    kind: str
    number: int


@dataclass(frozen=True)
class Opening:
    """The first message to a process: `build(*arguments, scratch, say)` makes what runs a case."""

    build: Build
    arguments: tuple[Any, ...]
    scratch: Path
    memory: int


@dataclass(frozen=True)
class Lot:
    """Cases to be run. `each`: told one by one, since one of them ends the process."""

    cases: tuple[Case, ...]
    each: bool = False


@dataclass(frozen=True)
class Phase:
    """What is begun with a case."""

    case: Case
    text: str


@dataclass(frozen=True)
class Told:
    """What became of cases, in order. `largest`: resident bytes so far; `last`: of the lot."""

    outcomes: tuple[str, ...]
    largest: int
    last: bool


@dataclass(frozen=True)
class Death:
    """A case that ended a process, or did not end."""

    case: Case
    ending: str
    phase: str
    said: str = ""


@dataclass(frozen=True)
class Finding:
    """What must not be. `what` is the same for what has the same cause, as far as can be seen."""

    case: Case
    what: str
    detail: str = ""


@dataclass
class Tally:
    """What became of all cases.

    Attributes:
        outcomes: how many ended how, by kind.
        deaths: by how and in which phase.
        examples: of each of those, a few.
        findings: what must not be.
        unrepeated: deaths that did not come again when cases were run one by one.
        started: processes.
        largest: resident bytes of any.
    """

    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    deaths: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Death] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unrepeated: int = 0
    started: int = 0
    largest: int = 0
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """All that came to an end, deaths included."""
        return self.outcomes.total() + self.deaths.total()

    def lines(self) -> list[str]:
        """For people."""
        rate = self.cases / max(self.seconds, 1e-9)
        made = [
            f"{self.cases:,} cases in {self.seconds:.0f} s ({rate:,.0f} a second), {self.started} processes, "
            f"at most {self.largest >> 20} MiB each"
        ]
        made += [f"  {kind}: {what}: {count:,}" for (kind, what), count in sorted(self.outcomes.items())]
        made += [f"  lost to {how}, {phase}: {count:,}" for (how, phase), count in sorted(self.deaths.items())]
        if self.unrepeated:
            made.append(f"  lost, and not again when run one by one: {self.unrepeated}")
        return [*made, *self.told_once(), f"{len(self.findings)} findings"]

    def causes(self) -> dict[str, list[Finding]]:
        """Findings with the same cause together."""
        found: dict[str, list[Finding]] = {}
        for finding in self.findings:
            found.setdefault(finding.what, []).append(finding)
        return found

    def told_once(self) -> list[str]:
        """Of each cause the first case, and what is known of it."""
        return [
            f"{len(found)} x {what}; the first is {found[0].case.kind}:{found[0].case.number}\n{found[0].detail}"
            for what, found in self.causes().items()
        ]


def serve(connection: "Connection[Any, Any]", folder: Path, parent: int) -> None:
    """The main function of a process."""
    settle(folder, parent)
    opening: Opening = connection.recv()
    log = os.open(opening.scratch / "stderr", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(log, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit_memory(opening.memory)
    teller = Teller(connection)
    run = opening.build(*opening.arguments, opening.scratch, teller.say)
    with contextlib.suppress(EOFError):
        while True:
            lot: Lot = connection.recv()
            os.ftruncate(log, 0)
            gc.collect()
            gc.freeze()  # what is alive now, modules above all, need not be looked at again
            for number, case in enumerate(lot.cases):
                teller.case = case
                became = outcome(run, case, teller)  # before its list is looked at, which is another one by then
                teller.outcomes.append(became)
                teller.tell(last=number == len(lot.cases) - 1, now=lot.each)


class Teller:
    """What a process has to say."""

    def __init__(self, connection: "Connection[Any, Any]") -> None:
        self._connection = connection
        self.case = Case("", 0)
        self.phase = ""
        self.outcomes: list[str] = []
        self._since = time.monotonic()

    def say(self, phase: str) -> None:
        """Something is begun; all that went before is told first."""
        self.tell(now=True)
        self.phase = phase
        self._connection.send(Phase(self.case, phase))

    def tell(self, *, last: bool = False, now: bool = False) -> None:
        """What became of cases, from time to time."""
        if last or ((now or time.monotonic() - self._since > TOLD) and self.outcomes):
            largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            self._connection.send(Told(tuple(self.outcomes), largest, last))
            self.outcomes = []
            self._since = time.monotonic()


FOUND = "finding: "


def outcome(run: Run, case: Case, teller: Teller) -> str:
    """What became of a case: what was made of it, a documented error, or a finding, with more about it below."""
    teller.phase = ""
    try:
        return run(case.kind, case.number)
    except OnnxsensError as error:
        return refused(error) + (f", {teller.phase}" if teller.phase else "")
    except Exception as error:
        if isinstance(error, MemoryError) and teller.phase and not teller.phase.startswith(OURS):
            return "refused memory"
        return f"{FOUND}{cause(error)}\n{traceback.format_exc()[-LONGEST:]}"


def refused(error: OnnxsensError) -> str:
    """A documented error, unless it says more than one line, or that it is a bug of ours."""
    text = str(error)
    if len(text.splitlines()) != 1:
        return f"{FOUND}{cause(error)}: not one line\n{text!r:.{LONGEST}}"
    if error.exit_code == OnnxsensError.exit_code:
        return f"{FOUND}{cause(error)}: a bug of ours\n{text:.{LONGEST}}"
    return f"refused, {type(error).__name__}"


def cause(error: Exception) -> str:
    """The exception, and the last line of ours that it came through."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/onnxsens/" in each.filename]
    where = f"{frames[-1].filename.rpartition('/onnxsens/')[2]}:{frames[-1].lineno}" if frames else "nowhere of ours"
    return f"{type(error).__name__} at {where}"


class Host:
    """A place for a process, and the cases that it was given.

    Attributes:
        left: cases of which nothing was told yet, in order.
        each: whether they are run one by one since one of them ended a process.
    """

    def __init__(self, scratch: Path) -> None:
        scratch.mkdir(parents=True)
        self.scratch = scratch
        self.process: Spawned | None = None
        self.left: deque[Case] = deque()
        self.each = False
        self.phase: Phase | None = None
        self.heard = self.used = 0.0

    def note_time(self) -> None:
        """It was just heard of."""
        self.heard, self.used = time.monotonic(), self.processor_seconds()

    def late(self, limit: float) -> bool:
        """Whether it has said nothing for so many seconds of its own, or for far longer."""
        return self.processor_seconds() - self.used > limit or time.monotonic() - self.heard > WALL * limit

    def processor_seconds(self) -> float:
        """That it has used."""
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()  # type: ignore[union-attr]
        except OSError:
            return self.used
        return (int(fields[11]) + int(fields[12])) / TICKS

    def last_words(self) -> str:
        """On its stderr."""
        try:
            text = (self.scratch / "stderr").read_bytes()[-2000:].decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1][:200] if lines else ""


class Fuzzer:
    """Gives cases to processes, and says what became of them.

    Args:
        build, arguments: see `Opening`.
        scratch: where each process has a folder.
        limit: seconds of a processor that a case may take.
        memory: bytes that a process may have.
        expected: whether a case may end a process, outside of what a command does itself.
    """

    def __init__(
        self,
        build: Build,
        arguments: tuple[Any, ...],
        scratch: Path,
        *,
        workers: int = 2,
        limit: float = 20.0,
        memory: int = 3 << 30,
        expected: bool = True,
    ) -> None:
        self._build, self._arguments = build, arguments
        self._limit, self._memory, self._expected = limit, memory, expected
        self._hosts = [Host(scratch / f"{number}") for number in range(workers)]

    def run(self, cases: Sequence[Case]) -> Tally:
        """All of them."""
        tally = Tally()
        waiting = deque(cases)
        lot = max(1, min(LOT, len(cases) // len(self._hosts) // 2))
        began = time.monotonic()
        try:
            while waiting or any(host.left for host in self._hosts):
                for host in self._hosts:
                    if not host.left and waiting:
                        self._give(host, [waiting.popleft() for _ in range(min(lot, len(waiting)))], tally)
                handles = [each for host in self._hosts if host.process for each in host.process.handles]
                wait(handles, 0.5)
                for host in self._hosts:
                    self._look(host, tally)
        finally:
            for host in self._hosts:
                if host.process:
                    host.process.end()
                    host.process = None
        tally.seconds = time.monotonic() - began
        return tally

    def _give(self, host: Host, cases: Sequence[Case], tally: Tally, *, each: bool = False) -> None:
        if host.process is None:
            host.process = Spawned(serve)
            host.process.send(Opening(self._build, self._arguments, host.scratch, self._memory))
            tally.started += 1
        host.left, host.each, host.phase = deque(cases), each, None
        host.process.send(Lot(tuple(cases), each))
        host.note_time()

    def _look(self, host: Host, tally: Tally) -> None:
        process = host.process
        if process is None:
            return
        for message in process.messages():
            host.note_time()
            if isinstance(message, Phase):
                host.phase = message
                continue
            host.phase = None
            for text in message.outcomes:
                self._note(host.left.popleft(), text, tally)
            tally.largest = max(tally.largest, message.largest)
            if message.last:
                tally.unrepeated += host.each
                host.each = False
                if message.largest > LARGEST:
                    process.end()
                    host.process = None
                    return
        if process.ended():
            self._lost(host, process.end(), tally)
        elif host.left and host.late(self._limit):
            process.kill()
            self._lost(host, f"the limit of {self._limit:g} s", tally, process.end())

    def _note(self, case: Case, text: str, tally: Tally) -> None:
        if text.startswith(FOUND):
            what, _, detail = text.removeprefix(FOUND).partition("\n")
            tally.findings.append(Finding(case, what, detail))
            text = "finding"
        tally.outcomes[case.kind, text] += 1

    def _lost(self, host: Host, ending: str, tally: Tally, killed: str = "") -> None:
        """Whose fault it was, if that is known; the rest goes to another process."""
        host.process = None
        left = list(host.left)
        if killed not in {"", "SIGKILL"} or not left:
            case = left[0] if left else Case("", 0)
            tally.findings.append(
                Finding(case, f"a process ended as it should not: {ending} {killed}", host.last_words())
            )
        if not left:
            return
        known = host.each or len(left) == 1 or (host.phase is not None and host.phase.case == left[0])
        if known:
            phase = host.phase.text if host.phase and host.phase.case == left[0] else OURS + "read"
            self._bury(Death(left[0], ending, phase, host.last_words()), tally)
            host.each = False
        remaining = left[1:] if known else left
        host.left = deque()
        if remaining:
            self._give(host, remaining, tally, each=not known)

    def _bury(self, death: Death, tally: Tally) -> None:
        tally.deaths[death.ending, death.phase] += 1
        if sum((each.ending, each.phase) == (death.ending, death.phase) for each in tally.examples) < EXAMPLES:
            tally.examples.append(death)
        if not self._expected or death.phase.startswith(OURS):
            tally.findings.append(Finding(death.case, f"lost to {death.ending}, {death.phase}", death.said))
