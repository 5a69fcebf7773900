"""Who measures points: this process alone, or several that each open model and data for themselves."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from onnxsens.engine import Evaluator
from onnxsens.engine.crew import Crew
from onnxsens.engine.questions import Routes
from onnxsens.engine.sharing import choose_workers, shares
from onnxsens.engine.workers import Workers
from onnxsens.options import Options
from onnxsens.scan import Nobody, Observer
from onnxsens.workbench import Workbench


def hire(bench: Workbench, routes: Routes, work_seconds: float) -> Crew | None:
    """A crew for a run's points, closed with the workbench; None where this process does them alone.

    Args:
        routes: the run's own.
        work_seconds: what the points would take in one process, roughly.
    """
    count = bench.options.jobs
    if count is None:
        sharing = choose_workers(bench.runner, bench.recipe.threads, work_seconds)
        count = sharing.workers
        bench.observer.detail(sharing.why)
    if count == 1:
        return None
    own = replace(
        bench.options,
        threads=shares(bench.recipe.threads, count),
        provider=bench.provider.name,
        cache_memory=bench.cache_bytes // (count + 1),  # this process keeps one too
        jobs=1,
    )
    own = replace(own, technique=bench.technique.name, update="none")
    arguments = (
        str(bench.model.path.resolve()),
        own,
        tuple(bench.goal_metrics),
        bench.moments_folder,
        bench.runner.lanes.count,
    )
    crew = Workers(measuring, arguments, count, routes, partial(hear, bench.observer))
    bench.closing.callback(crew.close)
    return crew


DETAIL = "detail: "


def hear(observer: Observer, text: str) -> None:
    """What a worker says, and what is said of its death."""
    if text.startswith(DETAIL):
        observer.detail(text.removeprefix(DETAIL))
    else:
        observer.note(text)


class Reporting(Nobody):
    """An observer in a worker.

    Attributes:
        opening: while this is set, notes are left out: the first process opened the same files, and told them already.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.opening = True

    def note(self, text: str) -> None:
        """Of what happens later, such as memory that runs out."""
        if not self.opening:
            self._say(text)

    def detail(self, text: str) -> None:
        """Passed on."""
        self._say(DETAIL + text)


def measuring(
    model: str,
    options: Options,
    goal_metrics: tuple[str, ...],
    moments_at: Path | None,
    lanes: int,
    *,
    routes: Routes,
    say: Callable[[str], None],
) -> Evaluator:
    """What a worker answers with: the evaluator of a workbench of its own."""
    observer = Reporting(say)
    bench = Workbench(Path(model), options, goal_metrics, observer, routes=routes, moments_at=moments_at, lanes=lanes)
    observer.opening = False
    return bench.evaluator
