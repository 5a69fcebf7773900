"""What a scan knows: points, and the curves they make. Arithmetic on records; no engine, no store."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.engine.questions import Measurement
from onnxsens.scan.searches import DENSE_POINT, Acceptance, Level, Observed


@dataclass(frozen=True)
class Point:
    """One weight at one level, by every metric.

    Attributes:
        asked: the level that was asked for.
        zeros: elements that are zero at that level; identifies the point.
        size: elements of the weight.
        measurements: by metric; a metric is either here or in `failures`.
    """

    weight: str
    technique: str
    asked: Level
    zeros: int
    size: int
    measurements: Mapping[str, Measurement]
    failures: Mapping[str, str]

    @property
    def sparsity(self) -> float:
        """Achieved."""
        return self.zeros / self.size

    def observed(self, metric: str) -> Observed:
        """As a search sees it."""
        measured = self.measurements.get(metric)
        return Observed(self.sparsity, math.nan if measured is None else measured.drop)


@dataclass(frozen=True)
class Curve:
    """Drop of one metric over the sparsity of one weight; the dense weight, drop 0, is always part of it."""

    weight: str
    size: int
    points: tuple[Observed, ...]

    @cached_property
    def known(self) -> tuple[Observed, ...]:
        """Points that could be measured, by sparsity, the dense one first."""
        measured = {point.level: point for point in self.points if not math.isnan(point.drop)}
        if not measured or min(measured) > 0:
            measured[0.0] = DENSE_POINT
        return tuple(measured[level] for level in sorted(measured))

    @cached_property
    def _table(self) -> tuple[Float64Array, Float64Array]:
        return np.array([point.level for point in self.known]), np.array([point.drop for point in self.known])

    def drop_at(self, level: Level) -> float:
        """Linear between points, the outermost drop beyond them."""
        return float(np.interp(level, *self._table))

    def bracket(self, accepts: Acceptance) -> tuple[Observed, Observed | None]:
        """The highest accepted point, and the next one above it; None where it is the highest of all."""
        below = max((point for point in self.known if accepts(point)), key=lambda point: point.level)
        return below, next((point for point in self.known if point.level > below.level), None)

    def crossing(self, accepts: Acceptance, limit: float) -> Level:
        """Where the curve passes `limit`: from the highest accepted point, a share of the way to the next one.

        The share is linear in the drop; a guess between two measurements, to be measured before it is believed.
        """
        below, above = self.bracket(accepts)
        if above is None:
            return below.level
        share = (max(limit, 0.0) - below.drop) / (above.drop - below.drop) if above.drop > below.drop else 0.0
        return below.level + min(max(share, 0.0), 1.0) * (above.level - below.level)
