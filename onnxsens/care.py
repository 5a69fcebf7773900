"""What is allowed to processes of a run, and what is done where memory ran out in one."""

from collections.abc import Callable

from onnxsens.engine.crew import Call
from onnxsens.engine.memory import host_free
from onnxsens.engine.workers import Care
from onnxsens.options import Guard
from onnxsens.scan import Observer

WORKER_SHARE = 0.9  # of the memory that is free, that one process may take


class Lighter:
    """What is done for the successors of a process in which memory ran out: they run half as many samples at once.

    Attributes:
        most: samples of one run.
    """

    def __init__(self, most: int, observer: Observer) -> None:
        self.most = most
        self._observer = observer

    def __call__(self) -> Call | None:
        """Once more; None where there is nothing left to halve."""
        if self.most == 1:
            return None
        self.most = (self.most + 1) // 2
        self._observer.note(
            f"from here on {self.most} samples are run at once: memory ran out (what depends on the batch, be it by "
            "rounding, changes with it)"
        )
        return Call("fit", (self.most,), "took fewer samples")


def care_for(guard: Guard, lighten: Callable[[], Call | None] = lambda: None) -> Care:
    """The same for processes."""
    memory = guard.worker_memory
    if memory is None and (free := host_free()) is not None:
        memory = int(WORKER_SHARE * free)
    return Care(guard.patience, memory, lighten)
