"""What happens in a worker process: it opens what it is told to, and serves one job after the other over its pipe.

Knows no store: choices and notes go to the parent as messages, in the order in which they are made. Whatever happens
here, be it in native code or in the user's, costs the parent no more than the answer that it waits for.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import current_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, NoReturn, Protocol

from onnxsens.engine.crew import Call, Job, results
from onnxsens.engine.questions import Answer, Effect, Evaluator, Route
from onnxsens.errors import OnnxsensError, about_path
from onnxsens.signals import ENDING
from onnxsens.usercode import announcing

PARENT_SECONDS = 1.0  # how often it is looked whether the parent lives, should its end of the pipe be held open

KILLED_FIRST = 900  # of 1000: whom the system kills where memory runs out; the parent has everything to lose
PR_SET_PDEATHSIG = 1


class Served(Protocol):
    """What a worker has opened."""

    @property
    def evaluator(self) -> Evaluator:
        """Answers questions."""

    def call(self, name: str, *arguments: Any) -> Any:
        """Anything else; the result can be sent."""


Build = Callable[..., Served]


@dataclass(frozen=True)
class Opening:
    """The first message to a worker: `build(*arguments, routes=..., tell=...)` gives what it serves.

    Attributes:
        standing: calls that are made before it is ready.
        memory: bytes of its own that the process may have; any without.
    """

    build: Build
    arguments: tuple[Any, ...]
    standing: tuple[Call, ...] = ()
    memory: int | None = None


@dataclass(frozen=True)
class Work:
    """A job, and the routes that are known of its weights."""

    job: Job
    routes: Mapping[str, Route]


@dataclass(frozen=True)
class Ready:
    """All is open."""


@dataclass(frozen=True)
class Doing:
    """What is begun, for the case that nothing comes after it: `tried metric 'accuracy'`.

    Attributes:
        seconds: that it may well take, besides what is allowed for anything.
    """

    text: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Said:
    """Something for the user to know. `opening`: said before all was open."""

    kind: Literal["note", "detail", "stage"]
    text: str
    opening: bool = False


@dataclass(frozen=True)
class Kept:
    """A route was chosen; sent before any result that depends on it."""

    weight: str
    route: Route


@dataclass(frozen=True)
class Result:
    """As `Done`, without the job and the number of the question, which the parent has."""

    answer: Answer | None
    effect: Effect | None
    seconds: float
    last: bool
    value: Any = None


@dataclass(frozen=True)
class Failed:
    """An exception ended the job, or the opening.

    Attributes:
        kind: one of ours or MemoryError; None is a bug.
        trace: for --debug.
    """

    kind: type[Exception] | None
    text: str
    trace: str


class Line:
    """The worker's end of the pipe. A thread reads it, so that the parent's death is noticed in the middle of work.

    Args:
        folder: for temporary files; removed when the parent is gone, else by the parent.
        parent: its process id.
    """

    def __init__(self, connection: "Connection[Any, Any]", folder: Path, parent: int) -> None:
        self._connection = connection
        self._folder = folder
        self._parent = parent
        self._own = os.getpid()
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def hear(self) -> Any:
        """The next message; waits for it.

        Raises:
            Exception: the message cannot be read, for instance because it names a module that is not found here.
        """
        message = self._inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    def tell(self, message: object) -> None:
        """Send to the parent, from any thread."""
        if os.getpid() != self._own:
            os._exit(1)  # code of the user's forked, and its child came back: it would answer everything twice
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            self._leave()

    def _listen(self) -> None:
        while True:
            try:
                if wait([self._connection], PARENT_SECONDS):
                    self._inbox.put(self._connection.recv())
                elif hasattr(os, "getppid") and os.getppid() != self._parent:
                    self._leave()
            except (EOFError, OSError):
                self._leave()
            except Exception as error:  # raised where it can be told, by `hear`
                self._inbox.put(error)

    def _leave(self) -> NoReturn:
        """Nobody wants the answers: go at once, native code or not."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(1)


class ToldRoutes:
    """Routes that came with jobs or were chosen here; those are told to the parent."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell
        self._routes: dict[str, Route] = {}

    def hear(self, routes: Mapping[str, Route]) -> None:
        """What the parent knows."""
        self._routes.update(routes)

    def known(self, weight: str) -> Route | None:
        """Of a weight of this job, or of an earlier one."""
        return self._routes.get(weight)

    def keep(self, weight: str, route: Route) -> None:
        """Tell it before the next result."""
        self._routes[weight] = route
        self._tell(Kept(weight, route))


def serve(connection: "Connection[Any, Any]", folder: Path, parent: int) -> None:
    """The main function of a worker process; ends when the parent does, or says so."""
    settle(folder, parent)
    line = Line(connection, folder, parent)
    routes = ToldRoutes(line.tell)
    announcing.to = lambda text: line.tell(Doing(text))
    try:
        opening: Opening = line.hear()
        limit_memory(opening.memory)
        served = opening.build(*opening.arguments, routes=routes, tell=line.tell)
        for call in opening.standing:
            line.tell(Doing(call.doing))
            served.call(call.name, *call.arguments)
        line.tell(Ready())
    except Exception as error:  # told to the parent, which raises it
        line.tell(failed(error))
        return
    while True:
        try:
            work: Work = line.hear()
            routes.hear(work.routes)
            work_on(served, work.job, line.tell)
        except Exception as error:  # told to the parent, which raises it
            line.tell(failed(error))


def work_on(served: Served, job: Job, tell: Callable[[object], None]) -> None:
    """Do it, and tell each result."""
    if job.call is not None:
        started = time.perf_counter()
        value = served.call(job.call.name, *job.call.arguments)
        tell(Result(None, None, time.perf_counter() - started, last=True, value=value))
        return
    for done in results(served.evaluator, job):
        tell(Result(done.answer, done.effect, done.seconds, done.last, done.value))


def settle(folder: Path, parent: int) -> None:
    """Make this process a quiet one, that ends with its parent: signals are the parent's business, and so is stdout."""
    if hasattr(os, "setsid"):
        with contextlib.suppress(OSError):
            os.setsid()  # a group of its own, so that what code of the user's starts can be ended with it
    if sys.platform == "linux":
        # A thread that waits for the parent's end may not come to its turn while native code holds the interpreter.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(KILLED_FIRST))
    for number in ENDING:
        # A signal to the whole group reaches the parent too, which ends us in order.
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    sys.stdout = sys.stderr
    with contextlib.suppress(OSError):  # closed by whoever started us: then nothing can be printed there either
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
    tempfile.tempdir = str(folder)
    # A user's metric may start processes here as it may anywhere; those of a daemon are refused.
    current_process().daemon = False


def limit_memory(nbytes: int | None) -> None:
    """Let native code be refused what is more, where the system can: it then says so, and fewer samples may do."""
    if nbytes is not None and sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (nbytes, nbytes))


def failed(error: Exception) -> Failed:
    """As the parent can raise it: classes out of a user's file are not found there."""
    error = about_path(error) or error
    kinds = [kind for kind in type(error).__mro__ if kind.__module__.startswith("onnxsens.")]
    kind: type[Exception] | None = None
    if isinstance(error, OnnxsensError):
        kind, text = kinds[0], str(error)
    elif isinstance(error, MemoryError):
        kind, text = MemoryError, str(error)
    else:
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Failed(kind, text, traceback.format_exc())
