"""From the errors of a weight's own output to drops of a metric: arithmetic on a few measured points and a curve.

What comes out says where to measure, and is never reported as measured. Along a weight's curve the drop grows as a
power of the error. On the four shipped models, by KL, from one point at 60 %, 70 to 81 % of the other points from 20
to 90 % are within a factor of 2 of what is measured; with a power of 1, 45 to 62 %. A second point at 80 % makes it
81 to 92 % (`benchmarks/predicted_curves.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from onnxsens.arrays import Float64Array

POWER = 4 / 3
SMALLEST = 1e-30  # errors and drops; below, there is nothing to scale by
HALVINGS = 40  # of the interval that a level is looked for in


@dataclass(frozen=True)
class PredictedCurve:
    """The relative error of a weight's own output over its sparsity; 0 where it is dense, 1 where nothing is left.

    Attributes:
        size: elements of the weight.
        zeros: elements that are zero at each level, ascending.
        errors: at those, as they were worked out; they need not be monotone.
    """

    weight: str
    size: int
    zeros: tuple[int, ...]
    errors: tuple[float, ...]

    @cached_property
    def _table(self) -> tuple[Float64Array, Float64Array]:
        """Sparsities, and cube roots of errors made monotone.

        Small weights go first, so that errors begin with the third power of the sparsity: their roots are nearly
        straight.
        """
        known = {0: 0.0, self.size: 1.0} | dict(zip(self.zeros, self.errors, strict=True))
        zeros = sorted(known)
        errors = np.maximum.accumulate([known[number] for number in zeros])
        return np.array(zeros) / self.size, np.cbrt(errors)

    def error_at(self, level: float) -> float:
        """Never falls as the level rises."""
        return float(np.interp(level, *self._table)) ** 3

    def scaled(self, measured: Sequence[tuple[float, float]], power: float = POWER) -> "ScaledCurve | None":
        """The curve of drops through measured points.

        Args:
            measured: level and drop; a drop that is no loss says nothing.
            power: of the error, that drops are in proportion to outside the points.
        Returns:
            None where nothing says how large drops are.
        """
        points = [(self.error_at(level), drop) for level, drop in sorted(measured)]
        known: dict[float, float] = {}
        for error, drop in points:
            if error > SMALLEST and drop > SMALLEST:
                known[error] = max(drop, *known.values()) if known else drop
        return ScaledCurve(self, tuple(known.items()), power) if known else None


@dataclass(frozen=True)
class ScaledCurve:
    """Predicted drops of one weight: a straight line from point to point over the logarithms of error and drop.

    Attributes:
        points: error and drop, both ascending and above 0.
    """

    curve: PredictedCurve
    points: tuple[tuple[float, float], ...]
    power: float

    def drop_at(self, level: float) -> float:
        """At least 0; never falls as the level rises."""
        error = self.curve.error_at(level)
        if error <= SMALLEST:
            return 0.0
        first, last = self.points[0], self.points[-1]
        for (low, start), (high, end) in pairwise(self.points):
            if low < error <= high:
                share = (math.log(error) - math.log(low)) / (math.log(high) - math.log(low))
                return math.exp((1 - share) * math.log(start) + share * math.log(end))
        anchor, drop = first if error <= first[0] else last
        return float(drop * (error / anchor) ** self.power)

    def level_at(self, drop: float) -> float:
        """The highest level whose drop is not above this one, to a rounding error."""
        low, high = 0.0, 1.0
        if self.drop_at(high) <= drop:
            return high
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.drop_at(middle) <= drop else (low, middle)
        return low
