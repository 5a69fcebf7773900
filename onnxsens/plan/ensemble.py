"""Every picker proposes; each proposal is measured as a whole; the best that is good enough is taken.

No single method is right for all models, data and metrics. Whatever single-layer curves predict, a plan counts only
by what it does when everything is pruned at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from onnxsens.plan.pickers import MEMBERS, Family, Ground, Levels, pickers, scaled, total_sparsity
from onnxsens.scan import Joint
from onnxsens.scan.searches import Observed
from onnxsens.scan.searches.sweet_spotter import knee

KNEE_TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Candidate:
    """One picker's plan, measured as a whole on the search split."""

    picker: str
    baseline: bool
    levels: Levels
    joint: Joint

    @property
    def sparsity(self) -> float:
        """Zeros over all elements of all prunable weights."""
        return self.joint.sparsity


Measure = Callable[[Levels], Joint]
Accepts = Callable[[Joint], bool]


class Ensemble:
    """All pickers on the same ground.

    Args:
        measure: runs a plan as a whole on the search split.
    """

    def __init__(self, ground: Ground, measure: Measure, members: Sequence[str] = MEMBERS) -> None:
        self._ground = ground
        self._measure = measure
        self._pickers = [pickers.get(name)() for name in members]
        self._families: dict[str, Family] = {}
        self._ended: dict[str, float] = {}

    def within(self, accepts: Accepts) -> list[Candidate]:
        """Each picker's boldest plan that is accepted, boldest first; a picker without one is left out."""
        candidates = []
        for picker in self._pickers:
            best = self._boldest(self._family(picker.name), accepts)
            if best is not None:
                candidates.append(Candidate(picker.name, picker.baseline, best.levels, best))
        return sorted(candidates, key=lambda candidate: -candidate.sparsity)

    def at(self, sparsity: float) -> list[Candidate]:
        """Each picker's plan with this sparsity, the least loss on the search metric first.

        A picker that cannot go so far is left out.
        """
        candidates = []
        for picker in self._pickers:
            levels = self._at(self._family(picker.name), sparsity)
            if self._reaches(levels, sparsity):
                joint = self._measure(levels)
                candidates.append(Candidate(picker.name, picker.baseline, joint.levels, joint))
        return sorted(candidates, key=self._loss)

    def knee(self) -> list[Candidate]:
        """Candidates at the sparsity where the joint front, the best plan at each size, has its knee."""
        front = [(target, candidates) for target in KNEE_TARGETS if (candidates := self.at(target))]
        losses = {1 / (1 - target): Observed(target, self._loss(candidates[0])) for target, candidates in front}
        losses[1.0] = Observed(0.0, 0.0)
        ratio = knee(losses)
        chosen = next((candidates for target, candidates in front if 1 / (1 - target) == ratio), front[0][1])
        return chosen

    def _family(self, name: str) -> Family:
        if name not in self._families:
            self._families[name] = pickers.get(name)().family(self._ground)
        return self._families[name]

    def _loss(self, candidate: Candidate) -> float:
        measured = candidate.joint.measurements.get(self._ground.metric)
        return measured.drop if measured else float("inf")

    def _boldest(self, family: Family, accepts: Accepts) -> Joint | None:
        """Find the boldness with guesses between measured points, then look finely around it."""
        tried: list[Joint] = []

        def accepted(levels: Levels) -> bool:
            joint = self._measure(levels)
            good = accepts(joint)
            if good:
                tried.append(joint)
            return good

        def propose(boldness: float) -> bool:
            return accepted(family.propose(boldness))

        # Families of one kind measure boldness alike, so the second begins where the first ended.
        hint = self._ended.get(family.kind)
        start, stride = (family.start, family.stride) if hint is None else (hint, 2 * family.precision)
        boldness = boldest(propose, family, start, stride)
        finer = family.settle(boldness) if boldness > 0 else None
        if finer is not None:
            accepted(finer)
            boldness = boldest(propose, family, boldness, family.precision)
        self._ended[family.kind] = boldness
        return max(tried, key=lambda joint: joint.sparsity, default=None)

    def _reaches(self, levels: Levels, sparsity: float) -> bool:
        """To the rounding of one element a weight."""
        size = sum(weight.size for weight in self._ground.scanner.weights)
        return total_sparsity(self._ground, levels) >= sparsity - len(self._ground.scanner.weights) / size

    def _at(self, family: Family, sparsity: float) -> dict[str, float]:
        """The mildest plan of at least this sparsity, then scaled back to it as exactly as whole elements allow."""
        low, high = 0.0, family.highest
        for _ in range(40):
            middle = (low + high) / 2
            if total_sparsity(self._ground, family.propose(middle)) < sparsity:
                low = middle
            else:
                high = middle
        levels = family.propose(high)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if total_sparsity(self._ground, scaled(levels, middle)) < sparsity:
                low = middle
            else:
                high = middle
        return scaled(levels, high)


def boldest(accepted: Callable[[float], bool], family: Family, start: float, stride: float) -> float:
    """The boldest accepted point of a family, to its precision: stride out from `start`, then bisect.

    Boldness 0, the dense model, counts as accepted without being asked.
    """
    low, high = 0.0, family.highest
    at = start
    if accepted(at):
        low = at
        while low < family.highest:
            at = min(low + stride, family.highest)
            if not accepted(at):
                high = at
                break
            low, stride = at, stride * 2
    else:
        high = at
        while high > 0:
            at = high - stride
            if at <= 0:
                break
            if accepted(at):
                low = at
                break
            high, stride = at, stride * 2
    while high - low > family.precision and low < family.highest:
        middle = (low + high) / 2
        if accepted(middle):
            low = middle
        else:
            high = middle
    return low


def agreement(picks: Mapping[str, Levels], sizes: Mapping[str, int]) -> float | None:
    """How far members are apart: the mean distance of their levels over all pairs, weighted by elements; 0 = agreed.

    None where there is no pair.
    """
    distances = [
        np.average([abs(one[name] - other[name]) for name in sizes], weights=list(sizes.values()))
        for one, other in combinations(picks.values(), 2)
    ]
    return float(np.mean(distances)) if distances else None


def searching(candidates: Iterable[Candidate]) -> dict[str, Levels]:
    """The picks of those that are no baselines."""
    return {candidate.picker: candidate.levels for candidate in candidates if not candidate.baseline}
