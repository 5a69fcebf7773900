"""Records as rich tables and lines for the terminal."""

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from onnxsens.plan.planfile import MetricQuality, Plan, PlannedWeight, size_of
from onnxsens.report.text import count, duration, inert, percent, quality, size
from onnxsens.results import Applied, Diagnosis, Estimate, Inspection, ScanResult, Verification

# How a column behaves where there is no room: kept whole, or folded.
LEFT, RIGHT, FOLDED = "left", "right", "folded"
SHOWN_LEVELS = 9  # columns of curves that fit beside a name


def table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Group:
    """A plain table under its title; text from files has been made inert before."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name, kind in columns:
        made.add_column(name, justify="right" if kind == RIGHT else "left", overflow="fold", no_wrap=kind != FOLDED)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return Group(Text(title, style="bold"), made)


def inspection(result: Inspection, sort: str) -> RenderableType:
    """Weights, what is skipped and why, and the account."""
    inventory = result.inventory
    weights = list(inventory.weights)
    if sort == "size":
        weights.sort(key=lambda weight: -weight.size)
    elif sort == "macs":
        weights.sort(key=lambda weight: -result.macs.get(weight.name, 0))
    elif sort == "name":
        weights.sort(key=lambda weight: weight.name)
    planned = table(
        "weights that can be pruned",
        [
            ("weight", FOLDED),
            ("operator", LEFT),
            ("shape", LEFT),
            ("elements", RIGHT),
            ("MACs", RIGHT),
            ("zeros", RIGHT),
        ],
        [
            [
                inert(weight.name),
                weight.operator if len(weight.consumers) == 1 else f"{weight.operator} x{len(weight.consumers)}",
                "x".join(map(str, weight.shape)),
                count(weight.size),
                count(result.macs[weight.name]) if weight.name in result.macs else "-",
                percent(weight.zeros / weight.size),
            ]
            for weight in weights
        ],
    )
    skipped = table(
        "left alone",
        [("tensor", FOLDED), ("shape", LEFT), ("parameters", RIGHT), ("reason", FOLDED)],
        [
            [
                inert(row.name),
                "x".join(map(str, row.shape)) or f"{row.tensors} tensors",
                count(row.parameters),
                inert(row.reason),
            ]
            for row in inventory.skipped
        ],
    )
    rest = inventory.parameters - inventory.planned_parameters
    left_alone: list[RenderableType] = [skipped, Text()] if inventory.skipped else []
    return Group(
        planned,
        Text(),
        *left_alone,
        Text(
            f"{count(inventory.planned_parameters)} parameters can be pruned + {count(rest)} left alone = "
            f"{count(inventory.parameters)} in the file"
        ),
        Text(f"MACs: {inert(result.macs_note)}"),
    )


def scan(result: ScanResult) -> RenderableType:
    """Each weight's curve where it fits on a line, else its size; and what the searches picked."""
    parts: list[RenderableType] = [curves(result), Text()]
    picking = {name: picks for name, picks in result.picks.items() if result.tolerance is not None or name != "grid"}
    if picking:
        goal = "the knee" if result.tolerance is None else f"at most {result.tolerance:g}"
        parts += [
            table(
                f"picks by {inert(result.search_metric)}: {goal}",
                [("weight", FOLDED), *((name, RIGHT) for name in picking)],
                [
                    [inert(weight), *(percent(picking[name][weight].level) for name in picking)]
                    for weight in result.effects
                ],
            ),
            Text(),
        ]
    return Group(*parts[:-1])


def curves(result: ScanResult) -> RenderableType:
    """Drop of the search metric by level, for the levels that most weights were measured at."""
    drops: dict[str, dict[float, str]] = {weight: {} for weight in result.effects}
    for point in result.points:
        drops[point.weight][point.asked] = quality_of(point.observed(result.search_metric).drop)
    asked = Counter(level for found in drops.values() for level in found)
    shown = sorted(level for level, _ in asked.most_common(SHOWN_LEVELS))
    left_out = "" if len(shown) == len(asked) else f" ({len(shown)} of {len(asked)} levels; all with --json)"
    rows = []
    for weight, found in drops.items():
        failure = result.failures.get(weight, "")
        remarks = [inert(failure)] if failure else [] if result.effects[weight] else ["no effect on the outputs"]
        rows.append([inert(weight), *(found.get(level, "") for level in shown), "; ".join(remarks)])
    return table(
        f"drop in {inert(result.search_metric)} at each sparsity, one weight at a time{left_out}",
        [("weight", FOLDED), *((percent(level), RIGHT) for level in shown), ("", FOLDED)],
        rows,
    )


def quality_of(drop: float) -> str:
    """A drop in a table of many: three digits; a failed point is a question mark."""
    return "?" if math.isnan(drop) else f"{drop:.3g}"


