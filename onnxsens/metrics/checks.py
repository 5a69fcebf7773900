"""What can be wrong between a metric and a batch, one check a function. Knows no metric but by its name.

Every function raises MetricError with one line, or returns None.
"""

from onnxsens.errors import MetricError
from onnxsens.metrics.batch import Batch
from onnxsens.metrics.reading import normal_axis


def has_labels(metric: str, batch: Batch) -> None:
    """There are labels, one a sample."""
    if batch.labels is None:
        raise MetricError(
            f"metric '{metric}' needs labels, and the data has none; use kl, agreement or another label-free metric"
        )
    if batch.labels.ndim == 0 or len(batch.labels) != len(batch):
        raise MetricError(
            f"metric '{metric}' was given labels of shape {list(batch.labels.shape)} for {len(batch)} samples; "
            "give one label, or one row of labels, for every sample"
        )


def output_is_readable(metric: str, batch: Batch) -> None:
    """The output exists in both models as numbers `[n, ...]` of one shape; a quantized model gives integers."""
    name = batch.reading.output
    for outputs in (batch.pruned, batch.dense):
        if name not in outputs:
            raise MetricError(f"metric '{metric}' reads output '{name}', and there are only: {', '.join(outputs)}")
        found = outputs[name]
        if found.dtype.kind not in "fiub" or found.ndim == 0:
            raise MetricError(
                f"metric '{metric}' needs numbers with the samples first, and output '{name}' is "
                f"{found.dtype} {list(found.shape)}; choose another --output"
            )
        if 0 in found.shape[1:]:
            raise MetricError(
                f"metric '{metric}' has nothing to read: output '{name}' {list(found.shape)} holds no values; "
                "choose another --output"
            )
    pruned, dense = batch.pruned[name].shape, batch.dense[name].shape
    if pruned != dense:
        raise MetricError(
            f"metric '{metric}' compares sample by sample, and output '{name}' is {list(pruned)} from the pruned model "
            f"and {list(dense)} from the dense one; choose another --output"
        )


def output_has_classes(metric: str, batch: Batch) -> None:
    """The reading says class scores, and their axis holds at least two. The output is readable."""
    reading = batch.reading
    shape = list(batch.pruned[reading.output].shape)
    if reading.kind == "values":
        raise MetricError(
            f"metric '{metric}' needs class scores, and output '{reading.output}' is read as plain values; "
            "use dense-mse, cosine or sqnr, or choose another --output"
        )
    axis = normal_axis(reading.class_axis, len(shape))
    if axis is None:
        raise MetricError(
            f"class axis {reading.class_axis} is not a class axis of output '{reading.output}' {shape}, "
            "whose first axis is the batch; choose another --class-axis"
        )
    if shape[axis] < 2:
        raise MetricError(
            f"metric '{metric}' needs at least 2 classes, and axis {reading.class_axis} of output "
            f"'{reading.output}' {shape} has {shape[axis]}; choose another --class-axis, or use mse or dense-mse"
        )


def labels_are_classes(metric: str, batch: Batch) -> None:
    """Integer labels in [0, C), shaped as the output without its class axis. The output has classes."""
    reading, labels = batch.reading, batch.targets
    if labels.dtype.kind not in "iu":
        raise MetricError(
            f"metric '{metric}' needs integer class labels, and these are {labels.dtype}; convert them to int64"
        )
    shape = list(batch.pruned[reading.output].shape)
    classes = shape.pop(normal_axis(reading.class_axis, len(shape)) or 0)
    if list(labels.shape) != shape:
        raise MetricError(
            f"metric '{metric}' needs labels of shape {shape} for output '{reading.output}', "
            f"and these are {list(labels.shape)}; reshape the labels, or choose another --class-axis"
        )
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise MetricError(
            f"label {outside[0]} is outside the {classes} classes of output '{reading.output}'; "
            "number the classes from 0, or choose another --output"
        )


def labels_are_values(metric: str, batch: Batch) -> None:
    """Numeric labels of the output's own shape. The output is readable."""
    labels, expected = batch.targets, batch.pruned[batch.reading.output].shape
    if labels.dtype.kind not in "iuf":
        raise MetricError(
            f"metric '{metric}' needs numeric labels, and these are {labels.dtype}; convert them to float32"
        )
    if labels.shape != expected:
        raise MetricError(
            f"metric '{metric}' needs labels of shape {list(expected)}, that of output '{batch.reading.output}', "
            f"and these are {list(labels.shape)}; reshape the labels, or choose another --output"
        )
