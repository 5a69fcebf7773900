"""The usual sensitivity analysis: for every layer and level a changed copy, a new session, all samples.

Written from plain onnx, onnxruntime and numpy, as it is found in many repositories. Knows nothing of onnxsens.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

PRUNED = {"Conv": [1], "ConvTranspose": [1], "Gemm": [1], "MatMul": [1], "Gather": [0]}
PRUNED |= {recurrent: [1, 2] for recurrent in ("LSTM", "GRU", "RNN")}


@dataclass(frozen=True)
class Samples:
    """Model-ready input `[n, ...]`, what the dense model says `[n, classes]`, and labels `[n]`."""

    name: str
    values: np.ndarray
    dense: np.ndarray
    labels: np.ndarray


def prunable(proto: onnx.ModelProto) -> list[str]:
    """Stored tensors that a node multiplies by, in the order of the nodes."""
    stored = {tensor.name for tensor in proto.graph.initializer if len(tensor.dims) > 1}
    inputs = [node.input[place] for node in proto.graph.node for place in PRUNED.get(node.op_type, [])]
    return [name for name in dict.fromkeys(inputs) if name in stored]


# The loop itself: 30 lines from here.
def one_shot(
    proto: onnx.ModelProto, points: Sequence[tuple[str, float]], samples: Samples, metric: str
) -> Iterator[tuple[str, float, float]]:
    """Layer, level and mean drop, point by point."""
    for name, level in points:
        yield name, level, float(drops(proto, {name: level}, samples, metric).mean())


def drops(proto: onnx.ModelProto, levels: Mapping[str, float], samples: Samples, metric: str) -> np.ndarray:
    """Drop per sample `[n]` when the smallest weights of each tensor are zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if levels.get(tensor.name):
            values = numpy_helper.to_array(tensor).copy()
            smallest = np.argsort(np.abs(values), axis=None)[: round(levels[tensor.name] * values.size)]
            values.flat[smallest] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    starts = range(0, len(samples.values), 32)
    feeds = [{samples.name: samples.values[start : start + 32]} for start in starts]
    logits = np.concatenate([session.run(None, feed)[0] for feed in feeds])
    if metric == "accuracy":
        before, after = samples.dense.argmax(1) == samples.labels, logits.argmax(1) == samples.labels
        return np.asarray(before.astype(float) - after)
    before, after = log_softmax(samples.dense), log_softmax(logits)
    return np.asarray((np.exp(before) * (before - after)).sum(axis=1))


# And to here.
def log_softmax(logits: np.ndarray) -> np.ndarray:
    """`[n, classes]`, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@dataclass(frozen=True)
class Found:
    """A plan by the usual way.

    Attributes:
        bound: 95 % upper bound of the drop on the hold-out samples.
        runs: joint runs that it took.
    """

    levels: dict[str, float]
    drop: float
    bound: float
    runs: int


def plan(
    proto: onnx.ModelProto,
    curves: Mapping[str, Sequence[tuple[float, float]]],
    search: Samples,
    holdout: Samples,
    metric: str,
    limit: float,
) -> Found:
    """The boldest plan that is within the limit as a whole, by bisection, and its check on the hold-out samples.

    Boldness above 0 is a tolerance, the same for all layers, in limits; below 0 the plan of tolerance 0 is scaled
    down to the dense model at -1. A check that fails takes what was missing off the limit, at most twice.

    Args:
        curves: layer to (level, drop).
    """
    aim, runs = limit, 0
    for _ in range(3):
        low, high, levels = -1.0, BOLDEST, dict.fromkeys(curves, 0.0)
        for _ in range(BISECTIONS):
            boldness = (low + high) / 2
            tried = highest(curves, max(0.0, boldness) * limit)
            tried = {name: level * min(1.0, 1 + boldness) for name, level in tried.items()}
            runs += 1
            if drops(proto, tried, search, metric).mean() <= aim:
                low, levels = boldness, tried
            else:
                high = boldness
        lost = drops(proto, levels, holdout, metric)
        runs += 1
        bound = float(lost.mean() + 1.645 * lost.std(ddof=1) / len(lost) ** 0.5)
        if bound <= limit:
            break
        aim -= bound - limit
    return Found(levels, float(lost.mean()), bound, runs)


BISECTIONS = 8
BOLDEST = 4.0


def highest(curves: Mapping[str, Sequence[tuple[float, float]]], tolerance: float) -> dict[str, float]:
    """For each layer the highest level whose drop is within the tolerance."""
    return {
        name: max((level for level, lost in points if lost <= tolerance), default=0.0)
        for name, points in curves.items()
    }
