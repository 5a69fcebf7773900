"""A crew of processes: jobs are shared out, a death costs one question, and everything that is written is written here.

Each process has an evaluator of its own, with its own sessions and threads. Which process answers a question changes
nothing in the answer. Knows nothing of the store.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from onnxsens.engine.crew import Done, Job
from onnxsens.engine.questions import Answer, Route, Routes
from onnxsens.engine.serving import Build, Failed, Kept, Opening, Ready, Result, Said, Work, serve
from onnxsens.engine.spawning import Spawned
from onnxsens.errors import ModelError, OnnxsensError

LOOK_SECONDS = 1.0  # how often it is looked for deaths that show neither in a pipe nor in a sentinel
TRIES = 2  # a question, or the building, that kills so many processes is at fault itself


class Member:
    """One place in the crew: a process, where there is one, and what it is doing.

    Attributes:
        job: under way; None is idle.
        answered: results of the job that have come.
        deaths: of processes at the question that is next.
        failed_starts: deaths while building, since the last process that was built.
        since: when the last result came, or the job began; monotonic seconds.
        engine: name of its evaluator, once it has been built.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Spawned | None = None
        self.building = False
        self.job: Job | None = None
        self.answered = 0
        self.deaths = 0
        self.failed_starts = 0
        self.since = 0.0
        self.engine = ""

    def begin(self, job: Job) -> None:
        """A job that is new."""
        self.job, self.answered, self.deaths, self.failed_starts = job, 0, 0, 0
        self.since = time.monotonic()

    def remaining(self, job: Job) -> Job:
        """What a new process still has to do of it."""
        return replace(job, questions=job.questions[self.answered :])

    def done(self, job: Job, result: Result) -> Done:
        """What came, as a result of the whole job; the member is idle after the last."""
        found = Done(job, self.answered, result.answer, result.effect, result.seconds, result.last)
        self.answered += 1
        self.deaths = 0
        self.since = time.monotonic()
        if result.last:
            self.job = None
        return found

    def doing(self) -> str:
        """For messages."""
        if self.job is None:
            return "had nothing to do"
        if self.building:
            return "opened the model"
        if self.job.canary is not None:
            return f"zeroed '{self.job.key}'"
        return f"measured '{self.job.key}'" if self.job.key else "measured weights together"


class Workers:
    """A crew of `count` processes, each started with its first job.

    Args:
        build: `build(*arguments, routes=..., say=...)` gives an evaluator; a function that can be imported by its
            module's name, which `__main__` is not.
        arguments: records that can be sent; the number of threads of each worker is among them.
        routes: asked and told in this process only.
        say: takes notes of workers, and a line on each death.
    """

    def __init__(
        self, build: Build, arguments: tuple[Any, ...], count: int, routes: Routes, say: Callable[[str], None]
    ) -> None:
        self.size = count
        self._opening = Opening(build, arguments)
        self._routes = routes
        self._say = say
        self._members = [Member(number) for number in range(1, count + 1)]
        self._homes: dict[str, Member] = {}
        self._arrived: deque[Done | Exception] = deque()

    def give(self, job: Job) -> None:
        """To the member that has the key's sessions, else to one that is running, else to one that is started."""
        idle = [member for member in self._members if member.job is None]
        if not idle:
            raise RuntimeError("every member is at work")
        home = self._homes.get(job.key)
        member = home if home and home in idle else min(idle, key=lambda each: (each.process is None, each.since))
        self._homes[job.key] = member
        if member.process:
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

    def close(self) -> None:
        """End every process, whatever it is doing."""
        for member in self._members:
            if member.process:
                member.process.kill()
        for member in self._members:
            member.job = None
            self._end(member)
        self._arrived.clear()

    def _send(self, member: Member, job: Job) -> None:
        """What remains of the job, to a process that is started where there is none."""
        if member.process is None:
            member.process, member.building = Spawned(serve), True
            member.process.send(self._opening)
        names = {job.key} | {change.weight for question in job.questions for change in question.changes}
        known = {name: self._routes.known(name) for name in sorted(names)}
        routes: dict[str, Route] = {name: route for name, route in known.items() if route}
        member.process.send(Work(member.remaining(job), routes))

    def _end(self, member: Member) -> str:
        """Be rid of its process; how that ended."""
        if member.process is None:
            return "not started"
        process, member.process, member.building = member.process, None, False
        return process.end()

    def _listen(self) -> None:
        """Wait until something comes, and hear all that has come."""
        running = [(member, member.process) for member in self._members if member.process]
        if not any(member.job for member, _ in running):
            raise RuntimeError("no job is under way")
        wait([handle for _, process in running for handle in process.handles], LOOK_SECONDS)
        for member, process in running:
            self._attend(member, process)

    def _attend(self, member: Member, process: Spawned) -> None:
        """Hear what has come from it, and see whether it lives."""
        for message in process.messages():
            self._hear(member, message)
        if member.process is process and process.ended():
            self._bury(member)

    def _hear(self, member: Member, message: object) -> None:
        match message:
            case Ready(engine):
                member.engine, member.building, member.failed_starts = engine, False, 0
            case Said(text):
                self._say(text)
            case Kept(weight, route):
                self._routes.keep(weight, route)
            case Result() if member.job:
                self._arrived.append(member.done(member.job, message))
            case Failed():
                self._arrived.append(raised(message))
                member.job = None
                if member.building:
                    self._end(member)

    def _bury(self, member: Member) -> None:
        """Its process is dead: begin again where it was, or give up what kills."""
        doing, pid, building = member.doing(), member.process and member.process.pid, member.building
        how = self._end(member)
        job = member.job
        if building:
            member.failed_starts += 1
        elif job:
            member.deaths += 1
        given_up = max(member.failed_starts, member.deaths) >= TRIES
        goes_on = "" if job is None else "; given up" if given_up else "; once more in a new one"
        self._say(f"worker {member.number} (process {pid}) died while it {doing} ({how}){goes_on}")
        if job is None:
            return
        if given_up:
            self._give_up(member, job, building, doing, how)
        if member.job:
            self._send(member, job)

    def _give_up(self, member: Member, job: Job, building: bool, doing: str, how: str) -> None:
        """Make a failure of the question that kills; without a question, of the job."""
        if building or job.canary is not None:
            short = building and how in ("SIGKILL", "SIGABRT")
            remedy = "use fewer workers if memory is short (-j 1)" if short else "run again with -j 1 to see why"
            self._arrived.append(ModelError(f"a process died {TRIES} times while it {doing} ({how}); {remedy}"))
            member.job = None
            return
        failure = f"the process that measured it died {TRIES} times ({how})"
        seconds = time.monotonic() - member.since
        answer = Answer({}, dict.fromkeys(job.questions[member.answered].metrics, failure), seconds, member.engine)
        last = member.answered == len(job.questions) - 1
        self._arrived.append(member.done(job, Result(answer, None, seconds, last)))


class WorkerTraceback(Exception):  # noqa: N818 — shown as where an error comes from, and no error itself
    """Where an exception comes from, in its own process: the cause of the one that is raised here, for --debug."""


def raised(message: Failed) -> Exception:
    """The exception of a worker, as one of this process."""
    if message.kind is None:
        error: Exception = OnnxsensError(f"{message.text}, in a worker process; this is a bug of ours: report it")
    else:
        error = message.kind(message.text)
    error.__cause__ = WorkerTraceback(message.trace)
    return error
