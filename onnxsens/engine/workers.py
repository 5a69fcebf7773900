"""A crew of processes: jobs are shared out, a death costs one result, and everything that is written is written here.

Each process has an evaluator of its own, with its own sessions and threads. Which process answers a question changes
nothing in the answer. A process that dies, or gives no answer in the time it is allowed, is replaced and asked once
more; what kills two is recorded as a failure, with the signal and what it was doing. Knows nothing of the store.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import Any

from onnxsens.engine.crew import Call, Done, Job
from onnxsens.engine.losses import OUT_OF_MEMORY, TRIES, lost, raised
from onnxsens.engine.memory import kills_for_memory
from onnxsens.engine.questions import Answer, Effect, Route, Routes
from onnxsens.engine.serving import Build, Doing, Failed, Kept, Opening, Ready, Result, Said, Work, serve
from onnxsens.spawning import Spawned, spare

LOOK_SECONDS = 1.0  # how often it is looked for deaths that show neither in a pipe nor in a sentinel
SLOWEST = 20  # times what the median result took, or what one was expected to take, before a process is given up
STARTING = Doing("opened the model", 6.0)  # and imports what it needs; on a busy machine that takes a while
REMEMBERED = 200  # results that the median is of


@dataclass(frozen=True)
class Care:
    """How much is done for processes, and allowed to them.

    Attributes:
        patience: seconds in which an answer must come, whatever is expected.
        memory: bytes of its own that a process may have; any without.
        lighten: told that memory ran out in one; gives a call that makes its successors take less, if there is one.
    """

    patience: float = 60.0
    memory: int | None = None
    lighten: Callable[[], Call | None] = lambda: None


class Member:
    """One place in the crew: a process, where there is one, and what it is doing.

    Attributes:
        job: under way; None is idle.
        answered: results of the job that have come.
        deaths: of processes at the question that is next.
        failed_starts: deaths while opening, since the last process that was ready.
        since: when the last result came, or the job began; monotonic seconds.
        heard: when it last said anything.
        begun: what it says that it is doing.
        late: seconds without an answer, after which it was given up.
        kills: by the system, for memory, before its process was started.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Spawned | None = None
        self.opening = False
        self.job: Job | None = None
        self.answered = 0
        self.deaths = 0
        self.failed_starts = 0
        self.since = self.heard = 0.0
        self.begun: Doing | None = None
        self.late = 0.0
        self.kills = 0

    def begin(self, job: Job) -> None:
        """A job that is new."""
        self.job, self.answered, self.deaths, self.failed_starts = job, 0, 0, 0
        self.since = self.heard = time.monotonic()
        if not self.opening:
            self.begun = None

    def remaining(self, job: Job) -> Job:
        """What a new process still has to do of it."""
        return replace(job, questions=job.questions[self.answered :])

    def done(self, job: Job, result: Result) -> Done:
        """What came, as a result of the whole job; the member is idle after the last."""
        found = Done(job, self.answered, result.answer, result.effect, result.seconds, result.last, result.value)
        self.answered += 1
        self.deaths = 0
        self.since = time.monotonic()
        self.begun = None
        if result.last:
            self.job = None
        return found

    def doing(self) -> str:
        """For messages."""
        if self.begun is not None:
            return self.begun.text
        if self.job is None:
            return "had nothing to do"
        if self.opening:
            return "opened the model"
        if self.job.call is not None:
            return self.job.call.doing
        if self.job.canary is not None:
            return f"zeroed '{self.job.key}'"
        return f"measured '{self.job.key}'" if self.job.key else "measured weights together"


