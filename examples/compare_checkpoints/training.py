"""A small network, trained with numpy alone, and written as ONNX at two moments of its training."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

CLASSES, FEATURES, HIDDEN = 6, 20, 64
NAMES = ("first", "second", "last")

Weights = list[NDArray[np.float32]]


def samples(number: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Six classes, each two clouds of points."""
    centres = np.random.default_rng(0).normal(size=(2, CLASSES, FEATURES))
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=number)
    points = centres[rng.integers(2, size=number), labels] + rng.normal(size=(number, FEATURES))
    return points.astype(np.float32), labels


def trained(steps: int) -> Iterator[Weights]:
    """The weights after each step of gradient descent with momentum, on batches of 256."""
    rng = np.random.default_rng(1)
    shapes = ((FEATURES, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, CLASSES))
    weights = [rng.normal(scale=(2 / shape[0]) ** 0.5, size=shape).astype(np.float32) for shape in shapes]
    moving = [np.zeros_like(weight) for weight in weights]
    x, y = samples(8000, seed=2)
    for _ in range(steps):
        batch = rng.integers(len(x), size=256)
        inputs = [x[batch]]
        for weight in weights[:-1]:
            inputs.append(np.maximum(inputs[-1] @ weight, 0))
        logits = inputs[-1] @ weights[-1]
        gone = np.exp(logits - logits.max(axis=1, keepdims=True))
        gone /= gone.sum(axis=1, keepdims=True)
        gone[np.arange(len(batch)), y[batch]] -= 1
        for layer in reversed(range(len(weights))):
            slope = inputs[layer].T @ gone / len(batch)
            gone = (gone @ weights[layer].T) * (inputs[layer] > 0)
            moving[layer] = 0.9 * moving[layer] + slope
            weights[layer] = weights[layer] - np.float32(0.05) * moving[layer]
        yield weights


def write(weights: Weights, path: Path) -> None:
    """As ONNX: three MatMuls, with Relu in between."""
    nodes, value = [], "x"
    for number, name in enumerate(NAMES):
        last = name == NAMES[-1]
        nodes.append(helper.make_node("MatMul", [value, name], ["logits" if last else f"m{number}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"m{number}"], [f"h{number}"]))
            value = f"h{number}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weight, name) for name, weight in zip(NAMES, weights, strict=True)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
