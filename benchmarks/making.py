"""Writes a network and random samples for it, so that activations and logits have the size that training gives them.

A network with random weights that nobody looked at has logits of any size, often the same for all samples, and then
a divergence is 0 or huge at every level. So BatchNormalization gets the statistics of a batch, and the last layer is
scaled and centred to logits whose standard deviation over samples is `SPREAD`. Knows nothing of onnxsens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from benchmarks.networks import NETWORKS, WORDS

SPREAD = 2.0
LARGEST_FILE = 100_000_000  # bytes of weights; more go to a file beside
SETTLING_SAMPLES = 16


@dataclass(frozen=True)
class Made:
    """A model and its samples on disk, and what the weights take, in bytes."""

    model: Path
    data: Path
    weight_bytes: int


def make(name: str, folder: Path, samples: int, *, seed: int = 0, label: str = "", **sizes: int) -> Made:
    """Write `NAME.onnx` and `NAME.npz` into a folder.

    The samples' labels are what the dense model says, so that its accuracy is 1.

    Args:
        label: stands for `name` in file names.
        sizes: what the network's function takes besides a seed.
    """
    rng = np.random.default_rng([seed, samples])
    proto = NETWORKS[name](seed, **sizes)
    settle(proto, drawn(proto, rng, SETTLING_SAMPLES))
    weight_bytes = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    model, data = folder / f"{label or name}.onnx", folder / f"{label or name}.npz"
    if weight_bytes > LARGEST_FILE:
        onnx.save_model(proto, model, save_as_external_data=True, location=f"{label or name}.bin")
    else:
        model.write_bytes(proto.SerializeToString())
    arrays = drawn(proto, rng, samples)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    labels = np.concatenate([session.run(["logits"], batch)[0].argmax(axis=1) for batch in batches(arrays, 16)])
    everything: dict[str, Any] = {**arrays, "labels": labels}  # numpy's stub takes them for its own keywords
    np.savez(data, **everything)
    return Made(model, data, weight_bytes)


def drawn(proto: onnx.ModelProto, rng: np.random.Generator, samples: int) -> dict[str, np.ndarray]:
    """Random samples for the model's one input.

    Images are coarse patterns with fine noise, each of a contrast and a colour of its own: of white noise a network
    sees nothing but its mean, and all samples would look alike to it.
    """
    (given,) = proto.graph.input
    shape = [dim.dim_value for dim in given.type.tensor_type.shape.dim[1:]]
    if given.type.tensor_type.elem_type == TensorProto.INT64:
        # Each text has favourite words, else all have the same mean.
        favourites = rng.integers(0, WORDS, (samples, 8))
        words = np.take_along_axis(favourites, rng.integers(0, 8, (samples, *shape)), axis=1)
        return {given.name: np.where(rng.random((samples, *shape)) < 0.5, words, rng.integers(0, WORDS, words.shape))}
    channels, side, _ = shape
    coarse = rng.standard_normal((samples, channels, 4, 4), np.float32)
    images = np.kron(coarse, np.ones((1, 1, -(-side // 4), -(-side // 4)), np.float32))[:, :, :side, :side]
    images = images * rng.uniform(0.3, 1.5, (samples, 1, 1, 1)).astype(np.float32)
    images += rng.standard_normal((samples, channels, 1, 1), np.float32)
    images += np.float32(0.3) * rng.standard_normal(images.shape, np.float32)
    return {given.name: np.ascontiguousarray(images)}


def batches(arrays: dict[str, np.ndarray], size: int) -> list[dict[str, np.ndarray]]:
    """The samples in their order, `size` at a time."""
    (count,) = {len(values) for values in arrays.values()}
    starts = range(0, count, size)
    return [{name: values[start : start + size] for name, values in arrays.items()} for start in starts]


def settle(proto: onnx.ModelProto, batch: dict[str, np.ndarray]) -> None:
    """Put measured statistics and a fitting last layer in place."""
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    for name, values in statistics_of(proto, batch).items():
        weights[name].raw_data = values.tobytes()
    (logits,) = run(proto, batch, ["logits"])
    centre = logits.mean(axis=0)
    scale = np.float32(SPREAD / (logits - centre).std())
    matrix = numpy_helper.to_array(weights["head.weight"])
    weights["head.weight"].raw_data = (matrix * scale).tobytes()
    weights["head.bias"].raw_data = (-centre * scale).tobytes()


def statistics_of(proto: onnx.ModelProto, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Mean and variance of every BatchNormalization over a batch, all in one run: in training mode it gives both."""
    training = onnx.ModelProto()
    training.CopyFrom(proto)
    names = {}
    for node in training.graph.node:
        if node.op_type == "BatchNormalization":
            node.attribute.extend([onnx.helper.make_attribute("training_mode", 1)])
            node.attribute.extend([onnx.helper.make_attribute("momentum", 0.0)])
            for stored in node.input[3:5]:
                names[stored] = f"{stored}.measured"
            node.output.extend([names[stored] for stored in node.input[3:5]])
    if not names:
        return {}
    training.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names.values())
    return dict(zip(names, run(training, batch, list(names.values())), strict=True))


def run(proto: onnx.ModelProto, batch: dict[str, np.ndarray], outputs: list[str]) -> list[Any]:
    """Outputs of a model that is in memory."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(outputs, batch))
