"""Which output a metric reads and what its numbers mean. Knows nothing of ONNX, sessions or splits."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import MetricError

OutputKind: TypeAlias = Literal["logits", "probabilities", "values"]

RANGE_TOLERANCE = 1e-6  # how far outside [0, 1] a float32 probability may lie
SUM_TOLERANCE = 1e-3  # float16 softmax over a thousand classes stays within it


@dataclass(frozen=True)
class Reading:
    """What a metric reads of a model's outputs.

    Args:
        output: name of the output.
        class_axis: axis of the classes in `[n, ...]`, as given; -1 is the last.
        kind: `values` where the output holds no class scores.
    """

    output: str
    class_axis: int
    kind: OutputKind


def normal_axis(class_axis: int, ndim: int) -> int | None:
    """The axis counted from the front; None where it does not exist or is the batch axis."""
    axis = class_axis + ndim if class_axis < 0 else class_axis
    return axis if 0 < axis < ndim else None


def output_kind(dense_output: AnyArray, class_axis: int) -> Literal["probabilities", "logits"]:
    """Probabilities where all lie in [0, 1] and sum to 1 over at least two classes, else logits.

    The dense model is asked, once: a pruned one may happen to look otherwise. No samples count as logits.

    Raises:
        MetricError: the class axis does not exist in this output.
    """
    axis = normal_axis(class_axis, dense_output.ndim)
    if axis is None:
        raise MetricError(
            f"class axis {class_axis} is not a class axis of an output with {dense_output.ndim} dimensions, "
            "the first of which is the batch; choose another --class-axis"
        )
    values = dense_output.astype(np.float64)
    if values.size == 0 or values.shape[axis] < 2:
        return "logits"
    in_range = bool(np.all((values >= -RANGE_TOLERANCE) & (values <= 1.0 + RANGE_TOLERANCE)))
    if in_range and bool(np.all(np.abs(values.sum(axis=axis) - 1.0) <= SUM_TOLERANCE)):
        return "probabilities"
    return "logits"


def fits_labels(output: AnyArray, labels: AnyArray, class_axis: int) -> bool:
    """True where `labels` are class indices for `output`: integers in [0, C), shaped as it without the class axis."""
    axis = normal_axis(class_axis, output.ndim)
    if axis is None or labels.dtype.kind not in "iu":
        return False
    if labels.shape != output.shape[:axis] + output.shape[axis + 1 :]:
        return False
    return bool(np.all((labels >= 0) & (labels < output.shape[axis])))
