"""A process of our own, with a pipe to it and a temporary folder that goes when it goes.

Imports little, so that a first process can be started before all else is imported here: its own imports then take no
time of ours. Knows nothing of what is said over the pipe. Not `ProcessPoolExecutor`: there, one death loses the jobs
of all.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from onnxsens.files import TemporaryFolder
from onnxsens.signals import ENDING

REAPING_SECONDS = 2.0  # from SIGKILL until a process must be gone; only one stuck in the kernel takes longer


Main = Callable[["Connection[Any, Any]", Path, int], None]


class Spawned:
    """A fresh interpreter, not a fork: thread pools of native code do not survive one.

    Args:
        main: a function of a module, called there with its end of the pipe, the folder for its temporary files, and
            the id of this process.
    """

    def __init__(self, main: Main) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._folder = TemporaryFolder()
        self._process = context.Process(target=main, args=(theirs, self._folder.path, os.getpid()), daemon=True)
        self._at_end = False
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self._sending: threading.Thread | None = None
        try:
            with out_of_reach():
                self._process.start()
        except BaseException:
            if self._process.pid is not None:
                self._process.kill()
            self._connection.close()
            self._folder.remove()
            raise
        finally:
            theirs.close()  # else it would stay open when the process is dead

    @property
    def pid(self) -> int | None:
        """Of the process, for messages."""
        return self._process.pid

    @property
    def handles(self) -> "list[Connection[Any, Any] | int]":
        """What `multiprocessing.connection.wait` waits for: a message, or the end."""
        return [self._connection, self._process.sentinel]

    def send(self, message: object) -> None:
        """Send, without waiting: who does not read is late some day. Where nobody reads any more, `ended` tells."""
        if self._sending is None:
            self._sending = threading.Thread(target=self._send_all, daemon=True)
            self._sending.start()
        self._outbox.put(message)

    def _send_all(self) -> None:
        """One after the other, until there is nobody to send to."""
        with contextlib.suppress(OSError, ValueError):
            while (message := self._outbox.get()) is not None:
                self._connection.send(message)

    def messages(self) -> Iterator[Any]:
        """What has come so far, a torn last message left out."""
        while not self._at_end:
            try:
                if not self._connection.poll():
                    return
                message = self._connection.recv()
            except Exception:  # its end, or bytes that are none of ours: code of the user's may write anywhere
                self._at_end = True
                return
            yield message

    def ended(self) -> bool:
        """Whether no message will follow those that have come.

        A process that it forked may hold the pipe open when it is dead itself.
        """
        return self._at_end or not (self._process.is_alive() or self._connection.poll())

    def kill(self) -> None:
        """Nothing in it can prevent that, nor in what it has started; `end` is still to be called."""
        if hasattr(os, "killpg") and self._process.pid is not None:
            with contextlib.suppress(OSError):  # it leads no group before it has settled
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()

    def end(self) -> str:
        """Be rid of it, at once; how it ended: `SIGKILL`, `exit code 3`."""
        if self._at_end:
            self._process.join(REAPING_SECONDS)  # it closed its end, and is about to have an exit code
        self.kill()
        self._process.join(REAPING_SECONDS)
        code = self._process.exitcode
        self._outbox.put(None)
        self._connection.close()
        self._folder.remove()
        if code is None:
            return "it does not end"
        return signal_name(-code) if code < 0 else f"exit code {code}"


class Spare:
    """A process that was started ahead, for whoever is the first to need one."""

    def __init__(self) -> None:
        self._process: Spawned | None = None

    def start(self, main: Main) -> None:
        """Ahead."""
        self._process = Spawned(main)

    def take(self, main: Main) -> Spawned:
        """It, if there is one, else one that is started now."""
        process, self._process = self._process, None
        if process is not None and process.ended():
            process.end()
            process = None
        return process or Spawned(main)

    def drop(self) -> None:
        """Nobody needs it."""
        process, self._process = self._process, None
        if process is not None:
            process.end()


spare = Spare()


def signal_name(number: int) -> str:
    """`SIGKILL`; some have no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@contextlib.contextmanager
def out_of_reach() -> Iterator[None]:
    """Start a process so that neither signals nor the user's script reach it.

    `multiprocessing` would run the module `__main__` again there: a script without a guard would begin anew, and one
    that was read from stdin or a notebook cannot be found.
    """
    main = sys.modules["__main__"]
    with later(), blocked():
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Signals that come meanwhile are handled at the end: in the middle, half a process would be left."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield  # their handlers run in the main thread only
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if callable(handler):
            signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Signals are blocked in this thread, and in a process that it starts, until that has its own handlers.

    Here they may still come, through another thread.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # when it is started, it unblocks signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
