"""Which output to read, how to read it, and which metric to take where nobody said; each with the reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxsens.arrays import AnyArray
from onnxsens.errors import UsageError
from onnxsens.metrics.metric import Metric
from onnxsens.metrics.reading import OutputKind, Reading, fits_labels, normal_axis, output_kind
from onnxsens.plugins import unknown

# What exporters call an output of class scores that are not probabilities.
CLASS_NAMES = ("logit", "prob", "class", "score", "softmax", "label")


@dataclass(frozen=True)
class Outlook:
    """How outputs are read, and what is measured by default.

    Attributes:
        metric: the default metric.
        search_metric: the default one for tolerances: smooth, and without labels.
        why: the reason for `metric`.
    """

    reading: Reading
    metric: str
    search_metric: str
    why: str


def look_at(
    outputs: Mapping[str, AnyArray],
    labels: AnyArray | None,
    asked: Iterable[Metric],
    output: str | None = None,
    class_axis: int | None = None,
) -> Outlook:
    """Decide from a batch of dense outputs `[n, ...]`, in the model's order, and its labels.

    Args:
        asked: metrics that the user named; one that needs classes makes the output one of classes.
        output, class_axis: what the user said, if anything.

    Raises:
        UsageError: there is no such output.
        MetricError: the class axis does not exist.
    """
    if output is not None and output not in outputs:
        raise UsageError(unknown("output", output, list(outputs)))
    name = output or next(iter(outputs))
    values = outputs[name]
    axes = [class_axis] if class_axis is not None else [-1, 1]
    fitting = [
        axis
        for axis in axes
        if labels is not None and normal_axis(axis, values.ndim) and fits_labels(values, labels, axis)
    ]
    axis = fitting[0] if fitting else axes[0]
    classes = values.shape[axis] if normal_axis(axis, values.ndim) else 0
    wanted = class_axis is not None or any(metric.class_output for metric in asked)
    probable = classes >= 2 and values.dtype.kind == "f" and output_kind(values, axis) == "probabilities"
    named = values.ndim == 2 and classes >= 2 and any(part in name.lower() for part in CLASS_NAMES)
    kind: OutputKind = "values"
    if fitting or wanted or probable or named:
        kind = output_kind(values, axis)
    reading = Reading(name, axis, kind)
    if fitting:
        return Outlook(reading, "accuracy", "kl", f"the labels are integers and '{name}' has {classes} classes")
    without = "there are no labels" if labels is None else f"the labels are no classes of '{name}'"
    if kind != "values":
        return Outlook(reading, "kl", "kl", f"{without}, and '{name}' looks like {kind} of {classes} classes")
    return Outlook(reading, "sqnr", "dense-mse", f"{without}, and '{name}' holds values, not classes")
