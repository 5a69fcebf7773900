"""A run as one HTML page: text escaped by the template, numbers for the curves as JSON, and one script that draws them.

Nothing on the page is loaded from anywhere, and the browser is told so: styles and script are allowed by their hashes.
"""

import base64
import hashlib
import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from onnxsens.plan.planfile import MetricQuality, Plan, PlannedWeight
from onnxsens.report.terminal import achieved, remark
from onnxsens.report.text import count, inert, message, percent, quality, size
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord

MARK, HEAD = b'<meta name="generator" content="onnxsens', 1024  # in the first so many bytes of each page
HERE = Path(__file__).parent
MOST_DRAWN = 300  # weights; all of them are in the table
# In a script block a browser looks for these, in any text; JSON can write them in another way.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029", "\x7f": "\\u007f"}


@dataclass(frozen=True)
class Row:
    """A planned weight in the table."""

    name: str
    op: str
    shape: str
    sparsity: str
    zeros: str
    drop: str
    remark: str


@dataclass(frozen=True)
class Line:
    """A metric of the plan on the hold-out split."""

    name: str
    dense: str
    pruned: str
    drop: str
    interval: str
    limit: str


def page(run: RunRecord) -> str:
    """The file's text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style, script = ((HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    templates = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    plan, shown = run.plan, Shown(run.places)
    return templates.get_template("page.html").render(
        shown=shown,
        run=run,
        plan=plan,
        answer=None if plan is None else achieved(plan),
        verdict="" if plan is None else verdict(plan),
        sizes="" if plan is None else sizes(plan),
        metrics=[] if plan is None else [metric_line(*item) for item in plan.quality.metrics.items()],
        rows=[] if plan is None else rows(plan, run.curves),
        data=Markup(in_script(curve_data(run, shown))),
        style=Markup(style),
        script=Markup(script),
        style_hash=hash_of(style),
        script_hash=hash_of(script),
        drawn=min(MOST_DRAWN, len({curve.weight for curve in run.curves})),
        measured=len({curve.weight for curve in run.curves}),
    )


@dataclass(frozen=True)
class Shown:
    """A text from a file as the page has it: harmless, short, and without folders of this machine."""

    places: Sequence[str]

    def __call__(self, text: str) -> str:
        for place in sorted(self.places, key=len, reverse=True):
            text = text.replace(f"{place}/", "").replace(place, "...")
        return message(text)


def hash_of(text: str) -> str:
    """As a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def in_script(data: Any) -> str:
    """JSON that no browser takes for anything else."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return "".join(UNSAFE.get(character, character) for character in text)


def verdict(plan: Plan) -> str:
    """`verified at 95 % confidence`, or what is to be said instead."""
    if plan.quality.verified is None:
        return "there is no quality goal, so nothing was verified"
    sure = plan.objective.confidence
    how = "by point estimate" if sure is None else f"at {sure:.0%} confidence"
    return f"{'verified' if plan.quality.verified else 'NOT verified'} {how}"


def sizes(plan: Plan) -> str:
    """Compressed, before and after."""
    return f"{size(plan.totals.bytes_zlib_dense)} compressed before, {size(plan.totals.bytes_zlib_pruned)} after"


def metric_line(name: str, item: MetricQuality) -> Line:
    """A row of the table of metrics."""
    interval = "-" if item.low is None or item.high is None else f"{quality(item.low)} to {quality(item.high)}"
    unit = "" if item.unit in ("", "fraction") else f", in {inert(item.unit)}"
    limit = "-" if item.limit is None else f"{item.limit:g}"
    return Line(inert(name) + unit, quality(item.dense), quality(item.pruned), quality(item.drop), interval, limit)


def rows(plan: Plan, curves: Sequence[MeasuredCurve]) -> list[Row]:
    """The table of the plan."""
    own = {curve.weight: curve.points for curve in curves if curve.metric == plan.objective.search_metric}
    return [
        Row(
            inert(weight.name),
            inert(weight.op),
            "x".join(map(str, weight.shape)),
            percent(weight.sparsity),
            count(weight.zeros),
            drop_alone(weight, own),
            remark(weight),
        )
        for weight in plan.weights
    ]


def drop_alone(weight: PlannedWeight, curves: Mapping[str, Sequence[CurvePoint]]) -> str:
    """What the weight loses by itself at its sparsity: measured there, or between two points that were."""
    points = curves.get(weight.name, ())
    if not weight.zeros or not points:
        return "-"
    place = bisect_left([point.sparsity for point in points], weight.sparsity)
    nearest = points[min(place, len(points) - 1)]
    if abs(nearest.sparsity - weight.sparsity) * max(1, weight.zeros) < weight.sparsity / 2:
        return quality(nearest.drop)
    if place in (0, len(points)):
        return "-"
    before, after = points[place - 1], points[place]
    share = (weight.sparsity - before.sparsity) / (after.sparsity - before.sparsity)
    return f"about {quality(before.drop + share * (after.drop - before.drop))}"


def curve_data(run: RunRecord, shown: Shown) -> dict[str, Any]:
    """What the script draws: weights in the order of the plan, a line for each technique and metric."""
    planned = {weight.name: weight.sparsity for weight in run.plan.weights} if run.plan else {}
    by_weight: dict[str, list[MeasuredCurve]] = {name: [] for name in planned}
    for curve in run.curves:
        by_weight.setdefault(curve.weight, []).append(curve)
    metrics = list(dict.fromkeys(curve.metric for curve in run.curves))
    if run.plan and run.plan.objective.search_metric in metrics:
        metrics.remove(run.plan.objective.search_metric)
        metrics.insert(0, run.plan.objective.search_metric)
    measured = [(name, curves) for name, curves in by_weight.items() if curves]
    return {
        "metrics": [shown(inert(name)) for name in metrics],
        "weights": [
            {
                "name": shown(inert(name)),
                "planned": planned.get(name),
                "lines": [
                    {
                        "metric": metrics.index(curve.metric),
                        "technique": shown(inert(curve.technique)),
                        "points": [
                            [point.sparsity, point.drop, point.low, point.high, point.samples]
                            for point in curve.points
                            if isfinite(point.drop) and isfinite(point.low) and isfinite(point.high)
                        ],
                    }
                    for curve in curves
                ],
            }
            for name, curves in measured[:MOST_DRAWN]
        ],
    }
