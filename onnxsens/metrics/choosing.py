"""Which output to read, how to read it, and which metric to take where nobody said; each with the reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import MetricError, UsageError
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
    readable = {name: values for name, values in outputs.items() if values.dtype.kind == "f"} or dict(outputs)
    axes = [class_axis] if class_axis is not None else [-1, 1]
    candidates = [
        Candidate(name, axis, values, fits=labels is not None and fits_labels(values, labels, axis))
        for name, values in ({output: outputs[output]} if output else readable).items()
        for axis in axes
        if normal_axis(axis, values.ndim)
    ]
    best = max(candidates, key=lambda candidate: candidate.rank(labels), default=None)
    if best is None and class_axis is not None:
        shapes = ", ".join(f"'{name}' {list(values.shape)}" for name, values in readable.items())
        raise MetricError(f"class axis {class_axis} does not exist in {shapes}, the first axis of which is the batch")
    if best is None:
        # Without any axis that could hold classes; a metric that needs one will say so.
        name = output or next(iter(readable))
        return Outlook(Reading(name, axes[0], "values"), "sqnr", "dense-mse", f"'{name}' has one value a sample")
    among = f", the likeliest of {len(outputs)} outputs," if output is None and len(outputs) > 1 else ""
    wanted = class_axis is not None or any(metric.class_output for metric in asked)
    kind: OutputKind = "values"
    if best.fits or wanted or best.probable or best.named:
        kind = output_kind(best.values, best.axis)
    reading = Reading(best.name, best.axis, kind)
    if best.fits:
        why = f"the labels are integers and '{best.name}'{among} has {best.classes} classes"
        return Outlook(reading, "accuracy", "kl", why)
    without = "there are no labels" if labels is None else f"the labels, {labels.dtype} {list(labels.shape)},"
    without += "" if labels is None else f" are no class indices of '{best.name}'"
    if kind != "values":
        why = f"{without}, and '{best.name}'{among} looks like {kind} of {best.classes} classes"
        return Outlook(reading, "kl", "kl", why)
    return Outlook(reading, "sqnr", "dense-mse", f"{without}, and '{best.name}'{among} holds values, not classes")


@dataclass(frozen=True)
class Candidate:
    """An output, and an axis of it that may hold classes."""

    name: str
    axis: int
    values: AnyArray
    fits: bool

    @property
    def classes(self) -> int:
        """Length of the axis."""
        return int(self.values.shape[self.axis])

    @property
    def probable(self) -> bool:
        """Whether the values are probabilities over the axis."""
        return self.classes >= 2 and output_kind(self.values, self.axis) == "probabilities"

    @property
    def named(self) -> bool:
        """Whether its name says class scores, and its shape agrees."""
        one_a_sample = self.values.ndim == 2 and self.classes >= 2
        return one_a_sample and any(part in self.name.lower() for part in CLASS_NAMES)

    def rank(self, labels: AnyArray | None) -> tuple[bool, bool, float]:
        """Labels that fit, as classes or as values of the same shape, count most; then a shape or name of classes.

        Then how often the labels are hit. Of equals the earlier output is taken, and its last axis.
        """
        hits = 0.0
        if self.fits and labels is not None:
            hits = float(np.mean(self.values.argmax(axis=self.axis) == labels))
        equal = labels is not None and labels.dtype.kind == "f" and labels.shape == self.values.shape
        return self.fits or equal, self.probable or self.named, hits
