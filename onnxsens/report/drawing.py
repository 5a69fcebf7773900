"""What is in the picture of a run. The only module that draws with matplotlib; imported where it is there."""

from collections.abc import Sequence
from itertools import cycle
from math import ceil, isfinite, log10

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, SymmetricalLogLocator

from onnxsens.listing import monotone_of
from onnxsens.plan.front import Front
from onnxsens.plan.planfile import Plan, PlannedWeight, size_of
from onnxsens.report.terminal import achieved, metric_line
from onnxsens.report.text import capped, inert, percent
from onnxsens.results import MeasuredCurve, RunRecord

WIDTH = 12.0  # inches, as all below
BAR, PANEL, COLUMNS = 0.17, 1.55, 5
FRONT = 3.2
HEAD, TITLE, FOOT = 0.95, 0.6, 0.55
MOST_BARS, MOST_CURVES = 120, 60
LONGEST = 46  # characters of a name beside a bar
TITLE_LINE = 44  # two of them above a small curve
# Okabe & Ito, which people with any colour vision tell apart.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7A7A7A")
MEASURED, MONOTONE, PREDICTED, CHOSEN = "#0072B2", "#000000", "#009E73", "#D55E00"
LINE = 0.17


def drawn(run: RunRecord) -> Figure:
    """The whole picture, as high as it needs to be."""
    weights = largest(run.plan.weights, MOST_BARS) if run.plan else []
    curves = chosen_curves(run)
    rows = ceil(len(curves) / COLUMNS)
    lines = heading(run)
    parts = [HEAD + LINE * len(lines) - 0.3]
    parts += [TITLE + FOOT + BAR * len(weights)] if weights else []
    parts += [TITLE + FOOT + PANEL * rows] if curves else []
    parts += [TITLE + FOOT + FRONT] if run.front else []
    figure = Figure(figsize=(WIDTH, sum(parts)))
    top = sum(parts)
    whole = top
    figure.text(0.02, 1 - 0.3 / whole, capped(inert(run.model), 90), size=14, weight="bold")
    for number, line in enumerate(lines):
        figure.text(0.02, 1 - (0.58 + LINE * number) / whole, capped(line, 190))
    top -= parts.pop(0)
    if weights and run.plan:
        height = parts.pop(0)
        axes = figure.add_axes(box(0.30, 0.95, top - TITLE, top - height + FOOT, whole))
        bars(axes, weights, run.plan)
        titled(figure, f"The plan{some(len(weights), len(run.plan.weights))}", top, whole)
        top -= height
    if curves:
        height = parts.pop(0)
        said = f"One weight at a time: drop in {inert(run.search_metric or '')} over sparsity"
        measured = sum(run.curve(name) is not None for name in run.weights)
        titled(figure, f"{said}{some(len(curves), measured)}", top, whole)
        figure.text(0.02, (top - 0.46) / whole, key(run), size=7)
        panels(figure, run, curves, top - TITLE - 0.1, whole)
        top -= height
    if run.front:
        titled(figure, "The front: the best plan at each sparsity, on the search split, not verified", top, whole)
        front(figure.add_axes(box(0.08, 0.95, top - TITLE, top - FRONT - TITLE, whole)), run.front)
    return figure


def heading(run: RunRecord) -> list[str]:
    """The answer, a line each."""
    if run.plan is None:
        return [f"no plan yet; {len(run.weights)} weights were looked at"]
    verified = run.plan.quality.verified
    said = {True: "verified", False: "NOT verified", None: "no quality goal, nothing was verified"}[verified]
    lines = [f"{achieved(run.plan)}, picked by {inert(run.plan.choice.picker)}; {said}"]
    return lines + [
        metric_line(name, item, run.plan.quality.samples) for name, item in run.plan.quality.metrics.items()
    ]


def key(run: RunRecord) -> str:
    """What is what in the small curves."""
    plan = "; orange: the plan's sparsity" if run.plan else ""
    predicted = "; green: predicted" if run.predicted else ""
    return f"blue: measured, with two standard errors; black: made monotone, as pickers see it{predicted}{plan}. " + (
        "Drops are on one scale for all, logarithmic but around 0."
    )


def some(shown: int, there: int) -> str:
    """That it is not all."""
    return "" if shown == there else f" (the {shown} of {there} with the most parameters, or the first)"


def titled(figure: Figure, text: str, top: float, whole: float) -> None:
    """The title of a part that begins `top` inches from below."""
    figure.text(0.02, (top - 0.25) / whole, capped(text, 150), size=10, weight="bold")


def box(left: float, right: float, top: float, bottom: float, whole: float) -> tuple[float, float, float, float]:
    """Where axes are, in shares of the picture; heights are given in inches from below."""
    return left, bottom / whole, right - left, (top - bottom) / whole


def largest(weights: Sequence[PlannedWeight], most: int) -> list[PlannedWeight]:
    """So many at most, in graph order."""
    kept = sorted(range(len(weights)), key=lambda number: (-size_of(weights[number]), number))[:most]
    return [weights[number] for number in sorted(kept)]


