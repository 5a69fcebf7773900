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
from onnxsens.scan.searches import PROBE_LEVEL, Level, Pick, Search, tolerance

OCTAVES = 16  # below and above the unit
SMALLEST_UNIT = 1e-9
GUESSABLE = 0.1  # width in sparsity of a bracket in which a curve is taken to be straight


class ToleranceFamily(Family):
    """One search on every weight, the same tolerance per element.

    Boldness in [0, 1] scales the plan of tolerance 0 up from the dense model; above 1 it is the tolerance, one
    octave a unit, so that the unit, of the drop that a weight of mean size may cost, is reached at `1 + OCTAVES`.

    Args:
        coarse: finds the bracket of a tolerance with few measurements; between its ends the curve is a guess.
        fine: the search itself.
        shares: of the tolerance, by weight, of mean 1; in proportion to size, if none are given.
    """

    kind: ClassVar[str] = "tolerance"

    def __init__(self, ground: Ground, coarse: Search, fine: Search, shares: Mapping[str, float] | None = None) -> None:
        self._ground = ground
        self._coarse = coarse
        self._fine = fine
        self._shares = size_shares(ground) if shares is None else shares
        self._unit = tolerance_unit(ground, self._shares)
        self.highest = 1.0 + 2 * OCTAVES
        self.start = 1.0 + OCTAVES - 3
        self.stride = 1.0
        self.precision = 1 / 8

    def limit(self, weight: Weight, boldness: float) -> float:
        """The tolerance of a weight on the search metric, 0 up to boldness 1."""
        return self._unit * self._shares[weight.name] * 2 ** (boldness - 1 - OCTAVES) if boldness > 1 else 0.0

    def propose(self, boldness: float) -> dict[str, Level]:
        """Levels where the curves, predicted or measured around there, pass the tolerance."""
        limits = {weight.name: self.limit(weight, boldness) for weight in self._ground.weights}
        self._look_around(limits)
        levels = {
            weight.name: self._curve(weight).crossing(tolerance(limits[weight.name])) for weight in self._ground.weights
        }
        return scaled(levels, boldness)

    def _curve(self, weight: Weight) -> Curve:
        return self._ground.scanner.curve(weight, self._ground.metric)

    def _look_around(self, limits: Mapping[str, float]) -> None:
        """Measure where nothing is known around a limit: no prediction, and no other search has been there before."""
        unknown = []
        for weight in self._ground.weights:
            curve = self._curve(weight)
            below, above = curve.bracket(tolerance(limits[weight.name]))
            if not curve.predicts and (above is None or above.level - below.level > GUESSABLE):
                unknown.append(weight.name)
        self._search(dict.fromkeys(unknown, self._coarse), limits)

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level]:
        """What the search itself picks; with few samples, what its coarse form makes of the curves."""
        if most is None:
            return scaled({name: pick.level for name, pick in self.picks(boldness).items()}, boldness)
        limits = {weight.name: self.limit(weight, boldness) for weight in self._ground.weights}
        self._search(self._starting(self._coarse, limits), limits, most)
        return self.propose(boldness)

    def picks(self, boldness: float) -> Mapping[str, Pick]:
        """The search's own picks at this tolerance, with reasons; it begins where a prediction puts the answer."""
        limits = {weight.name: self.limit(weight, boldness) for weight in self._ground.weights}
        return self._search(self._starting(self._fine, limits), limits)

    def _starting(self, search: Search, limits: Mapping[str, float]) -> dict[str, Search]:
        """For each weight, the search from where its curve passes the limit, if that is predicted."""
        curves = {weight.name: self._curve(weight) for weight in self._ground.weights}
        return {
            name: search.starting_at(curve.crossing(tolerance(limits[name]))) if curve.predicts else search
            for name, curve in curves.items()
        }

    def _search(
        self, searches: Mapping[str, Search], limits: Mapping[str, float], most: int | None = None
    ) -> dict[str, Pick]:
        accepts = {name: tolerance(limits[name]) for name in searches}
        return self._ground.scanner.search_all(searches, accepts, self._ground.metric, most)


def size_shares(ground: Ground) -> dict[str, float]:
    """What there is to save in each weight over the mean of all: its elements, where zeros are counted."""
    mean = fmean(weight.size * ground.price(weight) for weight in ground.weights)
    return {weight.name: weight.size * ground.price(weight) / mean for weight in ground.weights}


def tolerance_unit(ground: Ground, shares: Mapping[str, float]) -> float:
    """A drop of the right order: the median, of what 60 % costs a weight for its share, where it costs anything."""
    probed = probe(ground)
    drops = [probed[weight.name] / shares[weight.name] for weight in ground.weights]
    return max(median([drop for drop in drops if drop > 0] or [0.0]), SMALLEST_UNIT)


def probe(ground: Ground) -> dict[str, float]:
    """The drop of each weight alone at one level, known well enough to scale a predicted curve; NaN where it fails."""
    scanner = ground.scanner
    asked = {weight.name: (PROBE_LEVEL,) for weight in ground.weights}
    points = scanner.points_at(asked, scanner.sampling.settles_scale(ground.metric))
    return {name: found.observed(ground.metric).drop for name, (found,) in points.items()}
