"""Evolutionary refinement: a plan's zeros moved from weight to weight, for less loss of the whole at the same total.

Source: Sieberling et al., EvoPress, ICML 2025, arXiv:2410.14649, algorithm 1: offspring differ from their parent by
level switches, one weight up and one down; many are compared on few samples, the few best on more, the last with their
parent. Where we differ: a switch moves whole zeros instead of one level, a step's worth or fewer, down to a sixteenth,
so that weights of all sizes have something to try; and samples are the first ones each time, so that what was asked
before is answered from memory. Knows nothing of models: the loss is a function that it is given.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from onnxsens.plan.pickers import Levels
from onnxsens.scan.searches import Level

OCTAVES = 4  # below the most that may move, down to which switches are drawn, evenly in the logarithm
MOST_SWITCHES = 3  # of one offspring; the lesser of two draws of 1 to 3, so mostly one
ROUNDING = 1e-6  # of an element, within which a limit is on it

JointLoss = Callable[[Levels, int], float]
Zeros = tuple[int, ...]


@dataclass(frozen=True)
class Stage:
    """One round of a tournament.

    Attributes:
        samples: that every plan still in it is measured on, the first ones.
        survivors: plans that are left after it.
    """

    samples: int
    survivors: int


@dataclass(frozen=True)
class Tournament:
    """How long is looked, and how closely.

    Args:
        stages: ever more samples and ever fewer survivors, one at last; the last stage has the full sample count.
        step: the most elements that a switch moves.
        generations: at most.
        offspring: of one generation, at most: those alike count once.
    """

    stages: tuple[Stage, ...]
    step: int
    generations: int = 100
    offspring: int = 32

    def __post_init__(self) -> None:
        if not self.stages or self.stages[-1].survivors != 1:
            raise ValueError("a tournament ends with one survivor; give stages, the last with one")
        counts = [stage.samples for stage in self.stages]
        left = [self.offspring, *(stage.survivors for stage in self.stages)]
        if counts[0] < 1 or any(later <= earlier for earlier, later in pairwise(counts)):
            raise ValueError(f"samples of stages are {counts}; let every stage have more than the one before")
        if any(later > earlier for earlier, later in pairwise(left)):
            raise ValueError(f"of {left[0]} offspring {left[1:]} survive; let no stage have more than come to it")
        if min(self.step, self.generations, self.offspring) < 1:
            raise ValueError("step, generations and offspring are at least 1 each")


@dataclass(frozen=True)
class Switch:
    """So many zeros more in one weight, and as many fewer in another."""

    raised: str
    lowered: str
    zeros: int


@dataclass(frozen=True)
class Refined:
    """What came of it.

    Attributes:
        levels: of every weight; exactly as they were where its zeros are.
        before, after: losses on the full sample count; after is at most before.
        evaluations: how often the loss was asked for.
        generations: that were begun.
        switches: that were accepted, in order; carried out on the first plan they give this one.
        stopped: told to, before the last generation was over.
    """

    levels: dict[str, Level]
    before: float
    after: float
    evaluations: int
    generations: int
    switches: tuple[Switch, ...]
    stopped: bool


def refine(
    loss: JointLoss,
    start: Levels,
    sizes: Mapping[str, int],
    tournament: Tournament,
    rng: np.random.Generator,
    stop: Callable[[], bool],
    limits: Mapping[str, tuple[Level, Level]] | None = None,
) -> Refined:
    """The best plan found by switches from a first one, which it replaces only where it loses less on all samples.

    The total of zeros stays what it is, to the element. The winner is chosen among many on the samples it was measured
    on, so its loss there flatters it: what it is worth is for samples to say that had no part in the choice.

    Args:
        loss: of levels on the first so many samples; the same when asked again. NaN counts as infinite.
        sizes: in elements, of the same weights.
        stop: asked before every evaluation but the first, that of the plan itself; a time box, or a cap.
        limits: least and largest level of a weight; 0 and 1 without. A weight with zeros of its own, which no level
            takes away, has their share as its least level.

    Raises:
        ValueError: weights differ, or a level is beyond its limits.
    """
    space = Space.around(start, sizes, limits or {})
    return Evolution(loss, space, tournament, rng, stop).run()


@dataclass(frozen=True)
class Space:
    """Plans as whole zeros of every weight.

    Attributes:
        first: where it begins, low, high: zeros of each weight, in the order of names.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    levels: tuple[Level, ...]
    first: Zeros
    low: Zeros
    high: Zeros

    @classmethod
    def around(cls, start: Levels, sizes: Mapping[str, int], limits: Mapping[str, tuple[Level, Level]]) -> "Space":
        """Limits in whole zeros inside them; where the first plan is beyond by rounding, it may stay there."""
        if start.keys() != sizes.keys() or limits.keys() - sizes.keys():
            raise ValueError("levels, sizes and limits are of different weights; give all of the same ones")
        first, low, high = [], [], []
        for name, size in sizes.items():
            least, most = limits.get(name, (0.0, 1.0))
            if not 0 <= least <= start[name] <= most <= 1:
                raise ValueError(f"level {start[name]:g} of '{name}' is not between its limits {least:g} and {most:g}")
            zeros = round(start[name] * size)
            first.append(zeros)
            low.append(min(zeros, math.ceil(least * size - ROUNDING)))
            high.append(max(zeros, math.floor(most * size + ROUNDING)))
        levels = tuple(start[name] for name in sizes)
        return cls(tuple(sizes), tuple(sizes.values()), levels, tuple(first), tuple(low), tuple(high))

    def levels_of(self, zeros: Zeros) -> dict[str, Level]:
        """Zeros as levels; the level that was given where they are the first plan's."""
        return {
            name: level if count == own else count / size
            for name, size, level, own, count in zip(
                self.names, self.sizes, self.levels, self.first, zeros, strict=True
            )
        }

    def switched(self, zeros: list[int], step: int, rng: np.random.Generator) -> Switch | None:
        """Carry out a switch drawn at random; None where the weight that was drawn finds no partner."""
        rising = [index for index, count in enumerate(zeros) if count < self.high[index]]
        if not rising:
            return None
        up = rising[rng.integers(len(rising))]
        falling = [index for index, count in enumerate(zeros) if count > self.low[index] and index != up]
        if not falling:
            return None
        down = falling[rng.integers(len(falling))]
        most = min(step, self.high[up] - zeros[up], zeros[down] - self.low[down])
        moved = max(1, round(most * 2 ** -rng.uniform(0, OCTAVES)))
        zeros[up] += moved
        zeros[down] -= moved
        return Switch(self.names[up], self.names[down], moved)


