"""Every picker proposes; each proposal is measured as a whole; the best that is good enough is taken.

No single method is right for all models, data and metrics. Whatever single-layer curves predict, a plan counts only
by what it does when everything is pruned at once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Protocol

import numpy as np

from onnxsens.engine.carrying import Carried
from onnxsens.plan.boldness import boldest, boldest_losing
from onnxsens.plan.pickers import MEMBERS, Family, Ground, Levels, family_of, pickers, scaled, total_sparsity
from onnxsens.plan.pickers.allowed import AnyLevel, Within, moved
from onnxsens.scan import Joint
from onnxsens.scan.searches import Observed
from onnxsens.scan.searches.sweet_spotter import knee

KNEE_TARGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Candidate:
    """One picker's plan, measured as a whole on the search split.

    Attributes:
        gap: of the family it is from.
        carried: what came of carrying it out as a whole; None where weights are changed one by one.
        fitted_on: samples of the search split, the last ones, that it was carried out with.
    """

    picker: str
    baseline: bool
    levels: Levels
    joint: Joint
    gap: float | None = None
    carried: Carried | None = None
    fitted_on: int = 0

    @property
    def sparsity(self) -> float:
        """Zeros over all elements of all prunable weights."""
        return self.joint.sparsity


Accepts = Callable[[Joint], bool]

# Samples on which plans are compared with each other: drops of two plans on the same samples go up and down together.
PASSING_LOOK = 256
PUSH = 1 / 32  # how much sparser a plan is tried once more, two steps of a bisection


class Measure(Protocol):
    """Runs a plan as a whole on the search split."""

    def __call__(self, levels: Levels, accepts: Accepts | None = None, most: int | None = None) -> Joint:
        """On as many samples as it takes to tell whether `accepts` would accept it, at most `most`; else on all."""


Race = Callable[[Mapping[str, Levels], str], Sequence[tuple[str, Joint]]]


class Ensemble:
    """All pickers on the same ground.

    Args:
        race: of plans of the same sparsity, measured side by side, the one that loses least first.
        allowed: levels of weights that may not have any.
        saved: what levels save; the share of zeros, if nothing else. What is called a sparsity here is a share of that.
    """

    def __init__(
        self,
        ground: Ground,
        measure: Measure,
        race: Race,
        members: Sequence[str] = MEMBERS,
        saved: Callable[[Levels], float] | None = None,
        allowed: AnyLevel | None = None,
    ) -> None:
        self._allowed = allowed or {}
        self._saved = saved or partial(total_sparsity, ground)
        self._ground = ground
        self._measure = measure
        self._race = race
        self.names = list(members)
        self._families: dict[str, Family] = {}
        self._ended: dict[str, float] = {}

    def within(self, accepts: Accepts, loss: float | None = None, *, push: bool = False) -> list[Candidate]:
        """Each picker's plan within the limits, boldest first; a picker without one is left out.

        The first picker with a plan that is accepted sets the mark. Every other one is asked, on a few samples, how far
        it gets at the loss of that plan; only who gets farther is measured on as many samples as it takes, and becomes
        the mark if its plan is accepted. The first of the result was measured on all samples.

        Args:
            loss: on the search metric, near which the limits may be expected; a place to begin.
            push: try bolder plans than the mark once more; for limits with a margin, which bears choice by chance.
        """
        found: dict[str, Joint] = {}
        mark: str | None = None
        for name in self.names:
            family = self._family(name)
            best = self._first(family, accepts, loss) if mark is None else self._challenge(family, accepts, found[mark])
            if best is None:
                continue
            if mark is None or best.sparsity > found[mark].sparsity:
                mark = name
                best = self._pushed(family, accepts, best) if push else best
            found[name] = best
        return sorted(map(self.candidate, found, found.values()), key=lambda candidate: -candidate.sparsity)

    @property
    def first(self) -> str:
        """The member that is asked first."""
        return self.names[0]

    def levels_at(self, name: str, sparsity: float) -> Levels | None:
        """A member's plan with this sparsity; None where it cannot go so far."""
        levels = self._at(self._family(name), sparsity)
        return levels if self._reaches(levels, sparsity) else None

    def candidate(self, name: str, joint: Joint) -> Candidate:
        """A member's plan, measured."""
        return Candidate(name, pickers.get(name).baseline, joint.levels, joint, self._family(name).gap)

    def _pushed(self, family: Family, accepts: Accepts, mark: Joint) -> Joint:
        """The winner, or a bolder one of its family that is accepted too.

        Metrics of right and wrong answers go up and down by a few samples, so a plan that was rejected on the way need
        not be the end.
        """
        while mark.sparsity + PUSH < 1:
            levels = self._at(family, mark.sparsity + PUSH)
            tried: list[Joint] = []
            bolder = self._confirmed(tried, accepts) if self._try(levels, accepts, tried) else None
            if bolder is None or bolder.sparsity <= mark.sparsity:
                break
            mark = bolder
        return mark

    def _first(self, family: Family, accepts: Accepts, loss: float | None) -> Joint | None:
        """The boldest plan of a family that is accepted, on all samples.

        Where to look is guessed at the loss, on a few samples; then the family looks more closely around there.
        """
        start, stride = family.start, family.stride
        if loss is not None:
            start = boldest_losing(self._losing(family), loss, family, start, stride, 2 * family.precision)
            stride = 2 * family.precision
            if start > 0 and family.settle(start) is not None:
                start = boldest_losing(self._losing(family), loss, family, start, stride, 2 * family.precision)
            start = max(start, family.precision)
        tried: list[Joint] = []
        boldness = boldest(self._trying(family, accepts, tried), family, start, stride)
        if loss is None and boldness > 0:
            finer = family.settle(boldness)
            if finer is not None:
                self._try(finer, accepts, tried)
                boldness = boldest(self._trying(family, accepts, tried), family, boldness, family.precision)
        self._ended[family.kind] = boldness
        return self._confirmed(tried, accepts)

    def _challenge(self, family: Family, accepts: Accepts, mark: Joint) -> Joint | None:
        """The boldest plan of a family that loses no more than the mark; on all samples, if it is the bolder one."""
        prefix = self._measure(mark.levels, most=PASSING_LOOK)
        loss = self._drop(prefix)
        if not loss > 0:
            return self._first(family, accepts, None)  # at such a loss plans cannot be compared
        # Families of one kind measure boldness alike, so the second begins where the first ended.
        hint = self._ended.get(family.kind)
        start, stride = (family.start, family.stride) if hint is None else (hint, 2 * family.precision)
        tried: list[Joint] = []
        boldness = boldest_losing(self._losing(family, tried), loss, family, start, stride, 2 * family.precision)
        finer = family.settle(boldness, PASSING_LOOK) if boldness > 0 else None
        if finer is not None:
            tried.append(self._measure(finer, most=PASSING_LOOK))
            boldness = boldest_losing(
                self._losing(family, tried), loss, family, boldness, 2 * family.precision, 2 * family.precision
            )
        self._ended[family.kind] = boldness
        tried = [joint for joint in tried if self._drop(joint) <= loss]
        best = max(tried, key=lambda joint: joint.sparsity, default=None)
        if best is None or best.sparsity <= mark.sparsity:
            return best
        better: list[Joint] = []
        if self._try(best.levels, accepts, better):
            boldest(self._trying(family, accepts, better), family, boldness, family.precision)
        else:
            self._try(self._at(family, (best.sparsity + mark.sparsity) / 2), accepts, better)
        winner = self._confirmed([joint for joint in better if joint.sparsity > mark.sparsity], accepts)
        milder = [joint for joint in tried if joint.sparsity <= mark.sparsity]
        return winner or max(milder, key=lambda joint: joint.sparsity, default=None)

    def _confirmed(self, tried: Sequence[Joint], accepts: Accepts) -> Joint | None:
        """The boldest that is accepted on all samples; what was accepted early may turn out otherwise."""
        for joint in sorted(tried, key=lambda each: -each.sparsity):
            whole = self._measure(joint.levels)
            if accepts(whole):
                return whole
        return None

    def _trying(self, family: Family, accepts: Accepts, tried: list[Joint]) -> Callable[[float], bool]:
        return lambda boldness: self._try(family.propose(boldness), accepts, tried)

    def _try(self, levels: Levels, accepts: Accepts, tried: list[Joint]) -> bool:
        """Whether a plan is accepted, on as many samples as it takes; kept where it is."""
        joint = self._measure(levels, accepts)
        good = accepts(joint)
        if good:
            tried.append(joint)
        return good

    def _losing(self, family: Family, tried: list[Joint] | None = None) -> Callable[[float], float]:
        """What plans lose on the search metric, on a few samples; all that are looked at are kept."""

        def drop(boldness: float) -> float:
            joint = self._measure(family.propose(boldness), most=PASSING_LOOK)
            if tried is not None:
                tried.append(joint)
            return self._drop(joint)

        return drop

    def at(self, sparsity: float) -> list[Candidate]:
        """Each picker's plan with this sparsity, the least loss on the search metric first.

        A picker that cannot go so far is left out.
        """
        plans = {name: self.levels_at(name, sparsity) for name in self.names}
        reaching = {name: levels for name, levels in plans.items() if levels is not None}
        return [self.candidate(name, joint) for name, joint in self._race(reaching, self._ground.metric)]

    def best_at(self, sparsity: float) -> Candidate | None:
        """The one that loses least at a sparsity; None where none goes so far."""
        return next(iter(self.at(sparsity)), None)

    def knee(self) -> list[Candidate]:
        """Candidates at the sparsity where the joint front, the best plan at each size, has its knee."""
        front = [(target, candidates) for target in KNEE_TARGETS if (candidates := self.at(target))]
        losses = {1 / (1 - target): Observed(target, self._drop(candidates[0].joint)) for target, candidates in front}
        losses[1.0] = Observed(0.0, 0.0)
        ratio = knee(losses)
        return next(
            (candidates for target, candidates in front if 1 / (1 - target) == ratio), front[0][1] if front else []
        )

    def _family(self, name: str) -> Family:
        if name not in self._families:
            family = family_of(name, self._ground)
            self._families[name] = Within(family, self._allowed) if self._allowed else family
        return self._families[name]

    def _drop(self, joint: Joint) -> float:
        measured = joint.measurements.get(self._ground.metric)
        return measured.drop if measured else float("inf")

    def _reaches(self, levels: Levels, sparsity: float) -> bool:
        """To the rounding of one element a weight."""
        size = sum(weight.size for weight in self._ground.scanner.weights)
        return self._saved(levels) >= sparsity - len(self._ground.scanner.weights) / size

    def _at(self, family: Family, sparsity: float) -> dict[str, float]:
        """The mildest plan of at least this sparsity, then scaled back to it as exactly as whole elements allow."""
        low, high = 0.0, family.highest
        for _ in range(40):
            middle = (low + high) / 2
            if self._saved(family.propose(middle)) < sparsity:
                low = middle
            else:
                high = middle
        levels = family.propose(high)
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if self._saved(moved(scaled(levels, middle), self._allowed)) < sparsity:
                low = middle
            else:
                high = middle
        return moved(scaled(levels, high), self._allowed)


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
