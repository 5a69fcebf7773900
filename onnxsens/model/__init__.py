"""The only package that knows ONNX: opens a file, finds its weights, writes it back."""

from onnxsens.model.load import Model, load_model
from onnxsens.model.surgery import write_model
from onnxsens.model.weights import Inventory, Skipped, Weight, take_inventory

__all__ = ["Inventory", "Model", "Skipped", "Weight", "load_model", "take_inventory", "write_model"]