@dataclass(frozen=True)
class Plan:
    """Zeros of every weight, and the switches that lead there from the parent."""

    zeros: Zeros
    switches: tuple[Switch, ...] = ()


class Evolution:
    """Generations of one parent."""

    def __init__(
        self, loss: JointLoss, space: Space, tournament: Tournament, rng: np.random.Generator, stop: Callable[[], bool]
    ) -> None:
        self._loss = loss
        self._space = space
        self._tournament = tournament
        self._rng = rng
        self._stop = stop
        self._known: dict[tuple[Zeros, int], float] = {}
        self._stopped = False

    def run(self) -> Refined:
        """Until the generations are over, or it is told to stop."""
        zeros = self._space.first
        before = after = self._rated(zeros, self._tournament.stages[-1].samples)
        switches: list[Switch] = []
        begun = 0
        while begun < self._tournament.generations and not self._halted():
            begun += 1
            winner = self._winner(self._offspring(zeros))
            if winner is not None and winner[0] < after:
                after, zeros = winner[0], winner[1].zeros
                switches.extend(winner[1].switches)
        levels = self._space.levels_of(zeros)
        return Refined(levels, before, after, len(self._known), begun, tuple(switches), self._stopped)

    def _offspring(self, parent: Zeros) -> list[Plan]:
        """Plans a few switches away, each once."""
        found: dict[Zeros, Plan] = {}
        for _ in range(self._tournament.offspring):
            zeros = list(parent)
            wanted = int(self._rng.integers(1, MOST_SWITCHES + 1, size=2).min())
            drawn = [self._space.switched(zeros, self._tournament.step, self._rng) for _ in range(wanted)]
            found.setdefault(tuple(zeros), Plan(tuple(zeros), tuple(switch for switch in drawn if switch)))
        found.pop(parent, None)
        return list(found.values())

    def _winner(self, plans: Sequence[Plan]) -> tuple[float, Plan] | None:
        """The last survivor and its loss on all samples; of those that came so far, where it is told to stop."""
        rated: list[tuple[float, Plan]] = []
        for stage in self._tournament.stages:
            rated = []
            for plan in plans:
                if self._halted():
                    break
                rated.append((self._rated(plan.zeros, stage.samples), plan))
            if self._stopped and stage is not self._tournament.stages[-1]:
                return None
            rated.sort(key=lambda each: each[0])
            plans = [plan for _, plan in rated[: stage.survivors]]
        return rated[0] if rated else None

    def _rated(self, zeros: Zeros, samples: int) -> float:
        if (zeros, samples) not in self._known:
            loss = self._loss(self._space.levels_of(zeros), samples)
            self._known[zeros, samples] = math.inf if math.isnan(loss) else loss
        return self._known[zeros, samples]

    def _halted(self) -> bool:
        """Once told to stop, it is not asked again."""
        self._stopped = self._stopped or self._stop()
        return self._stopped
