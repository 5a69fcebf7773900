"""How runs and plans show themselves: a line or two as text, and a picture in a notebook.

The picture is HTML with inline SVG: no script, no style sheet, nothing that is loaded. Names are a model's, so all of
them are made harmless and escaped.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape

from onnxsens.plan.planfile import Plan
from onnxsens.report.terminal import verdict
from onnxsens.report.text import count, inert, percent, quality, size
from onnxsens.results import CurvePoint, MeasuredCurve, RunRecord

MOST = 24  # weights that are drawn
WIDTH, HEIGHT, EDGE = 150, 70, 4  # of a small picture, in pixels
NAME = 28  # signs of a name under it; all of it where the pointer rests
FONT = "font:13px system-ui,sans-serif;line-height:1.4"
CELL = "padding:1px 10px 1px 0;text-align:left;border:0"
# Seen on white and on black, and told apart by who sees no red or no green.
LINE, CHOSEN = "#3b82c4", "#d1731f"


def run_text(run: RunRecord) -> str:
    """`Run of model.onnx: 4 weights, kl and accuracy measured by magnitude; no plan yet`."""
    metrics = list(dict.fromkeys(curve.metric for curve in run.curves))
    by = f" by {inert(run.technique)}" if run.technique else ""
    measured = " and ".join(map(inert, metrics)) or "nothing"
    chosen = "no plan yet" if run.plan is None else answer(run.plan)
    return f"Run of {inert(run.model)}: {len(run.weights)} weights, {measured} measured{by}; {chosen}"


def plan_text(plan: Plan) -> str:
    """`Plan for model.onnx: 84.4 % of 103,984 weights are zero; verified`."""
    return f"Plan for {inert(plan.model.file)}: {answer(plan)}; {verdict(plan)}"


def answer(plan: Plan) -> str:
    """What comes out."""
    totals = plan.totals
    if plan.level_kind == "sparsity":
        return f"{percent(totals.sparsity)} of {count(totals.parameters)} weights are zero"
    return f"{inert(plan.level_kind)} chosen for {count(totals.parameters)} weights"


def run_html(run: RunRecord) -> str:
    """The answer, where there is one, and small pictures of curves of one scale."""
    drawn = [(name, curve) for name in run.weights if (curve := run.curve(name)) and curve.points]
    parts = [f"<div><b>{shown(run.model)}</b></div>"]
    parts += list(answered(run.plan)) if run.plan else [f"<div>{len(run.weights)} weights; no plan yet</div>"]
    if drawn:
        top = upper_edge([curve for _, curve in drawn[:MOST]])
        planned = {weight.name: weight.sparsity for weight in run.plan.weights} if run.plan else {}
        key = ["dots are measured"]
        key += ["thin lines predicted"] if run.predicted else []
        key += ["the dashed line is the plan"] if planned else []
        parts.append(
            f"<div>drop in {shown(run.search_metric or '')} over sparsity from 0 to 1, each weight by itself, by "
            f"{shown(run.technique or '')}; frames end at a drop of {quality(top)}; {', '.join(key)}</div>"
        )
        parts.append('<div style="display:flex;flex-wrap:wrap;gap:8px">')
        parts += [
            small(name, curve, run.predicted.get(name, ()), top, planned.get(name)) for name, curve in drawn[:MOST]
        ]
        parts.append("</div>")
    if len(drawn) > MOST:
        parts.append(f"<div>{MOST} of {len(drawn)} weights; <code>report()</code> draws all</div>")
    if run.failures:
        parts.append(f"<div>{len(run.failures)} weights have points that could not be measured</div>")
    return framed(parts)


def plan_html(plan: Plan) -> str:
    """The answer, and a bar a weight."""
    parts = [f"<div><b>{shown(plan.model.file)}</b></div>", *answered(plan)]
    parts.append('<table style="border-collapse:collapse;' + FONT + '">')
    parts += [
        f'<tr style="background:none"><td style="{CELL}">{shown(weight.name)}</td>'
        f'<td style="{CELL}">{shown(weight.op)}</td>'
        f'<td style="{CELL}">{bar(weight.sparsity)}</td><td style="{CELL}">{percent(weight.sparsity)}</td></tr>'
        for weight in plan.weights[:MOST]
    ]
    parts.append("</table>")
    if len(plan.weights) > MOST:
        parts.append(f"<div>{MOST} of {len(plan.weights)} weights; <code>levels</code> has all</div>")
    return framed(parts)


def answered(plan: Plan) -> Iterator[str]:
    """Lines of the answer."""
    totals = plan.totals
    yield (
        f"<div>{escape(answer(plan))}, picked by {shown(plan.choice.picker)}; compressed "
        f"{size(totals.bytes_zlib_dense)} &rarr; {size(totals.bytes_zlib_pruned)}</div>"
    )
    for name, item in plan.quality.metrics.items():
        interval = "" if item.low is None or item.high is None else f" ({quality(item.low)} to {quality(item.high)})"
        limit = "" if item.limit is None else f", limit {item.limit:g}"
        yield (
            f"<div>{shown(name)} {quality(item.dense)} &rarr; {quality(item.pruned)}: drop {quality(item.drop)}"
            f"{interval}{limit} on {count(plan.quality.samples)} hold-out samples</div>"
        )
    yield f"<div>{escape(verdict(plan))}</div>"


def upper_edge(curves: Sequence[MeasuredCurve]) -> float:
    """A drop that most curves stay below; above 0. One that does not would press the others flat."""
    highest = [max((point.drop for point in curve.points if math.isfinite(point.drop)), default=0) for curve in curves]
    falling = sorted(drop for drop in highest if drop > 0)
    return falling[len(falling) * 3 // 4] if falling else 1.0


def small(
    name: str, curve: MeasuredCurve, predicted: Sequence[tuple[float, float]], top: float, planned: float | None
) -> str:
    """One weight's curve. Dots of drops beyond the frame lie on its edge."""
    points = [point for point in curve.points if math.isfinite(point.drop)]
    line = polyline([(point.sparsity, point.drop) for point in points], top, 1.5)
    line += polyline([each for each in predicted if math.isfinite(each[1])], top, 0.75)
    dots = "".join(
        f'<circle cx="{across(point.sparsity):.1f}" cy="{up(min(point.drop, top), top):.1f}" r="2" fill="{LINE}"/>'
        for point in points
    )
    chosen = ""
    if planned is not None:
        x = across(planned)
        chosen = (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{EDGE}" y2="{HEIGHT - EDGE}" stroke="{CHOSEN}" stroke-width="1.5" '
            'stroke-dasharray="3 2"/>'
        )
    label = described(name, points, planned)
    short = inert(name) if len(name) <= NAME else f"{inert(name[: NAME - 1])}…"
    return (
        f'<div style="width:{WIDTH}px" title="{label}"><svg width="{WIDTH}" height="{HEIGHT}" role="img" '
        f'aria-label="{label}"><rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" fill="none" '
        f'stroke="currentColor" stroke-opacity="0.3"/>{line}{dots}{chosen}</svg>'
        f'<div style="font-size:11px;overflow-wrap:anywhere">{escape(short)}</div></div>'
    )