def chosen_curves(run: RunRecord) -> list[MeasuredCurve]:
    """Those that are drawn, in order."""
    names = run.weights
    if run.plan:
        with_curve = [weight for weight in run.plan.weights if run.curve(weight.name)]
        names = [weight.name for weight in largest(with_curve, MOST_CURVES)]
    found = [run.curve(name) for name in names]
    return [curve for curve in found if curve is not None][:MOST_CURVES]


def bars(axes: Axes, weights: Sequence[PlannedWeight], plan: Plan) -> None:
    """A bar for each weight, coloured by operator."""
    colours = dict(zip(dict.fromkeys(weight.op for weight in plan.weights), cycle(COLOURS), strict=False))
    places = list(range(len(weights)))
    axes.barh(places, [weight.sparsity for weight in weights], color=[colours[weight.op] for weight in weights])
    axes.barh(places, [1.0] * len(weights), color="none", edgecolor="#CCCCCC", linewidth=0.5)
    for place, weight in zip(places, weights, strict=True):
        axes.text(1.005, place, percent(weight.sparsity), va="center", size=6.5)
    axes.set_yticks(places, [capped(inert(weight.name), LONGEST) for weight in weights], size=7)
    axes.set_ylim(len(weights) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
    axes.set_xlabel("sparsity")
    shown = list(dict.fromkeys(weight.op for weight in weights))[: len(COLOURS)]
    handles = [axes.barh([0], [0], color=colours[name]) for name in shown]
    axes.legend(handles, [capped(inert(name), 24) for name in shown], ncols=7, loc="lower right",
                bbox_to_anchor=(1, 1), frameon=False, borderaxespad=0.1)  # fmt: skip


def panels(figure: Figure, run: RunRecord, curves: Sequence[MeasuredCurve], top: float, whole: float) -> None:
    """Small curves side by side, all on the same scales."""
    # Of what is below 0, the drops alone: intervals reach there without need, and would take half of the scale.
    drops = [each for curve in curves for point in curve.points for each in (point.drop, point.high) if isfinite(each)]
    drops += [drop for curve in curves for _, drop in run.predicted.get(curve.weight, ())]
    planned = {weight.name: weight.sparsity for weight in run.plan.weights} if run.plan else {}
    step = 0.93 / COLUMNS
    for number, curve in enumerate(curves):
        row, column = divmod(number, COLUMNS)
        left = 0.06 + step * column
        upper = top - PANEL * row - 0.12
        axes = figure.add_axes(box(left, left + step * 0.8, upper, upper - PANEL + 0.55, whole))
        panel(axes, run, curve, planned.get(curve.weight))
        scaled(axes, drops)
        axes.set_xlim(0, 1.02)
        axes.set_xticks([0, 0.5, 1], ["0", "50 %", "100 %"], size=6)
        axes.tick_params(axis="y", labelsize=6)
        axes.set_title(in_two(inert(curve.weight)), size=6.5, loc="left", pad=3)


def in_two(name: str) -> str:
    """A name in two lines at most, without its middle where it is longer: both ends tell it from others."""
    if len(name) > 2 * TITLE_LINE:
        name = f"{name[: TITLE_LINE - 3]}...{name[-TITLE_LINE:]}"
    return name if len(name) <= TITLE_LINE else f"{name[:TITLE_LINE]}\n{name[TITLE_LINE:]}"


def panel(axes: Axes, run: RunRecord, curve: MeasuredCurve, planned: float | None) -> None:
    """One of them."""
    points = [point for point in curve.points if isfinite(point.drop)]
    levels, drops = [point.sparsity for point in points], [point.drop for point in points]
    predicted = run.predicted.get(curve.weight, ())
    if predicted:
        axes.plot(*zip(*predicted, strict=True), color=PREDICTED, linewidth=2, alpha=0.5)
    monotone = monotone_of(curve, predicted)
    if monotone:
        axes.plot(*zip(*sorted(monotone.items()), strict=True), color=MONOTONE, linewidth=0.7)
    reach = [[point.drop - point.low for point in points], [point.high - point.drop for point in points]]
    if all(map(isfinite, (each for side in reach for each in side))):
        axes.errorbar(levels, drops, yerr=reach, fmt=".", color=MEASURED, markersize=4, linewidth=0.8)
    if planned is not None:
        axes.axvline(planned, color=CHOSEN, linewidth=1)
    axes.axhline(0, color="#CCCCCC", linewidth=0.5, zorder=0)


def scaled(axes: Axes, drops: Sequence[float]) -> None:
    """A scale for drops that are thirty times apart and may be below 0."""
    most = max(map(abs, drops), default=0.0)
    if most == 0:
        return
    straight = 10.0 ** (ceil(log10(most)) - 3)
    axes.set_yscale("symlog", linthresh=straight, linscale=0.5)
    axes.set_ylim(min(0.0, *drops) * 1.2, most * 1.5)
    axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=straight))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def front(axes: Axes, found: Front) -> None:
    """The best plan at each sparsity, by the metric that it is by."""
    points = [(point.sparsity, point.drops[found.metric]) for point in found.points if found.metric in point.drops]
    axes.plot(*zip(*points, strict=True), color=MEASURED, marker="o", markersize=4) if points else None
    axes.set_xlabel("sparsity of the whole plan")
    axes.set_ylabel(f"drop in {capped(inert(found.metric), 40)}")
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.0f} %"))
    axes.grid(color="#EEEEEE")
