"""The family behind both searches: every weight may lose so much alone, and the tolerance grows.

A weight's tolerance is in proportion to its size: what counts is zeros, so each zero may cost the same wherever it is.
On `fashion_cnn`, at equal predicted loss, that is 52 % zeros where one tolerance for all weights gives 44 %.

A single-layer tolerance is not a joint one: levels that each cost nothing alone can cost dearly together. So the
family begins at the dense model, passes through what costs nothing alone, and goes on to ever larger tolerances.
"""

from collections.abc import Mapping
from statistics import fmean, median
from typing import ClassVar

from onnxsens.model import Weight
from onnxsens.plan.pickers.picker import Family, Ground, scaled
from onnxsens.scan import Curve
from onnxsens.scan.searches import Level, Pick, Search, tolerance
from onnxsens.scan.searches.sweet_spotter import sparsity_at

OCTAVES = 16  # below and above the unit
PROBE_LEVEL = sparsity_at(10 ** (2 / 5))  # 60 %, a level that Sweet-Spotter measures anyway
SMALLEST_UNIT = 1e-9
GUESSABLE = 0.1  # width in sparsity of a bracket in which a curve is taken to be straight


class ToleranceFamily(Family):
    """One search on every weight, the same tolerance per element.

    Boldness in [0, 1] scales the plan of tolerance 0 up from the dense model; above 1 it is the tolerance, one
    octave a unit, so that the unit, of the drop that a weight of mean size may cost, is reached at `1 + OCTAVES`.

    Args:
        coarse: finds the bracket of a tolerance with few measurements; between its ends the curve is a guess.
        fine: the search itself.
    """

    kind: ClassVar[str] = "tolerance"

    def __init__(self, ground: Ground, coarse: Search, fine: Search) -> None:
        self._ground = ground
        self._coarse = coarse
        self._fine = fine
        self._shares = size_shares(ground)
        self._unit = tolerance_unit(ground, self._shares)
        self.highest = 1.0 + 2 * OCTAVES
        self.start = 1.0 + OCTAVES - 3
        self.stride = 1.0
        self.precision = 1 / 8

    def limit(self, weight: Weight, boldness: float) -> float:
        """The tolerance of a weight on the search metric, 0 up to boldness 1."""
        return self._unit * self._shares[weight.name] * 2 ** (boldness - 1 - OCTAVES) if boldness > 1 else 0.0

    def propose(self, boldness: float) -> dict[str, Level]:
        """Levels where the curves, measured around there, pass the tolerance."""
        levels = {}
        for weight in self._ground.weights:
            limit = self.limit(weight, boldness)
            levels[weight.name] = self._curve_around(weight, limit).crossing(tolerance(limit), limit)
        return scaled(levels, boldness)

    def _curve_around(self, weight: Weight, limit: float) -> Curve:
        """A curve that is known around the limit; another search may have been there before."""
        scanner, metric = self._ground.scanner, self._ground.metric
        below, above = scanner.curve(weight, metric).bracket(tolerance(limit))
        if above is None or above.level - below.level > GUESSABLE:
            scanner.search(weight, self._coarse, tolerance(limit), metric)
        return scanner.curve(weight, metric)

    def settle(self, boldness: float) -> dict[str, Level]:
        """What the search itself picks."""
        return scaled({name: pick.level for name, pick in self.picks(boldness).items()}, boldness)

    def picks(self, boldness: float) -> Mapping[str, Pick]:
        """The search's own picks at this tolerance, with reasons."""
        ground = self._ground
        return {
            weight.name: ground.scanner.search(
                weight, self._fine, tolerance(self.limit(weight, boldness)), ground.metric
            )
            for weight in ground.weights
        }


def size_shares(ground: Ground) -> dict[str, float]:
    """Each weight's elements over the mean of all."""
    mean = fmean(weight.size for weight in ground.weights)
    return {weight.name: weight.size / mean for weight in ground.weights}


def tolerance_unit(ground: Ground, shares: Mapping[str, float]) -> float:
    """A drop of the right order: the median, of what 60 % costs a weight for its share, where it costs anything."""
    drops = [
        ground.scanner.point(weight, PROBE_LEVEL).observed(ground.metric).drop / shares[weight.name]
        for weight in ground.weights
    ]
    return max(median([drop for drop in drops if drop > 0] or [0.0]), SMALLEST_UNIT)
