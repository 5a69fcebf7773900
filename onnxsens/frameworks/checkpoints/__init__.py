"""Weights as the source framework saved them. One file a format; knows tensors and names, no ONNX and no plan.

To add one: a file with a `Format`, a line in the table below, a test. The laws that all keep are
`onnxsens.frameworks.checkpoints.contract.CheckpointContract`.
"""

from onnxsens.frameworks.checkpoints.checkpoint import Checkpoint, Format, Parameter
from onnxsens.plugins import Registry

__all__ = ["Checkpoint", "Format", "Parameter", "checkpoints", "open_checkpoint"]

checkpoints: Registry[Format] = Registry(
    "checkpoints",
    "checkpoint format",
    {
        "flax": "onnxsens.frameworks.checkpoints.flax:FORMAT",
        "keras": "onnxsens.frameworks.checkpoints.keras:FORMAT",
        "npz": "onnxsens.frameworks.checkpoints.npz:FORMAT",
        "safetensors": "onnxsens.frameworks.checkpoints.safetensors:FORMAT",
        "torch": "onnxsens.frameworks.checkpoints.torch:FORMAT",
    },
)

# The opening needs the table above.
from onnxsens.frameworks.checkpoints.opening import open_checkpoint  # noqa: E402
