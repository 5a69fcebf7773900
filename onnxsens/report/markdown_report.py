"""A run as Markdown: the answer first, then what it rests on. To be read as it is, or in an issue or a wiki."""

from collections.abc import Iterator
from dataclasses import dataclass

from onnxsens.plan.front import Front
from onnxsens.plan.planfile import Alternative, Plan, PlannedWeight, size_of
from onnxsens.report.csv_report import alone
from onnxsens.report.markdown import command, literal, table
from onnxsens.report.terminal import achieved, metric_line, remark, steps_title, verdict, with_interval
from onnxsens.report.text import count, percent, quality, size, without_places
from onnxsens.results import RunRecord

SHOWN_LEVELS = (0.3, 0.5, 0.7, 0.9)  # of curves; all points are in `onnxsens curves`


@dataclass(frozen=True)
class MarkdownReport:
    """A document that needs no other file."""

    name: str = "md"
    suffixes: tuple[str, ...] = (".md", ".markdown")

    def content(self, run: RunRecord) -> bytes:
        """The document in UTF-8."""
        return ("\n".join(document(run)).rstrip("\n") + "\n").encode("utf-8", "backslashreplace")


def document(run: RunRecord) -> Iterator[str]:
    """Its lines."""
    yield from [f"# Sparsity of {literal(run.model)}", ""]
    yield from (answer(run, run.plan) if run.plan else unplanned(run))
    if run.command:
        yield from ["The command that makes such a run:", "", *command(run.command)]
    if run.plan:
        yield from planned(run, run.plan)
        yield from choice(run.plan)
    if run.front:
        yield from front(run.front)
    yield from curves(run)
    if run.plan:
        yield from left_alone(run.plan)
        yield from provenance(run, run.plan)


def answer(run: RunRecord, plan: Plan) -> Iterator[str]:
    """What came out, in a sentence and a table."""
    yield from [
        f"**{literal(achieved(plan))}**, picked by {literal(plan.choice.picker)}. The planned weights take "
        f"{size(plan.totals.bytes_zlib_dense)} compressed before and {size(plan.totals.bytes_zlib_pruned)} after. "
        f"**{verdict(plan)}**.",
        "",
    ]
    for name, item in plan.quality.metrics.items():
        yield f"- {literal(metric_line(name, item, plan.quality.samples))}"
    for name, why in plan.quality.failures.items():
        yield f"- {literal(name)} could not be measured: {literal(without_places(why, run.places))}"
    yield ""


def unplanned(run: RunRecord) -> Iterator[str]:
    """What there is without a plan."""
    yield from [f"There is no plan yet; {len(run.weights)} weights were looked at.", ""]


def planned(run: RunRecord, plan: Plan) -> Iterator[str]:
    """Every weight."""
    yield from ["## The plan", ""]
    yield from table(
        ["weight", "operator", "shape", "sparsity", "zeros", "of", "drop by itself", "called in the source", "remark"],
        [weight_row(run, weight) for weight in plan.weights],
        right=(3, 4, 5, 6),
    )


def weight_row(run: RunRecord, weight: PlannedWeight) -> list[str]:
    """One of them."""
    drop, how = alone(run, weight.name, weight.sparsity) if weight.zeros else (None, "")
    return [
        weight.name,
        weight.op,
        "x".join(map(str, weight.shape)),
        percent(weight.sparsity),
        count(weight.zeros),
        count(size_of(weight)),
        at_level(drop, how),
        ", ".join(weight.source.parameters) if weight.source else "-",
        without_places(remark(weight), run.places),
    ]


def choice(plan: Plan) -> Iterator[str]:
    """What else there was to choose from."""
    names = list(plan.quality.metrics)
    yield from ["## What each picker proposed", "", "Measured as a whole, on samples of the search split.", ""]
    yield from table(
        ["picker", "sparsity", "samples", *(f"{name} drop" for name in names), ""],
        [
            [
                each.picker,
                percent(each.sparsity),
                count(each.samples),
                *(quality(each.drops.get(name)) for name in names),
                "chosen" if each.picker == plan.choice.picker else "baseline" if each.baseline else "",
            ]
            for each in plan.choice.proposals
        ],
        right=range(1, 3 + len(names)),
    )
    for title, rows in (
        ("Known rules at the same sparsity, by magnitude, nothing updated", plan.baselines),
        ("The same levels with other updates", plan.updates),
        (steps_title(plan).capitalize(), plan.steps),
    ):
        if rows:
            yield from [f"## {title}", "", "On the hold-out split, with 95 % intervals.", "", *alternatives(rows)]


