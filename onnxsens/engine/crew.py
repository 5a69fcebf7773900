"""Work on weights, given out and taken back: the crew that does it, and a crew of one in this process.

Knows nothing of processes, sessions or the store.
"""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from onnxsens.engine.questions import Answer, Effect, Evaluator, Question
from onnxsens.errors import ModelError


@dataclass(frozen=True)
class Call:
    """Something else to be done by whoever has the model open.

    Attributes:
        doing: what that is, for messages: `carried a plan out`.
    """

    name: str
    arguments: tuple[Any, ...]
    doing: str


@dataclass(frozen=True)
class Job:
    """Work on one weight, or a joint run: questions answered in order, or the canary; or something else.

    Attributes:
        key: the weight's name, empty for a joint run; jobs of one key go where the last of them went.
        questions: asked together.
        canary: samples of a question for the weight's effect; then there are no others.
        call: then there is nothing else.
        seconds: what one of its results is expected to take, roughly.
    """

    key: str
    questions: tuple[Question, ...] = ()
    canary: int | None = None
    call: Call | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.questions) + (self.canary is not None) + (self.call is not None) != 1:
            raise ValueError("a job has either questions or a canary or a call")


@dataclass(frozen=True)
class Done:
    """One result of a job.

    Attributes:
        index: number of the question in the job; 0 for the canary.
        answer: to that question.
        effect: what the canary said.
        value: what a call gave.
        seconds: wall time since the job began or its last result came.
        last: no other result of this job follows.
    """

    job: Job
    index: int
    answer: Answer | None
    effect: Effect | None
    seconds: float
    last: bool
    value: Any = None


class Crew(Protocol):
    """Those who work on jobs.

    Attributes:
        size: how many jobs may be under way.
    """

    size: int

    def give(self, job: Job) -> None:
        """To an idle member: the one that worked on this key last, if that one is idle.

        Raises:
            RuntimeError: none is idle.
        """

    def take(self) -> Done:
        """The next result of any job under way. Results of one job come in order.

        Raises:
            OnnxsensError: what the evaluator raised. Its job is over, all others go on.
            RuntimeError: no job is under way.
        """

    def close(self) -> None:
        """Drop what is under way."""


def results(evaluator: Evaluator, job: Job) -> Iterator[Done]:
    """Each result of a job, made when it is taken."""
    started = time.perf_counter()
    if job.canary is not None:
        why = None
        try:
            effect = evaluator.effect(job.key, job.canary)
        except ModelError as error:
            effect, why = "not measured", str(error)
        yield Done(job, 0, None, effect, time.perf_counter() - started, last=True, value=why)
        return
    count = len(job.questions)
    for index, (_, answer) in enumerate(zip(job.questions, evaluator.answers(job.questions), strict=True)):
        yield Done(job, index, answer, None, time.perf_counter() - started, last=index == count - 1)
        started = time.perf_counter()


class Alone:
    """A crew of one, in this process: a result is made when it is taken.

    Args:
        evaluator: stays its owner's; `close` leaves it open.
    """

    size = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._under_way: deque[Iterator[Done]] = deque()

    def give(self, job: Job) -> None:
        """Begin it when its first result is taken."""
        if self._under_way:
            raise RuntimeError("there is one member, and it is at work")
        self._under_way.append(results(self._evaluator, job))

    def take(self) -> Done:
        """Make the next result."""
        if not self._under_way:
            raise RuntimeError("no job is under way")
        job = self._under_way.popleft()
        done = next(job)
        if done.last:
            deque(job, maxlen=0)  # to its end: the evaluator may have something to put away
        else:
            self._under_way.append(job)
        return done

    def close(self) -> None:
        """Drop what is under way."""
        self._under_way.clear()