def plan(made: Plan) -> RenderableType:
    """The answer first, then the candidates, then every weight."""
    proposals = table(
        "what each picker proposed, measured as a whole on the search split",
        [
            ("picker", LEFT),
            ("sparsity", RIGHT),
            *((inert(name) + " drop", RIGHT) for name in made.quality.metrics),
            ("", FOLDED),
        ],
        [
            [
                proposal.picker,
                percent(proposal.sparsity),
                *(quality(proposal.drops.get(name)) for name in made.quality.metrics),
                "chosen" if proposal.picker == made.choice.picker else "baseline" if proposal.baseline else "",
            ]
            for proposal in made.choice.proposals
        ],
    )
    weights = table(
        "the plan",
        [("weight", FOLDED), ("operator", LEFT), ("shape", LEFT), ("sparsity", RIGHT), ("zeros", RIGHT), ("", FOLDED)],
        [
            [
                inert(weight.name),
                weight.op,
                "x".join(map(str, weight.shape)),
                percent(weight.sparsity),
                f"{count(weight.zeros)} / {count(size_of(weight))}",
                remark(weight),
            ]
            for weight in made.weights
        ],
    )
    return Group(headline(made), Text(), proposals, Text(), weights)


def headline(made: Plan) -> RenderableType:
    """Sparsity, quality and the verdict, a line each."""
    totals = made.totals
    lines = [
        f"{percent(totals.sparsity)} of {count(totals.parameters)} weights are zero, picked by {made.choice.picker}; "
        f"compressed {size(totals.bytes_zlib_dense)} -> {size(totals.bytes_zlib_pruned)}"
    ]
    lines += [metric_line(name, item, made.quality.samples) for name, item in made.quality.metrics.items()]
    lines += [f"{inert(name)} could not be measured: {inert(why)}" for name, why in made.quality.failures.items()]
    text = Text("\n".join(lines) + "\n")
    if made.quality.verified is None:
        return text + Text("there is no quality goal, so nothing was verified", style="yellow")
    looks = f" (look {made.quality.looks} of 3 at the hold-out split)" if made.quality.looks > 1 else ""
    sure = (
        "by point estimate" if made.objective.confidence is None else f"at {made.objective.confidence:.0%} confidence"
    )
    if made.quality.verified:
        return text + Text(f"verified {sure}{looks}", style="bold green")
    return text + Text(f"NOT verified {sure}{looks}", style="bold red")


def metric_line(name: str, item: MetricQuality, samples: int) -> str:
    """`accuracy 0.9094 -> 0.9064: drop 0.003 (95 %: -0.0018 to 0.0078; limit 0.01) on 5,000 hold-out samples`."""
    limit = "" if item.limit is None else f"; limit {item.limit:g}"
    interval = "too few samples for an interval"
    if item.low is not None and item.high is not None:
        interval = f"95 %: {quality(item.low)} to {quality(item.high)}"
    unit = f" {item.unit}" if item.unit and item.unit != "fraction" else ""
    return (
        f"{inert(name)} {quality(item.dense)} -> {quality(item.pruned)}{unit}: drop {quality(item.drop)} "
        f"({interval}{limit}) on {count(samples)} hold-out samples"
    )


def remark(weight: PlannedWeight) -> str:
    """What is special about a weight."""
    if weight.failure:
        return inert(weight.failure)
    return "" if weight.effect else "no effect on the outputs, left dense"


def verification(result: Verification) -> RenderableType:
    """Each limit, kept or not."""
    of = "hold-out samples" if result.split == "holdout" else "samples"
    lines = [
        Text(
            f"{inert(name)}: drop {quality(item.measurement.drop)}, at most {quality(item.bound)}, limit "
            f"{quality(item.limit)} on {count(result.samples)} {of}: {'kept' if item.holds else 'EXCEEDED'}"
        )
        for name, item in result.verdicts.items()
    ]
    lines += [Text(f"{inert(name)}: {inert(why)}") for name, why in result.failures.items()]
    return Group(*lines)


def applied(result: Applied) -> RenderableType:
    """What was written."""
    return Text(
        f"{inert(str(result.path))}: {count(result.zeros)} of {count(result.parameters)} weights are zero, "
        f"{len(result.changed)} initializers changed"
    )


def estimate(result: Estimate) -> RenderableType:
    """What a run would take."""
    joint = f" and {result.joint_runs} runs of whole plans" if result.joint_runs else ""
    return Text(
        f"{result.weights} weights: about {count(result.points)} evaluations{joint}, about {duration(result.seconds)}; "
        "nothing was written"
    )


def diagnosis(result: Diagnosis) -> RenderableType:
    """Versions, then providers."""
    versions = [[name, number] for name, number in result.versions.items()]
    return Group(
        Text(f"Python {result.python} on {result.platform}"),
        Text(),
        table("packages", [("package", LEFT), ("version", LEFT)], versions),
        Text(),
        table(
            "execution providers", [("provider", LEFT), ("", FOLDED)], [list(item) for item in result.providers.items()]
        ),
    )
