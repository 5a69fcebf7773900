"""What a scan knows: points, and the curves they make. Arithmetic on records; no engine, no store."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import Float64Array
from onnxsens.engine.questions import Measurement
from onnxsens.scan.prediction import PredictedCurve, ScaledCurve
from onnxsens.scan.searches import DENSE_POINT, Acceptance, Level, Observed

HALVINGS = 50
GRID = np.linspace(0.0, 1.0, 81)  # levels at which a predicted curve is told


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
class Joint:
    """A whole plan, measured as a whole.

    Attributes:
        levels: by weight; those at level 0 are left out of the run.
        sparsity: zeros over all elements of all prunable weights.
    """

    levels: Mapping[str, Level]
    sparsity: float
    measurements: Mapping[str, Measurement]
    failures: Mapping[str, str]


@dataclass(frozen=True)
class Curve:
    """Drop of one metric over the sparsity of one weight; the dense weight, drop 0, is always part of it.

    Attributes:
        points: what was measured.
        shape: the predicted error of the weight's own output, if there is one. Between and beyond measured points the
            drop follows it, scaled so that it goes through them; measured points are never changed.
    """

    weight: str
    size: int
    points: tuple[Observed, ...]
    shape: PredictedCurve | None = None

    @cached_property
    def known(self) -> tuple[Observed, ...]:
        """Points that could be measured, by sparsity, the dense one first."""
        measured = {point.level: point for point in self.points if not math.isnan(point.drop)}
        if not measured or min(measured) > 0:
            measured[0.0] = DENSE_POINT
        return tuple(measured[level] for level in sorted(measured))

    @cached_property
    def _table(self) -> tuple[Float64Array, Float64Array]:
        """Levels and drops, by level."""
        known = arrays_of(self.known)
        if self._scaled is None:
            return known
        # Zeros that the weight has already cost nothing.
        start = max(point.level for point in self.known if point.drop == 0 and point.level <= self.points[0].level)
        levels = np.union1d(known[0], GRID[start < GRID])
        drops = np.array([self._scaled.drop_at(level) for level in levels.tolist()])
        drops[np.isin(levels, known[0])] = known[1]
        return levels, drops

    @cached_property
    def _scaled(self) -> ScaledCurve | None:
        return self.shape.scaled([(point.level, point.drop) for point in self.known]) if self.shape else None

    @property
    def predicts(self) -> bool:
        """Whether it says something of levels that were not measured: a shape, and a measured point to scale it by."""
        return self._scaled is not None

    def drop_at(self, level: Level) -> float:
        """Linear between points, measured or predicted; the outermost drop beyond them."""
        return float(np.interp(level, *self._table))

    def bracket(self, accepts: Acceptance) -> tuple[Observed, Observed | None]:
        """The highest accepted point, and the next one above it; None where it is the highest of all."""
        below = max((point for point in self.known if accepts(point)), key=lambda point: point.level)
        return below, next((point for point in self.known if point.level > below.level), None)

    def crossing(self, accepts: Acceptance) -> Level:
        """The highest level that would be accepted, above the highest point that was and below the next one measured.

        A guess, to be measured before it is believed: linear in the drop between two measurements, or along the
        predicted curve.
        """
        below, above = self.bracket(accepts)
        levels, drops = self._table
        inside = (levels > below.level) & (levels <= (above.level if above else np.inf))
        last = below
        for level, drop in zip(levels[inside].tolist(), drops[inside].tolist(), strict=True):
            if not accepts(Observed(level, drop)):
                share = share_accepted(last.drop, drop, accepts)
                return float(last.level + share * (level - last.level))
            last = Observed(level, drop)
        return last.level


def arrays_of(points: Iterable[Observed]) -> tuple[Float64Array, Float64Array]:
    """`[points]` each: levels, drops."""
    pairs = [(point.level, point.drop) for point in points]
    return np.array([level for level, _ in pairs]), np.array([drop for _, drop in pairs])


def share_accepted(low: float, high: float, accepts: Acceptance) -> float:
    """How far one may go from an accepted drop towards one that is not, in [0, 1]."""
    accepted, rejected = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (accepted + rejected) / 2
        if accepts(Observed(0.0, low + middle * (high - low))):
            accepted = middle
        else:
            rejected = middle
    return accepted
