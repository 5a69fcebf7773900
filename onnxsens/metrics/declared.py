"""What a metric says of itself, for those who may not run it."""

from dataclasses import dataclass
from typing import Protocol

from onnxsens.metrics.metric import Metric, WholeSetMetric


class Declaring(Protocol):
    """A metric, or its word."""

    @property
    def unit(self) -> str:
        """Of its values."""

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""


@dataclass(frozen=True)
class Declared:
    """What a metric says of itself.

    Attributes:
        whole_set: whether its value is one of all samples together.
        source_digest: of the user's file that it comes from; empty for ours.
    """

    name: str
    unit: str
    higher_is_better: bool
    whole_set: bool
    source_digest: str


def declared(metric: Metric) -> Declared:
    """Its own word."""
    whole = isinstance(metric, WholeSetMetric)
    return Declared(metric.name, metric.unit, metric.higher_is_better, whole, metric.source_digest)