class Workers:
    """A crew of `count` processes, each started with its first job.

    Args:
        build: `build(*arguments, routes=..., tell=...)` gives what a process serves; a function that can be imported
            by its module's name, which `__main__` is not.
        arguments: records that can be sent; the number of threads of each worker is among them.
        routes: asked and told in this process only.
        hear: takes what workers say, and a note on each death.

    Attributes:
        per_sample: seconds that a sample takes in the dense model, as soon as that is known.
    """

    def __init__(
        self,
        build: Build,
        arguments: tuple[Any, ...],
        count: int,
        routes: Routes,
        hear: Callable[[Said], None],
        care: Care | None = None,
    ) -> None:
        self.size = count
        self._care = care or Care()
        self._opening = Opening(build, arguments, (), self._care.memory)
        self._routes = routes
        self._tell = hear
        self._members = [Member(number) for number in range(1, count + 1)]
        self._homes: dict[str, Member] = {}
        self._arrived: deque[Done | Exception] = deque()
        self._seconds: deque[float] = deque(maxlen=REMEMBERED)
        self.per_sample = 0.0

    def start(self) -> None:
        """Let the first process open what it has to, while others do something else."""
        self._started(self._members[0])

    def give(self, job: Job) -> None:
        """To the member that has the key's sessions, else to one that is running, else to one that is started."""
        idle = [member for member in self._members if member.job is None]
        if not idle:
            raise RuntimeError("every member is at work")
        home = self._homes.get(job.key)
        member = home if home and home in idle else min(idle, key=lambda each: (each.process is None, each.since))
        self._homes[job.key] = member
        if member.process and not member.opening:
            self._attend(member, member.process)  # if it died meanwhile, this job is not to blame
        member.begin(job)
        self._send(member, job)

    def take(self) -> Done:
        """The next result; waits for it."""
        while not self._arrived:
            self._listen()
        found = self._arrived.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    def open_later(self, *arguments: Any) -> None:
        """With other arguments from here on, that come to the same: what the first process has found out is in them."""
        self._opening = replace(self._opening, arguments=arguments)

    def call(self, name: str, *arguments: Any, doing: str, seconds: float = 0.0) -> Any:
        """Have something done, and wait for what it gives; nothing else may be under way.

        Raises:
            WorkerLostError: two processes died of it.
        """
        self.give(Job("", call=Call(name, arguments, doing), seconds=seconds))
        return self.take().value

    def stand(self, call: Call) -> None:
        """Have something done by every process that there is and will be."""
        self._opening = replace(self._opening, standing=(*self._opening.standing, call))
        for member in self._members:
            if member.process and not member.opening:
                member.begin(Job("", call=call))
                self._send(member, Job("", call=call))
                self.take()

    def close(self) -> None:
        """End every process, whatever it is doing."""
        for member in self._members:
            if member.process:
                member.process.kill()
        for member in self._members:
            member.job = None
            self._end(member)
        self._arrived.clear()

    def _started(self, member: Member) -> Spawned:
        if member.process is None:
            member.process, member.opening = spare.take(serve), True
            member.begun = STARTING
            member.kills = kills_for_memory()
            member.heard = time.monotonic()
            member.process.send(self._opening)
        return member.process

    def _send(self, member: Member, job: Job) -> None:
        """What remains of the job, to a process that is started where there is none."""
        process = self._started(member)
        names = {job.key} | {change.weight for question in job.questions for change in question.changes}
        known = {name: self._routes.known(name) for name in sorted(names)}
        routes: dict[str, Route] = {name: route for name, route in known.items() if route}
        process.send(Work(member.remaining(job), routes))

    def _end(self, member: Member) -> str:
        """Be rid of its process; how that ended."""
        if member.process is None:
            return "not started"
        process, member.process, member.opening = member.process, None, False
        return process.end()

    def _listen(self) -> None:
        """Wait until something comes, and hear all that has come."""
        running = [(member, member.process) for member in self._members if member.process]
        if not any(member.job for member, _ in running):
            raise RuntimeError("no job is under way")
        wait([handle for _, process in running for handle in process.handles], self._until_late(running))
        for member, process in running:
            self._attend(member, process)

    def _until_late(self, running: list[tuple[Member, Spawned]]) -> float:
        """Seconds until the next one is late, and no more than between two looks."""
        now = time.monotonic()
        left = [member.heard + self._allowed(member) - now for member, _ in running if member.job]
        return max(min([LOOK_SECONDS, *left]), 0.0)

    def _allowed(self, member: Member) -> float:
        """Seconds in which something must come from it."""
        expected = member.begun.seconds if member.begun else 0.0
        if member.job is not None and not member.opening:
            expected += self._expected(member.job, member.answered)
        return max(self._care.patience, SLOWEST * expected)

    def _expected(self, job: Job, number: int) -> float:
        """Seconds that a result of a job should take."""
        if job.questions:
            start, stop = job.questions[number].samples
            median = statistics.median(self._seconds) if self._seconds else 0.0
            return max(median, (stop - start) * self.per_sample)
        return job.seconds + (job.canary or 0) * self.per_sample

    def _attend(self, member: Member, process: Spawned) -> None:
        """Hear what has come from it, and see whether it lives, and whether it gets on."""
        for message in process.messages():
            member.heard = time.monotonic()
            self._hear(member, message)
        if member.process is not process:
            return
        if process.ended():
            self._bury(member)
        elif member.job and time.monotonic() - member.heard > (allowed := self._allowed(member)):
            member.late = allowed
            process.kill()
            self._bury(member)

    def _hear(self, member: Member, message: object) -> None:
        match message:
            case Ready():
                member.opening, member.failed_starts, member.begun = False, 0, None
            case Doing():
                member.begun = message
            case Said():
                self._tell(replace(message, opening=member.opening))
            case Kept(weight, route):
                self._routes.keep(weight, route)
            case Result() if member.job:
                if message.answer is not None:
                    self._seconds.append(message.seconds)
                self._arrived.append(member.done(member.job, message))
            case Failed(kind) if kind is MemoryError:
                self._bury(member, OUT_OF_MEMORY)
            case Failed():
                self._arrived.append(raised(message))
                member.job = None
                if member.opening:
                    self._end(member)

    def _bury(self, member: Member, why: str = "") -> None:
        """Its process is dead, or no longer any use: begin again where it was, or give up what kills."""
        doing, pid, opening = member.doing(), member.process and member.process.pid, member.opening
        how = self._end(member)
        how = why or how
        if member.late:
            how, member.late = f"no answer in {member.late:.0f} s", 0.0
        job = member.job
        if opening:
            member.failed_starts += 1
        elif job:
            member.deaths += 1
        given_up = max(member.failed_starts, member.deaths) >= TRIES
        goes_on = "" if job is None else "; given up" if given_up else "; once more in a new one"
        self._tell(Said("note", f"worker {member.number} (process {pid}) died while it {doing} ({how}){goes_on}"))
        if how == "SIGKILL" and kills_for_memory() > member.kills:
            how = OUT_OF_MEMORY
        if how == OUT_OF_MEMORY and (call := self._care.lighten()):
            self._opening = replace(self._opening, standing=(*self._opening.standing, call))
        member.begun = None
        member.heard = time.monotonic()
        if job is None:
            return
        if given_up:
            self._give_up(member, job, opening, doing, how)
        if member.job:
            self._send(member, job)

    def _give_up(self, member: Member, job: Job, opening: bool, doing: str, how: str) -> None:
        """Make a failure of the question that kills; without a question, of the job."""
        failure = f"the process died {TRIES} times while it {doing} ({how})"
        seconds = time.monotonic() - member.since
        if opening or job.call is not None:
            self._arrived.append(lost(doing, how))
            member.job = None
            return
        if job.canary is not None:
            effect: Effect = "not measured"
            self._arrived.append(member.done(job, Result(None, effect, seconds, last=True, value=failure)))
            return
        answer = Answer({}, dict.fromkeys(job.questions[member.answered].metrics, failure), seconds, "none")
        last = member.answered == len(job.questions) - 1
        self._arrived.append(member.done(job, Result(answer, None, seconds, last)))
