"""Who measures points: the process that does all else too, or several that each open model and data for themselves."""

from dataclasses import replace
from functools import partial

from onnxsens.care import Lighter, care_for
from onnxsens.engine.crew import Call, Crew
from onnxsens.engine.questions import Routes
from onnxsens.engine.serving import Said
from onnxsens.engine.sharing import shares
from onnxsens.engine.workers import Workers
from onnxsens.native import same_as, stationed
from onnxsens.scan import Observer
from onnxsens.workbench import Workbench


def hire(bench: Workbench, routes: Routes, work_seconds: float) -> Crew | None:
    """A crew for a run's points, closed with the workbench; None where nobody else is needed.

    Args:
        routes: the run's own.
        work_seconds: what the points would take in one process, roughly.
    """
    count = bench.options.jobs
    if count is None:
        sharing = bench.native.sharing(work_seconds)
        count = sharing.workers
        bench.observer.detail(sharing.why)
    if count == 1:
        return None
    facts = bench.facts
    own = replace(
        bench.options,
        threads=shares(facts.recipe.threads, count),
        provider=facts.provider,
        cache_memory=facts.cache_bytes // (count + 1),  # the first process keeps one too
        jobs=1,
        technique=bench.technique.name,
        update="none",
    )
    if bench.technique.needs_moments:
        _ = bench.without_moments  # gathered once, and left in the run folder for all
    assert bench.folder is not None
    crew = Workers(
        stationed,
        (bench.model.path.resolve(), own, {"goal_metrics": tuple(bench.goal_metrics)}),
        count,
        routes,
        partial(hear, bench.observer),
        care_for(bench.options.guard, Lighter(facts.recipe.batch_size, bench.observer)),
    )
    bench.closing.callback(crew.close)
    crew.per_sample = bench.seconds_per_sample
    crew.stand(same_as(facts))
    crew.stand(Call("settle", (bench.folder.absolute(), bench.lanes), "opened the run folder"))
    return crew


def hear(observer: Observer, said: Said) -> None:
    """What is said of deaths, and of how things are done; what is noted while files are opened was told already."""
    if said.kind == "detail":
        observer.detail(said.text)
    elif said.kind == "note" and not said.opening:
        observer.note(said.text)
