"""The layers as JSON, for whatever reads it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from onnxsens.frameworks.exporters.header import header, select
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode


@dataclass(frozen=True)
class JsonDocument:
    """One object, with all that is known of every layer."""

    name: str = "json"
    title: str = "Sparsity of every source parameter, as JSON"
    modes: tuple[Mode, ...] = ("ratio", "mask")
    ran_with: str | None = "Python 3.11"

    def files(self, export: Export) -> Mapping[str, str]:
        """One document, in ASCII."""
        layers, left_out = select(self, export, no_reason)
        about = header(
            self,
            export,
            layers,
            [],
            use=("Use: json.load(open('layers.json'))['layers'].",),
            traps=(),
            values="It has them by name of the parameter.",
        )
        document = {
            "format": "onnxsens.export/1",
            "about": " ".join(line for line in about if line),
            "mode": export.mode,
            "onnxsens": export.version,
            "model": {"file": export.plan.model.file, "sha256": export.plan.model.sha256},
            "masks": export.masks_file if export.mode == "mask" else None,
            "weights": export.weights_file,
            "layers": [asdict(layer) for layer in layers],
            "left_out": [{"name": name, "reason": reason} for name, reason in left_out],
        }
        return {"layers.json": json.dumps(document, indent=2, allow_nan=False) + "\n"}


def no_reason(layer: Layer) -> None:
    """JSON takes every layer."""


EXPORTER = JsonDocument()
