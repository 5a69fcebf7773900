"""Plans in the formats of other tools, one file each. Knows plans and names of parameters, no framework and no model.

What is written needs its framework only, and never onnxsens. To add one: a file with an `Exporter`, a line in the table
below, a row in `docs/exports.md`, a test. The laws that all keep are `onnxsens.frameworks.exporters.contract`.
"""

from onnxsens.frameworks.exporters.exporter import Exporter
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode
from onnxsens.plugins import Registry

__all__ = ["Export", "Exporter", "Layer", "Mode", "exporters"]

exporters: Registry[Exporter] = Registry(
    "exporters",
    "export format",
    {
        "coreml": "onnxsens.frameworks.exporters.coreml:EXPORTER",
        "csv": "onnxsens.frameworks.exporters.csv_table:EXPORTER",
        "jax": "onnxsens.frameworks.exporters.jax:EXPORTER",
        "json": "onnxsens.frameworks.exporters.json_document:EXPORTER",
        "keras": "onnxsens.frameworks.exporters.keras:EXPORTER",
        "llmcompressor": "onnxsens.frameworks.exporters.llmcompressor:EXPORTER",
        "masks": "onnxsens.frameworks.exporters.masks:EXPORTER",
        "modelopt": "onnxsens.frameworks.exporters.modelopt:EXPORTER",
        "nncf": "onnxsens.frameworks.exporters.nncf:EXPORTER",
        "tfmot": "onnxsens.frameworks.exporters.tfmot:EXPORTER",
        "torch": "onnxsens.frameworks.exporters.torch:EXPORTER",
        "torch-pruning": "onnxsens.frameworks.exporters.torch_pruning:EXPORTER",
    },
)
