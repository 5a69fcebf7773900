"""What curves offer to planners that sum losses up: levels of each weight, and plans of a total made of them.

Knapsack, greedy and Lagrangian stand on the same offers and differ in the rule that chooses from them alone.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import isotonic_regression

from onnxsens.model import Weight
from onnxsens.plan.pickers.multiple_choice import Allocation, Choices
from onnxsens.plan.pickers.picker import Ground, TargetFamily
from onnxsens.plan.pickers.tolerances import probe
from onnxsens.scan import Curve, SweetSpotter
from onnxsens.scan.searches import Level

# Between measured levels too: what a plan holds is measured as a whole anyway.
GRID = (*(round(0.05 * step, 2) for step in range(1, 20)), 0.97, 0.98, 0.99, 1.0)
FEWEST = 5  # points of a curve, the dense one included, below which it is a guess
HALVINGS = 40

Rule = Callable[[Sequence[Choices], int], Allocation]


class AdditiveFamily(TargetFamily):
    """Plans of little predicted loss, by curves that were measured, or predicted and scaled by a measured point.

    Args:
        rule: what picks one choice of every weight for so many zeros in all.
    """

    def __init__(self, ground: Ground, rule: Rule) -> None:
        super().__init__(self._allocated)
        self._ground = ground
        self._rule = rule
        if any(not ground.scanner.curve(weight, ground.metric).predicts for weight in ground.weights):
            probe(ground)  # scales the shapes that there are
        self._read_curves()

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level]:
        """The plan by curves that were measured where it puts each weight."""
        ground = self._ground
        asked = {name: (level,) for name, level in self.propose(boldness).items() if level > 0}
        ground.scanner.points_at(asked, ground.scanner.sampling.settles_scale(ground.metric, most))
        self._read_curves()
        return self.propose(boldness)

    def _read_curves(self) -> None:
        curves = [curve_of(self._ground, weight) for weight in self._ground.weights]
        pairs = zip(self._ground.weights, curves, strict=True)
        self._offers = [priced(self._ground, weight, offer(self._ground, weight, curve)) for weight, curve in pairs]
        self._known: dict[int, tuple[Level, ...]] = {}

    def _allocated(self, target: float) -> dict[str, Level]:
        weights = self._ground.weights
        wanted = round(target * sum(weight.size * self._ground.price(weight) for weight in weights))
        if wanted not in self._known:
            found = self._rule([choices for _, choices in self._offers], wanted)
            self.gap = max(self.gap or 0.0, found.gap)
            chosen = [levels[pick] for (levels, _), pick in zip(self._offers, found.picks, strict=True)]
            self._known[wanted] = trimmed(self._ground, chosen, wanted)
        return {weight.name: level for weight, level in zip(weights, self._known[wanted], strict=True)}


def curve_of(ground: Ground, weight: Weight) -> Curve:
    """What is known of a weight's losses over all levels; measured where too little is, and nothing predicted."""
    curve = ground.scanner.curve(weight, ground.metric)
    if len(curve.known) < FEWEST and not curve.predicts:
        ground.scanner.search(weight, SweetSpotter(resolution=1.0), None, ground.metric)
        curve = ground.scanner.curve(weight, ground.metric)
    return curve


def offer(ground: Ground, weight: Weight, curve: Curve) -> tuple[tuple[Level, ...], Choices]:
    """Levels of one weight, and what each is: measured ones and those of the grid, none beyond what was measured.

    Losses never fall and are never below 0: the measured drops are made so by isotonic regression, all points with one
    weight, and between them by monotone cubics (Fritsch & Butland, SIAM J. Sci. Stat. Comput. 5, 1984): curves are
    convex where they begin, and straight lines would make the first levels too dear. The raw points stay in the curve.
    """
    if curve.predicts:
        return predicted_offer(ground, weight, curve)
    measured = [point.level for point in curve.known]
    drops = np.maximum(isotonic_regression([point.drop for point in curve.known]).x, 0.0)
    drops[0] = 0.0
    levels: dict[int, Level] = {weight.zeros: 0.0}
    for level in sorted({*GRID, *measured}):
        zeros = ground.scanner.zeros(weight, level)
        if zeros / weight.size <= measured[-1]:
            levels.setdefault(zeros, level)
    zeros_of_each = np.array(sorted(levels), dtype=np.int64)
    between = PchipInterpolator(measured, drops) if len(measured) > 1 else np.zeros_like
    losses = np.maximum.accumulate(between(zeros_of_each / weight.size))  # but for rounding they rise already
    return tuple(levels[int(zeros)] for zeros in zeros_of_each), Choices(zeros_of_each, losses)


def priced(
    ground: Ground, weight: Weight, offered: tuple[tuple[Level, ...], Choices]
) -> tuple[tuple[Level, ...], Choices]:
    """The same with what is counted in place of zeros."""
    levels, choices = offered
    return levels, Choices(choices.zeros * ground.price(weight), choices.losses)


def predicted_offer(ground: Ground, weight: Weight, curve: Curve) -> tuple[tuple[Level, ...], Choices]:
    """The same along a predicted curve, which goes all the way to 1."""
    levels: dict[int, Level] = {weight.zeros: 0.0}
    for level in sorted({*GRID, *(point.level for point in curve.known)}):
        levels.setdefault(ground.scanner.zeros(weight, level), level)
    zeros_of_each = np.array(sorted(levels), dtype=np.int64)
    drops = [curve.drop_at(zeros / weight.size) for zeros in zeros_of_each.tolist()]
    losses = np.maximum(isotonic_regression(drops).x, 0.0)
    losses[0] = 0.0
    return tuple(levels[zeros] for zeros in zeros_of_each.tolist()), Choices(zeros_of_each, losses)


def trimmed(ground: Ground, levels: Sequence[Level], wanted: int) -> tuple[Level, ...]:
    """The levels times the smallest share, up to 1, with which there are still as many zeros as wanted.

    A plan of steps has more zeros than it needs; without them it loses no more, and bolder targets are sparser plans.
    """

    def enough(share: float) -> bool:
        zeros = (
            ground.scanner.zeros(weight, level * share) * ground.price(weight)
            for weight, level in zip(ground.weights, levels, strict=True)
        )
        return sum(zeros) >= wanted

    low, high = 0.0, 1.0
    if enough(low):
        return (0.0,) * len(levels)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return tuple(level * high for level in levels)
