"""Rows of curves as text: CSV for spreadsheets, JSON for programs (`onnxsens.curves/1`)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from onnxsens.report.csv_report import table
from onnxsens.results import CurveRow
from onnxsens.strict_json import write_json

SCHEMA: Final = "onnxsens.curves/1"


def document(rows: Sequence[CurveRow]) -> dict[str, Any]:
    """`{"schema": ..., "rows": [...]}`, a row with its fields by name; what is no finite number is null."""
    return {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}


def as_json(rows: Sequence[CurveRow]) -> bytes:
    """One strict document with sorted keys."""
    return (write_json(document(rows), indent=2) + "\n").encode()


def as_csv(rows: Sequence[CurveRow]) -> bytes:
    """A table with the fields as columns; what is not known is empty."""
    return table([each.name for each in fields(CurveRow)], map(asdict, rows))


def summary(rows: Sequence[CurveRow]) -> str:
    """One line."""
    return f"{len(rows)} points of {len({row.weight for row in rows})} weights"


WRITERS: Mapping[str, Callable[[Sequence[CurveRow]], bytes]] = {"csv": as_csv, "json": as_json}
