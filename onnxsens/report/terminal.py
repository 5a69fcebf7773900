"""Plans, verifications and the rest as rich tables and lines for the terminal."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.plan.front import Front
from onnxsens.plan.goal import LOOKS
from onnxsens.plan.planfile import Difference, MetricQuality, Plan, PlannedWeight, size_of
from onnxsens.report.sparklines import Points, Scale
from onnxsens.report.tables import CURVE, FOLDED, FOLDED_RIGHT, LEFT, NAME, RIGHT, lines, table
from onnxsens.report.text import count, duration, inert, message, percent, quality, size
from onnxsens.results import Applied, Diagnosis, Estimate, RunRecord, RunReport, Verification
from onnxsens.targets import targets

PREDICTED = "as predicted through the measured points, else on straight lines between them, blank beyond"


def plan(made: Plan, curves: Mapping[str, Points] | None = None) -> RenderableType:
    """The answer first, then the candidates, then every weight.

    Args:
        curves: by weight, drop of the search metric by sparsity.
    """
    curves = curves or {}
    scale = Scale.of(curves.values())
    proposals = table(
        "what each picker proposed, measured as a whole on samples of the search split",
        [
            ("picker", LEFT),
            ("sparsity" if made.level_kind == "sparsity" else "saved", RIGHT),
            ("samples", RIGHT, 2),
            *((inert(name) + " drop", RIGHT, 1) for name in made.quality.metrics),
            ("", FOLDED),
        ],
        [
            [
                inert(proposal.picker),
                percent(proposal.sparsity),
                count(proposal.samples),
                *(quality(proposal.drops.get(name)) for name in made.quality.metrics),
                "chosen" if proposal.picker == made.choice.picker else "baseline" if proposal.baseline else "",
            ]
            for proposal in made.choice.proposals
        ],
    )
    zeroes = made.level_kind == "sparsity"
    weights = table(
        "the plan",
        [
            ("weight", NAME),
            ("operator", LEFT, 2),
            ("shape", LEFT, 3),
            *([] if zeroes else [(inert(made.level_kind), RIGHT)]),
            ("sparsity", RIGHT),
            ("zeros", RIGHT, 1),
            ("curve", CURVE),
            ("", FOLDED),
        ],
        [
            [
                inert(weight.name),
                inert(weight.op),
                "x".join(map(str, weight.shape)),
                *([] if zeroes else ["-" if weight.setting is None else f"{weight.setting:g}"]),
                percent(weight.sparsity),
                f"{count(weight.zeros)} / {count(size_of(weight))}",
                scale.line(curves[weight.name]) if scale and weight.name in curves else "",
                remark(weight),
            ]
            for weight in made.weights
        ],
        scale.legend(inert(made.objective.search_metric), PREDICTED) if scale else "",
    )
    return Group(headline(made), Text(), proposals, Text(), *compared(made), weights)


def compared(made: Plan) -> list[RenderableType]:
    """What else could have been done with the same number of zeros, on the hold-out split."""
    shown: list[RenderableType] = []
    for title, rows in (
        (steps_title(made), made.steps),
        ("the same levels with other updates, on the hold-out split", made.updates),
        ("magnitude pruning by known rules at this sparsity, nothing updated, on the hold-out split", made.baselines),
    ):
        if rows:
            names = list(rows[0].metrics)
            drops = [(f"{inert(name)} drop", FOLDED_RIGHT, 1) for name in names]
            columns = [("", LEFT, 0), ("sparsity", RIGHT, 0), *drops]
            cells = [
                [inert(row.name), percent(row.sparsity), *(with_interval(row.metrics.get(name)) for name in names)]
                for row in rows
            ]
            shown += [table(title, columns, cells), Text()]
    return shown


def steps_title(made: Plan) -> str:
    """What is shown of iterative pruning, and from where on it hurts."""
    if made.hurts_after is None:
        return "steps, on the hold-out split; quality falls for certain after none of them"
    after = f"after step {made.hurts_after}" if made.hurts_after else "from the first step on"
    return f"steps, on the hold-out split; quality falls for certain {after}"


def with_interval(item: Difference | None) -> str:
    """`0.003 (-0.0018 to 0.0078)`."""
    if item is None:
        return "-"
    if item.low is None or item.high is None:
        return quality(item.drop)
    return f"{quality(item.drop)} ({quality(item.low)} to {quality(item.high)})"


def front(found: Front) -> RenderableType:
    """The best plan at each sparsity."""
    names = list(dict.fromkeys(name for point in found.points for name in point.drops))
    return table(
        "the front, measured as a whole on samples of the search split; none of these is verified",
        [("sparsity", RIGHT), ("picker", LEFT), *((f"{inert(name)} drop", RIGHT, 1) for name in names), ("", LEFT)],
        [
            [
                percent(point.sparsity),
                inert(point.picker),
                *(quality(point.drops.get(name)) for name in names),
                "" if point.on_front else "beaten",
            ]
            for point in found.points
        ],
    )


def headline(made: Plan) -> RenderableType:
    """Sparsity, quality and the verdict, a line each."""
    totals = made.totals
    said = [
        f"{achieved(made)}, picked by {inert(made.choice.picker)}; "
        f"compressed {size(totals.bytes_zlib_dense)} -> {size(totals.bytes_zlib_pruned)}"
    ]
    said += [metric_line(name, item, made.quality.samples) for name, item in made.quality.metrics.items()]
    said += [f"{inert(name)} could not be measured: {inert(why)}" for name, why in made.quality.failures.items()]
    if made.objective.target is not None:
        aim = targets.get(made.objective.target)
        said.append(f"target {aim.name}: speed-up {aim.speedup}; {aim.line} ({'; '.join(aim.sources)})")
    if made.level_kind == "sparsity" and made.totals.zeros:
        said.append("to fine-tune it in its framework, hold the zeros of the weights below and let all else go")
    text = lines(*said, "")
    style = {None: "yellow", True: "bold green", False: "bold red"}[made.quality.verified]
    return text + Text(verdict(made), style=style)


def verdict(made: Plan) -> str:
    """`verified at 95% confidence`, or what is to be said instead."""
    found, sure = made.quality, made.objective.confidence
    if found.verified is None:
        return "there is no quality goal, so nothing was verified"
    how = "by point estimate" if sure is None else f"at {sure:.0%} confidence"
    looks = f" (look {found.looks} of {LOOKS} at the hold-out split)" if found.looks > 1 else ""
    return f"{'verified' if found.verified else 'NOT verified'} {how}{looks}"


def achieved(made: Plan) -> str:
    """`83.6 % of 103,984 weights are zero`, or what else levels come to."""
    totals = made.totals
    if made.level_kind == "bits":
        settings = sum((weight.setting or 0.0) * size_of(weight) for weight in made.weights)
        return f"{count(totals.parameters)} weights have {settings / totals.parameters:.2f} bits each on average"
    return f"{percent(totals.sparsity)} of {count(totals.parameters)} weights are zero"


def metric_line(name: str, item: MetricQuality, samples: int) -> str:
    """`accuracy 0.9094 -> 0.9064: drop 0.003 (95 %: -0.0018 to 0.0078; limit 0.01) on 5,000 hold-out samples`."""
    limit = "" if item.limit is None else f"; limit {item.limit:g}"
    interval = "too few samples for an interval"
    if item.low is not None and item.high is not None:
        interval = f"95 %: {quality(item.low)} to {quality(item.high)}"
    unit = f" {inert(item.unit)}" if item.unit and item.unit != "fraction" else ""
    return (
        f"{inert(name)} {quality(item.dense)} -> {quality(item.pruned)}{unit}: drop {quality(item.drop)} "
        f"({interval}{limit}) on {count(samples)} hold-out samples"
    )


def remark(weight: PlannedWeight) -> str:
    """What is special about a weight."""
    if weight.failure:
        return inert(weight.failure)
    notes = [weight.limited or "", f"kept as it was: {weight.not_updated}" if weight.not_updated else ""]
    if any(notes):
        return inert("; ".join(filter(None, notes)))
    return "" if weight.effect == "effective" else f"{weight.effect} on these samples, left dense"


def verification(result: Verification) -> RenderableType:
    """Each limit, kept or not."""
    of = "hold-out samples" if result.split == "holdout" else "samples"
    said = [
        lines(
            f"{inert(name)}: drop {quality(item.measurement.drop)}, at most {quality(item.bound)}, limit "
            f"{quality(item.limit)} on {count(result.samples)} {of}: {'kept' if item.holds else 'EXCEEDED'}"
        )
        for name, item in result.verdicts.items()
    ]
    said += [lines(f"{inert(name)}: {inert(why)}") for name, why in result.failures.items()]
    return Group(*said)


def applied(result: Applied) -> RenderableType:
    """What was written."""
    return Text(
        f"{inert(str(result.path))}: {count(result.zeros)} of {count(result.parameters)} weights are zero, "
        f"{len(result.changed)} initializers changed"
    )


def findings(result: RunReport) -> RenderableType:
    """What was looked at in a run folder, a line each."""
    rows = [[inert(finding.name), finding.state, message(finding.text)] for finding in result.findings]
    verdict = "is sound" if result.sound else "is NOT sound"
    return table(f"run {inert(result.folder)} {verdict}", [("part", LEFT), ("state", LEFT), ("", FOLDED)], rows)


def page(result: RunRecord) -> RenderableType:
    """What is on the page."""
    weights = len({curve.weight for curve in result.curves})
    what = "no plan" if result.plan is None else f"a plan for {len(result.plan.weights)} weights"
    return lines(f"{inert(result.model)}: {what}, curves of {weights} weights")


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
