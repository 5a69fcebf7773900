"""The best plan of an ensemble, refined on joint runs: what single-layer curves cannot say, runs of the whole can.

Worth a lot where kept elements stay as they are; next to nothing after they are fitted, so it is not done there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxsens.model import Weight
from onnxsens.plan.ensemble import Accepts, Candidate, Measure
from onnxsens.plan.pickers import Levels
from onnxsens.plan.pickers.allowed import AnyLevel, moved
from onnxsens.plan.refinement import Refined, Stage, Tournament, refine
from onnxsens.scan import Joint, Scanner

NAME = "evolution"
OFFSPRING = 24
SURVIVORS = (6, 2, 1)
STEPS = 40  # of a mean weight, that the largest switch moves
LEAST_RUNS = 100
RUNS_A_POINT = 3  # joint runs on few samples for each point of the scan: about the scan's time
PUSHES = (0.06, 0.03, 0.015)  # of the logarithm of every compression ratio, tried one after another


@dataclass(frozen=True)
class Evolution:
    """Refines candidates.

    Attributes:
        weights: that may be changed.
        metric: whose drop is made small.
        measure: runs a plan as a whole on the search split.
    """

    scanner: Scanner
    weights: tuple[Weight, ...]
    metric: str
    measure: Measure
    allowed: AnyLevel
    seed: int

    def refined(self, best: Candidate, accepts: Accepts | None = None) -> Candidate | None:
        """A plan with as many zeros that loses less, and with `accepts` a sparser one of its kind; None without.

        Args:
            best: accepted, where that is asked for.
        """
        found = self._search(best.levels)
        if not found.after < found.before:
            return None
        levels = self._with_others(best.levels, found.levels)
        joint = self.measure(levels)
        if accepts is not None:
            if not accepts(joint):
                return None
            joint = self._pushed(levels, joint, accepts)
        return Candidate(NAME, baseline=False, levels=joint.levels, joint=joint)

    def _search(self, start: Levels) -> Refined:
        runs = 0
        points, _ = self.scanner.spent
        most = max(LEAST_RUNS, RUNS_A_POINT * points)

        def loss(levels: Levels, samples: int) -> float:
            nonlocal runs
            runs += 1
            measured = self.measure(self._with_others(start, levels), most=samples).measurements.get(self.metric)
            return float("inf") if measured is None else measured.drop

        sizes = {weight.name: weight.size for weight in self.weights}
        limits = {weight.name: self._limits(weight) for weight in self.weights}
        own = {name: min(max(start.get(name, 0.0), low), high) for name, (low, high) in limits.items()}
        step = max(sum(sizes.values()) // (len(sizes) * STEPS), 1)
        return refine(
            loss,
            own,
            sizes,
            Tournament(self._stages(), step, offspring=OFFSPRING),
            np.random.default_rng(self.seed),
            lambda: runs >= most,
            limits,
        )

    def _stages(self) -> tuple[Stage, ...]:
        """On the first block, on some, on all."""
        stops = self.scanner.sampling.stops(self.scanner.sizes["search"])
        chosen = list(dict.fromkeys([stops[0], stops[len(stops) // 2], stops[-1]]))
        survivors = SURVIVORS[-len(chosen) :]
        return tuple(Stage(samples, left) for samples, left in zip(chosen, survivors, strict=True))

    def _limits(self, weight: Weight) -> tuple[float, float]:
        limit = self.allowed.get(weight.name)
        low, high = (0.0, 1.0) if limit is None else (limit.range.low, limit.range.high)
        return max(low, weight.zeros / weight.size), high

    def _with_others(self, start: Levels, levels: Levels) -> dict[str, float]:
        return {**start, **levels}

    def _pushed(self, levels: Mapping[str, float], joint: Joint, accepts: Accepts) -> Joint:
        """The boldest of a few bolder ones that is accepted on all samples."""
        share = 1.0
        for push in PUSHES:
            while True:
                bolder = moved(grown(levels, share + push), self.allowed)
                tried = self.measure(bolder, accepts)
                if not accepts(tried) or not accepts(whole := self.measure(bolder)):
                    break
                share, joint = share + push, whole
        return joint


def grown(levels: Levels, share: float) -> dict[str, float]:
    """Every compression ratio to the power of `share`, 1 or more; a weight that is gone stays so."""
    return {name: 1 - (1 - level) ** share for name, level in levels.items()}
