"""Where samples come from: one file a source. Knows nothing of ONNX; a model is its inputs' names, types and shapes."""

from onnxsens.data.dataset import Dataset
from onnxsens.data.dims import with_dims
from onnxsens.data.opening import open_dataset, sources
from onnxsens.data.preprocessing import Preprocessing
from onnxsens.data.source import RawSamples, Source
from onnxsens.data.splitting import Split, split

__all__ = [
    "Dataset",
    "Preprocessing",
    "RawSamples",
    "Source",
    "Split",
    "open_dataset",
    "sources",
    "split",
    "with_dims",
]
