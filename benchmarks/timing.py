"""Seconds, spreads of ratios, and the peak memory of a process. Knows nothing of models."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

MB = 1_000_000
Result = TypeVar("Result")
# Threads of an ONNX Runtime session look for work for a while after a run, and take the cores from whoever is next: of
# two equal evaluators, the one that came right after plain inference seemed a quarter slower.
PAUSE = 0.15  # seconds


@dataclass(frozen=True)
class Spread:
    """What came out of several tries: ratios, or seconds."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """Of the tries."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({min(self.values):.2f} to {max(self.values):.2f})" if self.values else "-"


def timed(action: Callable[[], Result]) -> tuple[Result, float]:
    """What a call gives, and its wall time, begun when what ran before has gone quiet."""
    time.sleep(PAUSE)
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    return timed(action)[1]


def in_child(action: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """What a function gives in a new process of its own, and the most memory that process ever had, in bytes.

    Linux only: VmHWM, which counts the pages of files that are mapped.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=answer, args=(sender, action, arguments))
    process.start()
    sender.close()  # so that a child that dies is the end of the pipe, not a wait for ever
    try:
        result, peak = receiver.recv()
    finally:
        process.join()
    return result, int(peak)


def answer(sender: Connection, action: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """The child's side."""
    result = action(*arguments)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    sender.send((result, int(peak.split()[1]) * 1024))
