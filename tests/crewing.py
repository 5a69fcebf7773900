"""Evaluators that worker processes of tests build: one that misbehaves by the weight's name, and a real one."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from onnxsens.engine import Answer, Effect, Evaluator, Measurement, Question
from onnxsens.engine.crew import Crew, Done, Job
from onnxsens.engine.questions import Change, Route, Routes
from onnxsens.engine.serving import Said, Served
from onnxsens.errors import EngineBugError, ModelError


class Erratic:
    """Answers 100 times the level; what else it does depends on the weight.

    `once`: is killed at level 0.5 the first time; `always`: every time; `leaves`: calls sys.exit; `notes`: chooses a
    route and says something; `slow`: takes a minute; `greedy`: takes 2 GiB; `buggy`: raises what is nobody's business;
    `broken`: raises ours.

    Args:
        folder: each question is recorded in its file `asked`.
    """

    name = "erratic"

    def __init__(self, folder: Path, routes: Routes, tell: Callable[[object], None]) -> None:
        self._folder = folder
        self._routes = routes
        self._tell = tell

    @property
    def evaluator(self) -> Evaluator:
        return self

    def call(self, name: str, *arguments: Any) -> Any:
        self._record(f"call {name} {arguments}")
        self._misbehave(name)
        return name, *arguments

    def answer(self, question: Question) -> Answer:
        (change,) = question.changes
        self._record(f"{change.weight} {change.level}")
        if change.level == 0.5:
            self._misbehave(change.weight)
        measured = Measurement(1, 100 * change.level, 0.0, 1.0, 1.0)
        return Answer(dict.fromkeys(question.metrics, measured), {}, 0.0, f"{self.name} {os.getpid()}")

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        yield from map(self.answer, questions)

    def effect(self, weight: str, samples: int) -> Effect:
        self._record(f"{weight} canary")
        self._misbehave(weight)
        return "no effect"

    def close(self) -> None:
        pass

    def _record(self, text: str) -> None:
        with (self._folder / "asked").open("a") as file:
            file.write(f"{os.getpid()} {text}\n")

    def _misbehave(self, weight: str) -> None:
        before = self._folder / f"{weight} was here"
        match weight:
            case "once" if not before.exists():
                before.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            case "always":
                os.kill(os.getpid(), signal.SIGKILL)
            case "leaves":
                sys.exit(3)
            case "slow":
                before.touch()
                time.sleep(60)
            case "greedy":
                bytearray(2**31)
            case "buggy":
                raise ZeroDivisionError("nobody's business")
            case "broken":
                raise EngineBugError("the canary is dead")
            case "notes":
                known = self._routes.known(weight)
                self._tell(Said("note", f"known: {known.why if known else None}"))
                self._routes.keep(weight, Route("suffix", "input", exact=True, why="it was faster"))
                os.write(1, b"a native library prints")
                print("a metric prints")  # noqa: T201


def erratic(folder: Path, *, routes: Routes, tell: Callable[[object], None]) -> Erratic:
    (folder / f"built {os.getpid()}").write_text(tempfile.gettempdir())
    return Erratic(folder, routes, tell)


def refusing(folder: Path, *, routes: Routes, tell: Callable[[object], None]) -> Served:
    raise ModelError("'m.onnx' is no model; give another")


def dying(folder: Path, *, routes: Routes, tell: Callable[[object], None]) -> Served:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError


def real(model: str, data: str, threads: int, *, routes: Routes, tell: Callable[[object], None]) -> Served:
    from onnxsens.options import Options
    from onnxsens.station import Station

    return Station(model, Options(data, threads=threads))


class KeptRoutes(dict[str, Route]):
    """Routes in memory."""

    def known(self, weight: str) -> Route | None:
        return self.get(weight)

    def keep(self, weight: str, route: Route) -> None:
        self[weight] = route


def asking(weight: str, *levels: float, metrics: tuple[str, ...] = ("accuracy",), samples: int = 8) -> Job:
    """A question a level."""
    changes = [(Change(weight, "magnitude", level),) for level in levels]
    return Job(weight, tuple(Question(each, "search", (0, samples), metrics) for each in changes))


def all_results(crew: Crew, jobs: Sequence[Job]) -> list[Done]:
    """Give jobs as members become idle, and take until all are over."""
    waiting, under_way, found = list(jobs), 0, []
    while waiting or under_way:
        while waiting and under_way < crew.size:
            crew.give(waiting.pop(0))
            under_way += 1
        done = crew.take()
        under_way -= done.last
        found.append(done)
    return found


def told(found: Sequence[Done]) -> dict[tuple[Job, int], Any]:
    """Each result by job and number, without what differs between runs; each must be there once."""
    by_place = {
        (done.job, done.index): (done.effect, done.answer and (done.answer.measurements, done.answer.failures))
        for done in found
    }
    assert len(by_place) == len(found)
    return by_place
