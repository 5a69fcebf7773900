"""A run as one strict JSON document, `onnxsens.report/1`, for programs. Keys are sorted, and nothing is NaN.

schema          "onnxsens.report/1"; another number where a field changes its meaning or goes
model, made_by  the model's file name, and what gathered all this
command         words of the command that makes such a run, without folders; [] where the run does not say
technique       of the curves that a plan was made by, or null
search_metric   what searches look at, or null
dense           by metric, what it is of the dense model
plan            as in plan.json (docs/plan.schema.json), or null
front           as in pareto.json, or null
weights         in graph order where there is a plan, each with
    name
    effect      what zeroing all of it does to the outputs, or null where that was not looked at
    failure     why a point of it could not be measured, or null
    curves      measured: [{technique, metric, points: [{sparsity, drop, low, high, samples, monotone}]}]; drops are
                positive where quality was lost; low and high are two standard errors away; monotone is what
                pickers take for the drop; null where it is no finite number
    predicted   [{sparsity, drop, monotone}] of the search metric, or null
    unpredicted why there is none, or null
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from math import isfinite
from typing import Any, Final

from onnxsens.listing import rows_of
from onnxsens.report import documents
from onnxsens.report.text import without_places
from onnxsens.results import CurveRow, RunRecord
from onnxsens.strict_json import write_json

SCHEMA: Final = "onnxsens.report/1"
# Fields that hold names: a weight may be called like a folder of this machine, and is called so still.
NAMES = {"name", "weight", "file", "changed", "parameters", "model", "command"}
SHOWN = ("sparsity", "drop", "low", "high", "samples", "monotone")


@dataclass(frozen=True)
class JsonReport:
    """All that is known, and nothing rounded."""

    name: str = "json"
    suffixes: tuple[str, ...] = (".json",)

    def content(self, run: RunRecord) -> bytes:
        """The document, with a line break at its end."""
        return (write_json(document(run), indent=2) + "\n").encode()


def document(run: RunRecord) -> dict[str, Any]:
    """As plain data."""
    rows: dict[str, list[CurveRow]] = {}
    for row in rows_of(run):
        rows.setdefault(row.weight, []).append(row)
    found = {
        "schema": SCHEMA,
        "model": run.model,
        "made_by": run.made_by,
        "command": list(run.command),
        "technique": run.technique,
        "search_metric": run.search_metric,
        "dense": dict(run.dense),
        "plan": None if run.plan is None else documents.plan(run.plan),
        "front": None if run.front is None else documents.front(run.front),
        "weights": [
            {
                "name": name,
                "effect": run.effects.get(name),
                "failure": run.failures.get(name),
                "curves": curves_of(rows.get(name, ())),
                "predicted": predicted_of(rows.get(name, ())),
                "unpredicted": run.unpredicted.get(name),
            }
            for name in run.weights
        ],
    }
    return dict(harmless(found, run.places))


def curves_of(rows: Sequence[CurveRow]) -> list[dict[str, Any]]:
    """What was measured of a weight."""
    measured = [row for row in rows if row.kind == "measured"]
    return [
        {"technique": technique, "metric": metric, "points": [{key: asdict(row)[key] for key in SHOWN} for row in own]}
        for (technique, metric), own in groupby(measured, key=lambda row: (row.technique, row.metric))
    ]


def predicted_of(rows: Sequence[CurveRow]) -> list[dict[str, Any]] | None:
    """What was predicted of it."""
    found = [
        {"sparsity": row.sparsity, "drop": row.drop, "monotone": row.monotone}
        for row in rows
        if row.kind == "predicted"
    ]
    return found or None


def harmless(value: Any, places: Sequence[str], key: str = "") -> Any:
    """The same without folders of this machine and without numbers that JSON does not have."""
    if isinstance(value, Mapping):
        return {name: harmless(each, places, str(name)) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [harmless(each, places, key) for each in value]
    if isinstance(value, str):
        return value if key in NAMES else without_places(value, places)
    return None if isinstance(value, float) and not isfinite(value) else value


FORMAT = JsonReport()
