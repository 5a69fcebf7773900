"""What the page says in words and tables: a record for each row, every number as it is read."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from onnxsens.plan.planfile import MetricQuality, Plan, PlannedWeight, size_of
from onnxsens.report.page.marks import Mark, Scale
from onnxsens.report.terminal import achieved, remark
from onnxsens.report.text import count, inert, percent, quality, rounded, size
from onnxsens.results import CurvePoint, RunRecord

NEAR = 1e-12  # of two levels that are the same
HALF = 0.5  # where weights of a scan are compared


@dataclass(frozen=True)
class Alone:
    """What a weight loses by itself, and how that is known: `measured`, `between` points, `predicted`, or nothing."""

    drop: str
    how: str = ""


@dataclass(frozen=True)
class Row:
    """A weight in the table.

    Attributes:
        share: of it that the plan takes, in per cent; None without a plan.
        drop: by itself at what the plan takes.
        half: by itself at a level of 50 %, where there is no plan.
    """

    name: str
    source: str
    op: str
    shape: str
    parameters: str
    level: str
    share: float | None
    zeros: str
    drop: Alone
    half: Alone
    remark: str


@dataclass(frozen=True)
class Line:
    """A metric of the plan on the hold-out split."""

    name: str
    unit: str
    dense: str
    pruned: str
    drop: str
    interval: str
    limit: str
    mark: Mark


@dataclass(frozen=True)
class Total:
    """A number before and after. `share`: of what was there, in per cent."""

    name: str
    before: str
    after: str
    share: float


def level_noun(plan: Plan | None) -> str:
    """What a level is called."""
    return "sparsity" if plan is None or plan.level_kind == "sparsity" else "saved"


def answer(run: RunRecord) -> str:
    """The line that people came for."""
    if run.plan is not None:
        return achieved(run.plan)
    return "There is no plan yet: these are the measurements of a scan."


def sizes(plan: Plan) -> str:
    """Compressed, before and after."""
    return f"{size(plan.totals.bytes_zlib_dense)} compressed before, {size(plan.totals.bytes_zlib_pruned)} after"


def totals(plan: Plan) -> list[Total]:
    """Weights that are not zero, bytes, and work."""
    of = plan.totals
    rows = []
    if plan.level_kind == "sparsity":
        left = of.parameters - of.zeros
        rows.append(
            Total("weights that are not zero", rounded(of.parameters), rounded(left), ratio(left, of.parameters))
        )
    rows.append(
        Total(
            "size, compressed by zlib",
            size(of.bytes_zlib_dense),
            size(of.bytes_zlib_pruned),
            ratio(of.bytes_zlib_pruned, of.bytes_zlib_dense),
        )
    )
    if plan.level_kind == "sparsity" and of.macs_dense and of.macs_nonzero is not None:
        rows.append(
            Total(
                "multiply-accumulates by weights that are not zero",
                rounded(of.macs_dense),
                rounded(of.macs_nonzero),
                ratio(of.macs_nonzero, of.macs_dense),
            )
        )
    return rows


def ratio(part: float, whole: float) -> float:
    """In per cent, at most 100 as it is drawn."""
    return round(min(100.0, 100 * part / whole), 2) if whole else 0.0


def cards(plan: Plan) -> list[Line]:
    """Every metric, those with a limit first."""
    items = sorted(plan.quality.metrics.items(), key=lambda item: item[1].limit is None)
    return [metric_line(*item) for item in items]


def metric_line(name: str, item: MetricQuality) -> Line:
    """A metric, with its interval on an axis of its own."""
    scale = Scale.of([item.drop, item.low, item.high, item.limit])
    return Line(
        name=inert(name),
        unit="" if item.unit in ("", "fraction") else inert(item.unit),
        dense=quality(item.dense),
        pruned=quality(item.pruned),
        drop=quality(item.drop),
        interval=between(item.low, item.high),
        limit="" if item.limit is None else f"{item.limit:g}",
        mark=scale.mark(item.drop, item.low, item.high, item.limit),
    )


def between(low: float | None, high: float | None) -> str:
    """`0.005 to 0.015`."""
    return "" if low is None or high is None else f"{low:.3g} to {high:.3g}"


def metrics_of(run: RunRecord) -> list[str]:
    """Names of all that was measured: that of the search first, then those of the goal."""
    wanted = [run.search_metric] if run.search_metric else []
    wanted += [run.plan.objective.search_metric, *run.plan.quality.metrics] if run.plan else []
    measured = [curve.metric for curve in run.curves]
    front = [name for point in run.front.points for name in point.drops] if run.front else []
    known = set(measured) | set(front) | (set(run.plan.quality.metrics) if run.plan else set())
    return [name for name in dict.fromkeys([*wanted, *measured, *front]) if name in known]


def rows(run: RunRecord) -> list[Row]:
    """Every weight, planned or only measured."""
    own = {curve.weight: curve.points for curve in run.curves if curve.metric == run.search_metric}
    own |= {
        curve.weight: curve.points
        for curve in run.curves
        if (curve.metric, curve.technique) == (run.search_metric, run.technique)
    }
    planned = {weight.name: weight for weight in run.plan.weights} if run.plan else {}
    return [
        planned_row(planned[name], run, own) if name in planned else scanned_row(name, run, own) for name in run.weights
    ]


def planned_row(weight: PlannedWeight, run: RunRecord, own: Mapping[str, Sequence[CurvePoint]]) -> Row:
    """A weight of the plan."""
    kind = run.plan.level_kind if run.plan else "sparsity"
    sparse = kind == "sparsity"
    level = weight.sparsity if sparse else weight.level
    return Row(
        name=inert(weight.name),
        source=source_of(weight),
        op=inert(weight.op),
        shape="x".join(map(str, weight.shape)),
        parameters=count(size_of(weight)),
        level=percent(level) if weight.setting is None or sparse else f"{weight.setting:g} {kind}, {percent(level)}",
        share=round(100 * level, 1),
        zeros=count(weight.zeros),
        drop=drop_alone(weight, own, run.predicted) if sparse else drop_at(level, own.get(weight.name, ())),
        half=Alone("-"),
        remark=remark(weight),
    )


def scanned_row(name: str, run: RunRecord, own: Mapping[str, Sequence[CurvePoint]]) -> Row:
    """A weight that was measured, or looked at, and of which no plan speaks."""
    effect = run.effects.get(name, "effective")
    said = run.failures.get(name, "" if effect == "effective" else f"{effect} on these samples")
    points = own.get(name, ())
    half = drop_at(HALF, points)
    if not half.how and (value := on_line(run.predicted.get(name, ()), HALF)) is not None:
        half = Alone(f"{value:.2g}", "predicted")
    measured = Alone(f"{len(points)} level{'' if len(points) == 1 else 's'}")
    return Row(inert(name), "", "", "", "", "-", None, "-", measured, half, inert(said))


def source_of(weight: PlannedWeight) -> str:
    """`e.weight (transposed)`: what it is called where the model came from."""
    if weight.source is None:
        return ""
    names = ", ".join(map(inert, weight.source.parameters))
    plain = weight.source.transform in ("", "as it is")
    return names if plain else f"{names} ({inert(weight.source.transform)})"


def drop_alone(
    weight: PlannedWeight,
    curves: Mapping[str, Sequence[CurvePoint]],
    predicted: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> Alone:
    """What the weight loses by itself at its sparsity: measured there, between two that were, or predicted."""
    if not weight.zeros:
        return Alone("-")
    level, points = weight.sparsity, curves.get(weight.name, ())
    found = drop_at(level, points, tolerance=level / 2 / weight.zeros)
    if found.how:
        return found
    value = on_line((predicted or {}).get(weight.name, ()), level)
    return found if value is None else Alone(f"{value:.2g}", "predicted")


def drop_at(level: float, points: Sequence[CurvePoint], tolerance: float = NEAR) -> Alone:
    """What was measured at a level, or is on the line between its neighbours."""
    place = bisect_left([point.sparsity for point in points], level)
    for point in points[max(place - 1, 0) : place + 1]:
        if abs(point.sparsity - level) <= tolerance:
            return Alone(quality(point.drop), "measured")
    value = on_line([(point.sparsity, point.drop) for point in points], level)
    return Alone("-") if value is None else Alone(quality(value), "between")


def on_line(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """The value on straight lines between points; None outside them."""
    for (low, start), (high, end) in pairwise(points):
        if low <= level <= high and high > low:
            return start + (level - low) / (high - low) * (end - start)
    return None
