"""The signals that want us gone: what they do before there is anything to put away, and how work is stopped for them.

Imports next to nothing, so that it can be in place before anything else is.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
TIME_LIMIT = getattr(signal, "SIGALRM", None)  # the run's own
GRACE_SECONDS = 2.5  # from a signal until we are gone, whatever still is under way

_running: dict[int, Callable[[], None]] = {}  # how to stop native work that is under way


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """A signal while nothing has been begun, perhaps in the middle of an import: no unwinding through half of it."""
    text = f"ended by {signal.Signals(number).name}; nothing was written"
    os.write(2, f"error: {text}\n".encode())
    if "--json" in sys.argv:
        os.write(1, f'{{"error": "{text}", "exit_code": {128 + number}}}\n'.encode())
    os._exit(128 + number)


def guard_start() -> None:
    """Until work begins, end at once."""
    for number in heeded():
        signal.signal(number, end_at_once)


def heeded() -> list[int]:
    """Those that whoever started us does not want us to ignore, as `nohup` does with one."""
    return [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """While native code runs, in any thread: a signal calls `stop`. Python's own handlers have to wait for its end."""
    key = id(stop)
    _running[key] = stop
    try:
        yield
    finally:
        del _running[key]


@contextmanager
def watched(last_words: Callable[[int], None]) -> Iterator[None]:
    """Let a thread see to it that a signal ends us: native runs are stopped at once, and so are we if nothing helps.

    Args:
        last_words: called with the number of the signal before that happens.
    """
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield  # wake-up files are sockets there; signals come to the main thread only
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    over = threading.Event()
    threading.Thread(target=_watch, args=(reader, over, last_words), daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)  # which ends the thread


def _watch(reader: int, over: threading.Event, last_words: Callable[[int], None]) -> None:
    ending = {*ENDING, TIME_LIMIT}
    try:
        while content := os.read(reader, 1):
            if content[0] in ending:
                for stop in list(_running.values()):
                    stop()
                if not over.wait(GRACE_SECONDS):
                    last_words(content[0])
                    os._exit(128 + content[0])
    finally:
        os.close(reader)