def alternatives(rows: list[Alternative]) -> list[str]:
    """Plans beside the plan."""
    names = list(rows[0].metrics)
    return table(
        ["", "sparsity", *(f"{name} drop" for name in names)],
        [[row.name, percent(row.sparsity), *(with_interval(row.metrics.get(name)) for name in names)] for row in rows],
        right=range(1, 2 + len(names)),
    )


def front(found: Front) -> Iterator[str]:
    """The best plan at each sparsity."""
    names = list(dict.fromkeys(name for point in found.points for name in point.drops))
    yield from [
        "## The front",
        "",
        "Measured as a whole on samples of the search split; none of these is verified.",
        "",
    ]
    yield from table(
        ["sparsity", "picker", *(f"{name} drop" for name in names), ""],
        [
            [
                percent(point.sparsity),
                point.picker,
                *(quality(point.drops.get(name)) for name in names),
                "" if point.on_front else "beaten",
            ]
            for point in found.points
        ],
        right=(0, *range(2, 2 + len(names))),
    )


def curves(run: RunRecord) -> Iterator[str]:
    """What each weight loses by itself, at a few levels."""
    own = [curve for name in run.weights if (curve := run.curve(name))]
    if not own:
        return
    yield from [
        f"## One weight at a time: drop in {literal(run.search_metric or '')}",
        "",
        f"Pruned by {literal(run.technique or '')}. Where it says about, it was not measured at that level, but lies "
        "between points that were measured or predicted. All points are in `onnxsens curves RUN`.",
        "",
    ]
    yield from table(
        ["weight", "points", "samples", *map(percent, SHOWN_LEVELS), "sparsest measured", "its drop"],
        [
            [
                curve.weight,
                count(len(curve.points)),
                count(max(point.samples for point in curve.points)),
                *(at_level(*alone(run, curve.weight, level)) for level in SHOWN_LEVELS),
                percent(curve.points[-1].sparsity),
                quality(curve.points[-1].drop),
            ]
            for curve in own
        ],
        right=range(1, 5 + len(SHOWN_LEVELS)),
    )
    for name, why in run.failures.items():
        yield f"- {literal(name)} could not be measured: {literal(without_places(why, run.places))}"
    if run.failures:
        yield ""


def at_level(drop: float | None, how: str) -> str:
    """A drop, marked where it was not measured there."""
    return f"about {quality(drop)}" if how == "between" else quality(drop)


def left_alone(plan: Plan) -> Iterator[str]:
    """What is no weight to a plan."""
    if plan.skipped:
        yield from ["## Left alone", ""]
        yield from table(
            ["name", "shape", "type", "parameters", "why"],
            [[row.name, "x".join(map(str, row.shape)), row.dtype, count(row.parameters), row.reason]
             for row in plan.skipped],
            right=(3,),
        )  # fmt: skip


def provenance(run: RunRecord, plan: Plan) -> Iterator[str]:
    """From what and by what it was made."""
    made, data = plan.generator, plan.data
    yield from ["## Made from", ""]
    yield from table(
        ["", ""],
        [
            ["model", f"{plan.model.file}, {count(plan.model.parameters)} parameters"],
            ["model, SHA-256", plan.model.sha256],
            ["data, SHA-256", data.sha256],
            [
                "samples",
                f"{count(data.samples)}: {count(data.search)} to search, {count(data.holdout)} held out, "
                f"at most {count(data.scan_samples)} a point, seed {data.seed}",
            ],
            ["technique", f"{plan.technique}, update {plan.update}"],
            ["measured", f"{count(plan.choice.points)} points, {count(plan.choice.joint_runs)} plans as a whole"],
            ["plan made by", f"{made.name} {made.version}, onnxruntime {made.onnxruntime}, onnx {made.onnx}, "
             f"numpy {made.numpy}, on {made.provider}"],
            ["this made by", run.made_by],
        ],
    )  # fmt: skip


FORMAT = MarkdownReport()
