"""How cores are shared out: one process with many threads, or many processes with one thread each.

Found out by a few runs of the dense model. Points are the same either way; only the time is not.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine.providers import CPU
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session

START_SECONDS = 2.0  # until a process has started, imported everything and opened model and data; all start at once
MARGIN = 1.15  # how much faster many processes must be: they take more memory, and the figure is a rough one
MEASURING_SECONDS = 0.1  # of each of both ways, where single runs are shorter than that
MOST_OF_THE_WORK = 0.05  # that measuring may take, where they are longer
LONGEST = 100  # runs of each thread


@dataclass(frozen=True)
class Sharing:
    """How many workers, and why.

    Attributes:
        workers: 1, or as many as there are threads.
        together: batches a second of one session with all threads; None where it was not measured.
        apart: of as many runs at the same time as there are threads, each on one thread.
        why: one line, for the log.
    """

    workers: int
    together: float | None
    apart: float | None
    why: str


def shares(threads: int, workers: int) -> int:
    """Threads of each worker, at least 1."""
    return max(1, threads // workers)


def choose_workers(runner: ModelRunner, threads: int, work_seconds: float) -> Sharing:
    """Compare both ways on one batch of the dense model, unless it is clear without.

    Args:
        threads: to be shared out.
        work_seconds: what the work would take in one process with all threads, roughly.
    Raises:
        ModelError: the model does not run.
    """
    if threads == 1:
        return Sharing(1, None, None, "one worker: there is one thread")
    if runner.provider.name != CPU:
        return Sharing(1, None, None, f"one worker: it has {runner.provider.name} to itself")
    if runner.lanes.count > 1:
        return Sharing(1, None, None, f"one worker: it runs {runner.lanes.count} batches side by side")
    if work_seconds * (1 - 1 / threads) < START_SECONDS:
        return Sharing(1, None, None, f"one worker: about {work_seconds:.1f} s of work do not pay for starting others")
    feed = runner.feed(np.arange(min(runner.batch_size, len(runner.dataset))))
    together = throughput_together(runner, feed, threads)
    # Both rounds of the other way, each as long as `threads` of these batches, should either be as good.
    if 2 * threads / together > max(MEASURING_SECONDS, MOST_OF_THE_WORK * work_seconds):
        return Sharing(1, together, None, f"one worker: {work_seconds:.0f} s of work are too little to find out")
    apart = throughput_apart(runner, feed, threads, int(np.clip(MEASURING_SECONDS * together / threads, 1, LONGEST)))
    return compared(threads, together, apart, work_seconds)


def compared(threads: int, together: float, apart: float, work_seconds: float) -> Sharing:
    """Take many workers where they are clearly faster, and by enough to make up for their start."""
    found = f"{apart:.3g} batches a second by {threads} workers of one thread, {together:.3g} by one of {threads}"
    if apart < MARGIN * together:
        return Sharing(1, together, apart, f"one worker: {found}")
    if work_seconds * (1 - together / apart) < START_SECONDS:
        return Sharing(1, together, apart, f"one worker: {found}, but {work_seconds:.0f} s of work do not pay for them")
    return Sharing(threads, together, apart, f"{threads} workers: {found}")


def throughput_together(runner: ModelRunner, feed: Mapping[str, AnyArray], threads: int) -> float:
    """Batches a second of one session with all threads."""
    session = opened(runner, threads)
    timed(session, feed, 1)
    times = int(np.clip(MEASURING_SECONDS / timed(session, feed, 1), 2, LONGEST))
    return times / timed(session, feed, times)


def throughput_apart(runner: ModelRunner, feed: Mapping[str, AnyArray], threads: int, times: int) -> float:
    """Batches a second of `threads` one-thread runs at the same time, each `times` times.

    One session serves them all, since it brings no thread of its own: the same speed, and the weights are there once.
    """
    session = opened(runner, 1)
    with ThreadPoolExecutor(threads) as pool:
        for count in (1, times):
            started = time.perf_counter()
            list(pool.map(lambda _, count=count: timed(session, feed, count), range(threads)))
            seconds = time.perf_counter() - started
    return threads * times / seconds


def opened(runner: ModelRunner, threads: int) -> Session:
    """The dense model."""
    return runner.opened(runner.copy, {}, runner.provider, replace(runner.recipe, threads=threads))


def timed(session: Session, feed: Mapping[str, AnyArray], times: int) -> float:
    """Seconds that so many runs take."""
    started = time.perf_counter()
    for _ in range(times):
        session.run(session.readable, feed)
    return time.perf_counter() - started
