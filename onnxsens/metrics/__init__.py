"""Metrics: what a model's quality is measured by. Knows nothing of ONNX, sessions or splits.

A metric is made from a spec: a name of `metrics`, `topK` with a number for K, or `FILE.py:FUNCTION`.
To add one: a file with a frozen dataclass, a line in the table below, a test of a value worked out by hand; the laws
that every metric keeps are `onnxsens.metrics.contract.MetricContract`.
"""

import re
from collections.abc import Callable
from typing import cast

from onnxsens.errors import MetricError
from onnxsens.metrics.batch import Batch
from onnxsens.metrics.choosing import Outlook, look_at
from onnxsens.metrics.declared import Declared, Declaring, declared
from onnxsens.metrics.metric import Metric, PerSampleMetric, WholeSetMetric, check, drop
from onnxsens.metrics.reading import OutputKind, Reading, fits_labels, output_kind
from onnxsens.plugins import Registry

__all__ = [
    "Batch",
    "Declared",
    "Declaring",
    "Metric",
    "Outlook",
    "OutputKind",
    "PerSampleMetric",
    "Reading",
    "WholeSetMetric",
    "check",
    "declared",
    "drop",
    "fits_labels",
    "look_at",
    "make_metric",
    "metrics",
    "output_kind",
]

# A plug-in is whatever returns a metric when called without arguments: most often its class.
metrics: Registry[Callable[[], Metric]] = Registry(
    kind="metrics",
    noun="metric",
    table={
        "accuracy": "onnxsens.metrics.accuracy:Accuracy",
        "agreement": "onnxsens.metrics.agreement:Agreement",
        "cosine": "onnxsens.metrics.cosine:Cosine",
        "cross-entropy": "onnxsens.metrics.cross_entropy:CrossEntropy",
        "dense-mse": "onnxsens.metrics.distance:DenseMeanSquaredError",
        "f1": "onnxsens.metrics.f1:MacroF1",
        "kl": "onnxsens.metrics.kl:KLDivergence",
        "mae": "onnxsens.metrics.distance:MeanAbsoluteError",
        "mse": "onnxsens.metrics.distance:MeanSquaredError",
        "sqnr": "onnxsens.metrics.sqnr:SignalToNoise",
        "topK": "onnxsens.metrics.top_k:any_top_k",
    },
)

TOP_K = re.compile(r"top(0|[1-9][0-9]{0,8})")


def make_metric(spec: str) -> Metric:
    """The metric that `spec` names; one from a file is not resolved yet, see `Metric.resolve`.

    Raises:
        UsageError: no metric has this name.
        MetricError: the file, the function, or an installed plug-in cannot be used.
    """
    if ":" in spec or spec.endswith(".py"):
        from onnxsens.metrics.user import read_user_metric

        return read_user_metric(spec)
    if found := TOP_K.fullmatch(spec):
        from onnxsens.metrics.top_k import TopK

        return TopK(int(found[1]))
    made = cast(object, metrics.get(spec)())  # what is installed may return anything
    if not isinstance(made, Metric):
        raise MetricError(f"metric '{spec}' is installed but makes a {type(made).__name__}; it must make a Metric")
    return made
