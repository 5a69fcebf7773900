"""The only package that knows ONNX: opens a file, finds its weights, writes it back."""

from onnxsens.model.inventory import refuse_empty, take_inventory
from onnxsens.model.limits import ReadLimits
from onnxsens.model.load import Model, load_model
from onnxsens.model.surgery import write_model
from onnxsens.model.weights import (
    Consumer,
    Inventory,
    Skipped,
    Weight,
    dense_matrix,
    stored_values,
)

__all__ = [
    "Consumer",
    "Inventory",
    "Model",
    "ReadLimits",
    "Skipped",
    "Weight",
    "dense_matrix",
    "load_model",
    "refuse_empty",
    "stored_values",
    "take_inventory",
    "write_model",
]
