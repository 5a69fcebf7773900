"""`pareto.json`: the best plan at each of many sparsities, measured as a whole on the search split; none verified."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from onnxsens.files import write_atomically
from onnxsens.plan.ensemble import Candidate
from onnxsens.plan.records import Count, Fraction, Record, encoded, read_record
from onnxsens.usercode import without_folder

SCHEMA: Final = "onnxsens.pareto/1"
REMEDY = "make it again with --pareto"


class FrontPoint(Record, frozen=True, kw_only=True):
    """One plan. `samples`: of the search split; `on_front`: whether no other is sparser and loses less."""

    picker: str
    sparsity: Fraction
    samples: Count
    drops: dict[str, float]
    on_front: bool
    levels: dict[str, float]


class Front(Record, frozen=True, kw_only=True):
    """All of them, by sparsity. `metric`: the one that the front is by."""

    schema: Literal["onnxsens.pareto/1"]
    metric: str
    points: list[FrontPoint]


def front_of(candidates: Sequence[Candidate], metric: str) -> Front:
    """The record."""
    ordered = sorted(candidates, key=lambda candidate: candidate.sparsity)
    drops = [found.drop if (found := each.joint.measurements.get(metric)) else float("inf") for each in ordered]
    points = [
        FrontPoint(
            picker=each.picker,
            sparsity=each.sparsity,
            samples=max((measured.samples for measured in each.joint.measurements.values()), default=0),
            drops={without_folder(name): found.drop for name, found in sorted(each.joint.measurements.items())},
            on_front=drop < min(drops[number + 1 :], default=float("inf")),
            levels=dict(each.levels),
        )
        for number, (each, drop) in enumerate(zip(ordered, drops, strict=True))
    ]
    return Front(schema=SCHEMA, metric=without_folder(metric), points=points)


def write_front(front: Front, path: Path) -> None:
    """Complete or not at all."""
    write_atomically(path, [encoded(front)])


def read_front(path: Path) -> Front:
    """What was written.

    Raises:
        PlanError: it is no such file.
    """
    return read_record(path, Front, SCHEMA, "pareto", REMEDY, absent=REMEDY)
