"""Real shapes of intermediate tensors, from one run; MACs follow from them."""

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from onnxsens.arrays import AnyArray
from onnxsens.engine.runtime import one_line, runtime
from onnxsens.errors import ModelError
from onnxsens.model import Inventory, Model
from onnxsens.model.surgery import write_working_copy


def measure_macs(model: Model, inventory: Inventory, feed: Mapping[str, AnyArray]) -> dict[str, int]:
    """Multiply-accumulates per sample of every prunable weight, all its consumers together, on the CPU.

    Args:
        feed: model-ready inputs `[n, ...]`.
    Raises:
        ModelError: the model does not run on this feed.
    """
    wanted = {
        tensor
        for weight in inventory.weights
        for consumer in weight.consumers
        for tensor in (consumer.data, consumer.output)
    } - model.initializers.keys()
    shapes = {name: tuple(value.shape) for name, value in feed.items()}
    shapes |= {name: tuple(tensor.dims) for name, tensor in model.initializers.items()}
    shapes |= shapes_of(model, feed, wanted - feed.keys())
    samples = len(next(iter(feed.values())))
    return {
        weight.name: sum(
            consumer.slot.macs(consumer.layout, shapes[consumer.data], shapes[consumer.output])
            for consumer in weight.consumers
        )
        // samples
        for weight in inventory.weights
    }


def shapes_of(model: Model, feed: Mapping[str, AnyArray], tensors: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Shapes that these intermediate tensors have on this feed."""
    ort = runtime()
    names = sorted(tensors)
    with tempfile.TemporaryDirectory(prefix="onnxsens-") as folder:
        path = write_working_copy(model, Path(folder), (), names)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        # Optimisation would fuse away the very tensors that are asked for.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            values = session.run(names, feed)
        except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
            raise ModelError(f"onnxruntime cannot run '{model.path.name}': {one_line(error)}") from error
    return {name: tuple(value.shape) for name, value in zip(names, values, strict=True)}