def described(name: str, points: Sequence[CurvePoint], planned: float | None) -> str:
    """A curve in words, for who does not see it."""
    told = "; ".join(f"{quality(point.drop)} at {percent(point.sparsity)}" for point in points[:20])
    chosen = "" if planned is None else f"; planned {percent(planned)}"
    return escape(f"{inert(name)}: {told}{chosen}", quote=True)


def polyline(points: Sequence[tuple[float, float]], top: float, width: float) -> str:
    """A line through sparsities and drops; what leaves the frame is cut there."""
    if len(points) < 2:
        return ""
    places = " ".join(f"{across(sparsity):.1f},{up(drop, top):.1f}" for sparsity, drop in points)
    return f'<polyline points="{places}" fill="none" stroke="{LINE}" stroke-width="{width}"/>'


def up(drop: float, top: float) -> float:
    """From the lower edge upward; not below it, and not endlessly above."""
    return HEIGHT - EDGE - min(max(drop / top, 0.0), 50.0) * (HEIGHT - 2 * EDGE)


def across(sparsity: float) -> float:
    """From the left edge to the right."""
    return EDGE + sparsity * (WIDTH - 2 * EDGE)


def bar(share: float) -> str:
    """A share as a bar."""
    return (
        f'<svg width="{WIDTH}" height="10" aria-hidden="true"><rect x="0.5" y="0.5" width="{WIDTH - 1}" height="9" '
        f'fill="none" stroke="currentColor" stroke-opacity="0.3"/><rect x="1" y="1" '
        f'width="{share * (WIDTH - 2):.1f}" height="8" fill="{LINE}"/></svg>'
    )


def shown(text: str) -> str:
    """A text of the model's, harmless and escaped."""
    return escape(inert(text), quote=True)


def framed(parts: Sequence[str]) -> str:
    """One element around all of it."""
    return f'<div style="{FONT}">{"".join(parts)}</div>'
