"""The layers as a table, for spreadsheets."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.frameworks.exporters.header import plain, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode

COLUMNS = (
    "parameter",
    "zeros",
    "elements",
    "sparsity",
    "pattern",
    "shape",
    "dtype",
    "operator",
    "onnx",
    "aliases",
    "confidence",
    "rescaled",
    "left_out",
    "mode",
    "made_by",
    "read_with",
    "model",
    "model_sha256",
)
# What makes a cell a formula, for full-width signs as spreadsheets take them in some languages.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True)
class CsvTable:
    """A row for each layer, and for each weight that has none.

    There are no comments in CSV: mode and origin are columns.
    """

    name: str = "csv"
    title: str = "Sparsity of every source parameter, as CSV"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "Python 3.11"

    def files(self, export: Export) -> Mapping[str, str]:
        """One table."""
        layers, left_out = select(self, export, no_reason)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writeheader()
        origin = {
            "mode": export.mode,
            "made_by": f"onnxsens {plain(export.version)}",
            "read_with": self.ran_with,
            "model": cell(export.plan.model.file),
            "model_sha256": export.plan.model.sha256[:12],
        }
        for layer in layers:
            writer.writerow(described(layer) | origin)
        for name, reason in left_out:
            writer.writerow({"parameter": cell(name), "left_out": cell(reason)} | origin)
        return {"layers.csv": text.getvalue()}


def described(layer: Layer) -> dict[str, object]:
    """The cells of a layer."""
    return {
        "parameter": cell(layer.parameter),
        "zeros": layer.zeros,
        "elements": layer.size,
        "sparsity": layer.sparsity,
        "pattern": cell(layer.pattern or "unstructured"),
        "shape": "x".join(map(str, layer.shape)),
        "dtype": cell(layer.dtype),
        "operator": cell(layer.operator),
        "onnx": cell(" ".join(layer.tensors)),
        "aliases": cell(" ".join(layer.aliases)),
        "confidence": cell(layer.confidence),
        "rescaled": "yes" if layer.rescaled else "no",
    }


def cell(text: str) -> str:
    """A name in one line, which no spreadsheet takes for a formula."""
    shown = plain(text)
    return f"'{shown}" if text.startswith(FORMULA) or shown.startswith(FORMULA) else shown


def no_reason(layer: Layer) -> None:
    """A table takes every layer."""


EXPORTER = CsvTable()
