"""A run as a table for spreadsheets: a row for each weight, and one for each group of parameters that is left alone."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from onnxsens.frameworks.exporters.csv_table import cell
from onnxsens.plan.planfile import Plan, PlannedWeight, SkippedParameters, size_of
from onnxsens.report.text import without_places
from onnxsens.results import RunRecord

COLUMNS = (
    "weight",
    "kind",
    "operator",
    "shape",
    "dtype",
    "parameters",
    "level",
    "sparsity",
    "zeros",
    "pattern",
    "setting",
    "macs",
    "effect",
    "technique",
    "search_metric",
    "points",
    "drop_alone",
    "drop_alone_from",
    "source",
    "source_transform",
    "source_confidence",
    "remark",
)
SAME = 1e-9  # sparsities that differ by rounding
ORIGIN = ("model", "model_sha256", "made_by")


@dataclass(frozen=True)
class CsvReport:
    """What fits into one table; picks have a column for each picker, and curves are left to `onnxsens curves`."""

    name: str = "csv"
    suffixes: tuple[str, ...] = (".csv",)

    def content(self, run: RunRecord) -> bytes:
        """The table in UTF-8."""
        plan = run.plan
        pickers = sorted({name for weight in plan.weights for name in weight.picks}) if plan else []
        columns = (*COLUMNS, *(cell(f"pick {name}") for name in pickers), *ORIGIN)
        origin = {
            "model": run.model,
            "model_sha256": "" if plan is None else plan.model.sha256,
            "made_by": run.made_by,
        }
        rows = [*planned(run, plan), *skipped(plan)] if plan else list(measured(run))
        return table(columns, (row | origin for row in rows))


def planned(run: RunRecord, plan: Plan) -> Iterable[dict[str, Any]]:
    """A row for each weight of the plan."""
    for weight in plan.weights:
        curve = run.curve(weight.name)
        drop, how = alone(run, weight.name, weight.sparsity) if weight.zeros else (None, "")
        source = weight.source
        yield {
            "weight": weight.name,
            "kind": "planned",
            "operator": weight.op,
            "shape": "x".join(map(str, weight.shape)),
            "dtype": weight.dtype,
            "parameters": size_of(weight),
            "level": weight.level,
            "sparsity": weight.sparsity,
            "zeros": weight.zeros,
            "pattern": weight.pattern,
            "setting": weight.setting,
            "macs": weight.macs,
            "effect": weight.effect,
            "technique": plan.technique,
            "search_metric": run.search_metric,
            "points": len(curve.points) if curve else 0,
            "drop_alone": drop,
            "drop_alone_from": how,
            "source": " ".join(source.parameters) if source else None,
            "source_transform": source.transform if source else None,
            "source_confidence": source.confidence if source else None,
            "remark": remark(weight, run.places),
        } | {cell(f"pick {name}"): level for name, level in weight.picks.items()}


def remark(weight: PlannedWeight, places: Sequence[str]) -> str:
    """What is special about it."""
    return without_places("; ".join(filter(None, (weight.failure, weight.limited, weight.not_updated))), places)


def skipped(plan: Plan) -> Iterable[dict[str, Any]]:
    """What is left alone."""
    row: SkippedParameters
    for row in plan.skipped:
        yield {
            "weight": row.name,
            "kind": "left alone",
            "shape": "x".join(map(str, row.shape)),
            "dtype": row.dtype,
            "parameters": row.parameters,
            "remark": row.reason,
        }


def measured(run: RunRecord) -> Iterable[dict[str, Any]]:
    """A row for each weight of a run without a plan."""
    for name in run.weights:
        curve = run.curve(name)
        yield {
            "weight": name,
            "kind": "measured" if curve else "not measured",
            "effect": run.effects.get(name),
            "technique": run.technique,
            "search_metric": run.search_metric,
            "points": len(curve.points) if curve else 0,
            "remark": without_places(run.failures.get(name, ""), run.places),
        }


def alone(run: RunRecord, weight: str, sparsity: float) -> tuple[float | None, str]:
    """What a weight loses by itself at a sparsity: `measured` there, or `between` points, measured or predicted."""
    curve = run.curve(weight)
    if curve is None or not curve.points:
        return None, ""
    measured = {point.sparsity: point.drop for point in curve.points}
    near = [level for level in measured if abs(level - sparsity) < SAME]
    if near:
        return measured[near[0]], "measured"
    known = sorted(({0.0: 0.0} | dict(run.predicted.get(weight, ())) | measured).items())
    for (low, first), (high, second) in pairwise(known):
        if low <= sparsity <= high:
            return first + (sparsity - low) / (high - low) * (second - first), "between"
    return None, ""


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A table in which no text is a formula, whatever it is called. What is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: shown(value) for key, value in row.items()})
    return text.getvalue().encode()


def shown(value: Any) -> Any:
    """A cell: texts made harmless, numbers as they are, and nothing for NaN."""
    if isinstance(value, str):
        return cell(value)
    return "" if value is None or value != value else value  # noqa: PLR0124  (NaN alone differs from itself)


FORMAT = CsvReport()
