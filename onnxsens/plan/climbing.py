"""Plans that are carried out as a whole before they are believed: choose with few samples, then push further.

Curves say how zeros are best shared out; how many there can be is only known once a plan is carried out, each weight
fitted in its turn. That takes seconds to minutes a plan, so few are: the boldness is looked for with one picker and a
small calibration set, all pickers are compared there, and the best is pushed on with a larger set. Samples that a plan
was fitted on are not those that it is measured on, where there are enough of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxsens.engine.carrying import Carried, Carrier, Order
from onnxsens.plan.boldness import bracket
from onnxsens.plan.ensemble import Accepts, Candidate, Ensemble
from onnxsens.plan.pickers import Levels
from onnxsens.scan import Joint, Scanner
from onnxsens.scan.searches import Observed
from onnxsens.scan.searches.sweet_spotter import knee

CALIBRATION = (512, 2048)  # samples to fit on; then all
COMPARED = 2048  # samples on which plans are compared
START, STRIDE = 0.75, 1 / 16
COARSE, FINE = 1 / 64, 1 / 128  # a difference in sparsity that no longer matters
HIGHEST = 0.995
CORRECTIONS = 4
KNEE_TARGETS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)


@dataclass(frozen=True)
class Carrying:
    """How plans are carried out.

    Attributes:
        technique: what says which elements go.
        method: name of how.
        untouched: weights that keep every bit.
        costly: whether carrying a plan out takes minutes, so that pickers are compared without it.
    """

    carrier: Carrier
    technique: str
    method: str
    untouched: tuple[str, ...] = ()
    costly: bool = False

    def carry(self, levels: Levels, samples: int, method: str = "") -> Carried:
        """A plan, fitted on the last so many samples of the search split."""
        order = Order(tuple(levels.items()), self.technique, method or self.method, samples, self.untouched)
        return self.carrier.carry(order)


class Climb:
    """Answers what an ensemble answers, of plans that are carried out.

    Args:
        ensemble: proposes levels.
        metric: the one to search by.
        missing: what a plan that was carried out still has to save, as a share; 0 or less where it saves enough.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        scanner: Scanner,
        carrying: Carrying,
        metric: str,
        missing: Callable[[Candidate], float] = lambda candidate: 0.0,
    ) -> None:
        self._missing = missing
        self._ensemble = ensemble
        self._scanner = scanner
        self._carrying = carrying
        self._metric = metric
        self._size = scanner.sizes["search"]
        # Where it takes minutes, few are tried.
        self._strides = (2 * STRIDE, 2 * COARSE, COARSE) if carrying.costly else (STRIDE, COARSE, FINE)
        self._from: tuple[str, float, int] | None = None  # picker, sparsity and calibration of the last choice
        self._others: list[Candidate] = []
        self.rebuilds = 0

    def within(self, accepts: Accepts, loss: float | None = None, *, push: bool = False) -> list[Candidate]:
        """Each picker's plan at the sparsity that one of them reaches within the limits; the best pushed further."""
        if self._from is None:
            few = self._calibrations[0]
            wide, coarse, _ = self._strides
            start = self._boldest(self._ensemble.first, accepts, few, START, wide, coarse)
            if start <= 0:
                return []
            self._others = self._compared(start, few)
            picker = self._others[0].picker
            self._from = picker, start, self._calibration(picker, start)
        picker, start, samples = self._from
        reached = self._boldest(picker, accepts, samples, start, *self._strides[1:])
        if reached <= 0:
            return []
        self._from = picker, reached, samples
        best = self._finished(picker, reached, samples)
        return [best, *(each for each in self._others if each.picker != picker)]

    def at(self, sparsity: float) -> list[Candidate]:
        """Each picker's plan with this sparsity, the least loss on the search metric first."""
        candidates = self._compared(sparsity, self._calibrations[0])
        if not candidates:
            return []
        picker = candidates[0].picker
        samples = self._calibration(picker, sparsity)
        best = self._finished(picker, sparsity, samples)
        # What is counted may depend on the values, as compressed bytes do: then a little more is saved, a few times.
        for _ in range(CORRECTIONS):
            missing = self._missing(best)
            if missing <= 0 or self._ensemble.levels_at(picker, sparsity + missing) is None:
                break
            sparsity += missing
            best = self._finished(picker, sparsity, samples)
        return [best, *candidates[1:]]

    def knee(self) -> list[Candidate]:
        """Candidates at the sparsity where the front, the first picker's plan at each size, has its knee."""
        losses = {1.0: Observed(0.0, 0.0)}
        few = self._calibrations[0]
        for target in KNEE_TARGETS:
            levels = self._ensemble.levels_at(self._ensemble.first, target)
            if levels is not None:
                losses[1 / (1 - target)] = Observed(target, self._drop(self._measured(levels, few, most=COMPARED)))
        ratio = knee(losses)
        return self.at(1 - 1 / ratio) if ratio > 1 else []

    def best_at(self, sparsity: float) -> Candidate | None:
        """The first picker's plan at a sparsity, carried out on few samples; None where it cannot go so far."""
        levels = self._ensemble.levels_at(self._ensemble.first, sparsity)
        if levels is None:
            return None
        joint = self._measured(levels, self._calibrations[0], most=COMPARED)
        return self._ensemble.candidate(self._ensemble.first, joint)

    @property
    def _calibrations(self) -> list[int]:
        """Sizes of calibration sets that leave at least half of the search split to be measured on."""
        half = max(self._size // 2, 1)
        return sorted({min(samples, half) for samples in CALIBRATION})

    def _boldest(
        self, picker: str, accepts: Accepts, samples: int, start: float, stride: float, precision: float
    ) -> float:
        """The boldest plan of a picker that is accepted, by its sparsity; 0 where there is none."""
        reached: dict[float, bool] = {}

        def accepted(sparsity: float) -> bool:
            levels = self._ensemble.levels_at(picker, sparsity)
            reached[sparsity] = levels is not None and accepts(self._measured(levels, samples, accepts))
            return reached[sparsity]

        low, high = bracket(accepted, HIGHEST, start, stride)
        while high - low > precision:
            middle = (low + high) / 2
            low, high = (middle, high) if accepted(middle) else (low, middle)
        return low

    def _compared(self, sparsity: float, samples: int) -> list[Candidate]:
        """All pickers at a sparsity, the least loss first."""
        if self._carrying.costly:
            return self._ensemble.at(sparsity)  # weights one by one, each fitted to the dense model's inputs
        found = []
        for picker in self._ensemble.names:
            levels = self._ensemble.levels_at(picker, sparsity)
            if levels is not None:
                joint = self._measured(levels, samples, most=COMPARED)
                found.append(self._ensemble.candidate(picker, joint))
        return sorted(found, key=lambda candidate: self._drop(candidate.joint))

    def _calibration(self, picker: str, sparsity: float) -> int:
        """The size of the calibration set with which the plan loses least, all compared on the same samples."""
        levels = self._ensemble.levels_at(picker, sparsity)
        assert levels is not None
        sizes = self._calibrations
        if self._carrying.costly:
            return sizes[-1]
        unseen = self._size - sizes[-1]
        return min(sizes, key=lambda samples: self._drop(self._measured(levels, samples, most=min(unseen, COMPARED))))

    def _finished(self, picker: str, sparsity: float, samples: int) -> Candidate:
        """The plan itself. Where more samples were better than fewer, it is fitted on all of them."""
        levels = self._ensemble.levels_at(picker, sparsity)
        assert levels is not None
        most = self._calibrations[-1]
        chosen = self._size if samples == most else samples
        carried = self._carrying.carry(levels, chosen)
        self.rebuilds += 1
        joint = self._scanner.joint(levels, "search", self._scanner.metrics, base=carried.name)
        return replace(self._ensemble.candidate(picker, joint), carried=carried, fitted_on=chosen)

    def _measured(self, levels: Levels, samples: int, accepts: Accepts | None = None, most: int | None = None) -> Joint:
        """A plan carried out, on samples of the search split that it was not fitted on."""
        carried = self._carrying.carry(levels, samples)
        self.rebuilds += 1
        scanner = self._scanner
        unseen = max(self._size - samples, 1)
        decided: Callable[[Joint], bool] | None = None
        if accepts is not None:
            decided = scanner.sampling.decided_joint(accepts, unseen)
        return scanner.joint(levels, "search", scanner.metrics, decided, most, carried.name, unseen)

    def _drop(self, joint: Joint) -> float:
        measured = joint.measurements.get(self._metric)
        return measured.drop if measured else float("inf")


def orders_of(carrying: Carrying, candidate: Candidate, methods: Sequence[str]) -> dict[str, Carried]:
    """A plan carried out by other methods too, on the samples that it was fitted on."""
    return {method: carrying.carry(candidate.levels, candidate.fitted_on, method) for method in methods}
