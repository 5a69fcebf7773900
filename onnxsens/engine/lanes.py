"""Batches side by side: each on fewer threads, all cores busy.

An operator on a small batch cannot keep many threads at work, and waking them takes as long as it does. Batches do not
depend on each other, so where one takes little time several are run at once, and fewer threads are woken for each.
Where one takes long the operators are large, all threads are at work in any case, and the memory of several batches
would be taken for nothing.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

QUICK = 0.05  # seconds of a batch, up to which batches are run side by side
MOST_LANES = 8  # a measurement's first block is 8 batches


def lanes_for(threads: int, seconds: float) -> int:
    """How many batches to run at once, where one takes so long on all threads."""
    if seconds >= QUICK:
        return 1
    return threads // -(-threads // MOST_LANES)  # the same number of threads for each, and as few idle as can be


class Lanes:
    """Runs jobs, at most `count` at once; what they are made from is made in the caller's thread, in order."""

    def __init__(self, count: int = 1) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Let the threads go."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def results(self, jobs: Iterable[Callable[[], Result]]) -> Generator[Result, None, None]:
        """Of each job, in order. Nothing is at work any more when this ends, be it by an error."""
        if self.count == 1:
            for job in jobs:
                yield job()
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="onnxsens-lane")
        running: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                running.append(self._pool.submit(job))
                if len(running) > self.count:  # the next job is ready before one of these ends
                    yield first_of(running)
            while running:
                yield first_of(running)
        finally:
            for future in running:
                future.cancel()
            for future in running:
                if not future.cancelled():
                    future.exception()


def first_of(running: "deque[Future[Result]]") -> Result:
    """The oldest result. It is waited for as one of those at work: whoever is interrupted here waits for it again."""
    found = running[0].result()
    running.popleft()
    return found
