"""What else could have been done: plans of other pickers, known rules, other updates, steps, and plans of the front."""

from collections.abc import Iterable
from dataclasses import dataclass

from onnxsens.plan.front import Front
from onnxsens.plan.planfile import Alternative, MetricQuality, Plan, Proposal
from onnxsens.report.page.marks import Mark, Scale
from onnxsens.report.page.words import between
from onnxsens.report.terminal import steps_title
from onnxsens.report.text import count, inert, percent, quality


@dataclass(frozen=True)
class Compared:
    """Rows of drops on one axis: a title, and for each row its name, sparsity, texts, and mark.

    Attributes:
        level: of all of them; empty where they differ.
    """

    title: str
    metric: str
    level: str
    rows: "list[ComparedRow]"


@dataclass(frozen=True)
class ComparedRow:
    """One of what could have been done. `own`: it is the plan itself."""

    name: str
    sparsity: str
    drop: str
    interval: str
    mark: Mark
    own: bool


@dataclass(frozen=True)
class Proposed:
    """A picker's best plan for the goal."""

    name: str
    kind: str
    level: str
    samples: str
    drops: list[str]
    gap: str
    mark: Mark


@dataclass(frozen=True)
class Account:
    """What one metric was expected to fall by, and fell by."""

    metric: str
    predicted: str
    searched: str
    measured: str
    interval: str


def proposals(plan: Plan) -> list[Proposed]:
    """What each picker proposed for the same goal."""
    metric = plan.objective.search_metric
    scale = Scale.of(each.drops.get(metric) for each in plan.choice.proposals)
    return [proposed(each, plan, scale.mark(each.drops.get(metric, 0.0), None, None)) for each in plan.choice.proposals]


def proposed(each: Proposal, plan: Plan, mark: Mark) -> Proposed:
    """One of them."""
    return Proposed(
        name=inert(each.picker),
        kind="chosen" if each.picker == plan.choice.picker else "baseline" if each.baseline else "",
        level=percent(each.sparsity),
        samples=count(each.samples),
        drops=[quality(each.drops.get(name)) for name in plan.quality.metrics],
        gap="-" if each.gap is None else percent(each.gap),
        mark=mark,
    )


def comparisons(plan: Plan) -> list[Compared]:
    """What else could have been done, on the hold-out split: a table for each kind and metric of the goal."""
    own = [
        Alternative(name="this plan", sparsity=plan.totals.sparsity, metrics={}),
    ]
    found = []
    for title, others in (
        ("Known rules at the same sparsity, magnitude pruning, nothing updated", plan.baselines),
        ("The same levels with other updates of the kept weights", plan.updates),
        (steps_title(plan), plan.steps),
    ):
        for name, item in plan.quality.metrics.items():
            if any(name in other.metrics for other in others):
                found.append(compared(title, name, item, [*others, *([] if others is plan.updates else own)]))
    return found


def compared(title: str, metric: str, own: MetricQuality, others: Iterable[Alternative]) -> Compared:
    """One metric of several alternatives on one axis; one that has no metrics is the plan itself."""
    known = [(other, other.metrics.get(metric)) for other in others]
    values = [
        (other, item.drop, item.low, item.high) if item else (other, own.drop, own.low, own.high)
        for other, item in known
        if item or not other.metrics
    ]
    scale = Scale.of([value for _, *numbers in values for value in numbers])
    levels = {percent(other.sparsity) for other, *_ in values}
    return Compared(
        title,
        inert(metric),
        levels.pop() if len(levels) == 1 else "",
        [
            ComparedRow(
                inert(other.name),
                percent(other.sparsity),
                quality(drop),
                between(low, high),
                scale.mark(drop, low, high),
                own=not other.metrics,
            )
            for other, drop, low, high in values
        ],
    )


def accounts(plan: Plan) -> list[Account]:
    """What the curves add up to, what the search split said, what the hold-out split says."""
    return [
        Account(
            inert(name),
            quality(item.predicted_drop),
            quality(item.search_drop),
            quality(item.drop),
            between(item.low, item.high),
        )
        for name, item in plan.quality.metrics.items()
    ]


def front_rows(front: Front) -> list[list[str]]:
    """Sparsity, picker, samples, whether it is beaten, then drops by the first point's metrics."""
    names = front_metrics(front)
    return [
        [
            percent(point.sparsity),
            inert(point.picker),
            count(point.samples),
            "" if point.on_front else "beaten",
            *(quality(point.drops.get(name)) for name in names),
        ]
        for point in front.points
    ]


def front_metrics(front: Front) -> list[str]:
    """Names of its metrics."""
    return list(dict.fromkeys(name for point in front.points for name in point.drops))
