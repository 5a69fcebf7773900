"""How many samples a measurement takes: growing blocks, until what is known decides what was asked."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from onnxsens.engine.questions import Measurement, Question
from onnxsens.scan.points import Joint, Point
from onnxsens.scan.searches import Acceptance, Observed
from onnxsens.scan.sequential import ALPHA, extremes, schedule

FIRST_BLOCK = 256  # whole batches of the usual sizes
SPREAD = 0.15  # of a drop that sets the scale of a curve: its standard error, as a share of it


@dataclass(frozen=True)
class Sampling:
    """The rules of a run.

    Attributes:
        samples: of a point, all of them.
        exact: every measurement takes all samples, whatever it is asked for.
        bounded: metrics whose per-sample drops lie in [-1, 1].
        whole: metrics that are one value of all samples together, which cannot be extended; where there are any, every
            measurement takes all samples.
    """

    samples: int
    exact: bool = True
    bounded: frozenset[str] = frozenset()
    whole: frozenset[str] = frozenset()

    def stops(self, samples: int) -> tuple[int, ...]:
        """After how many one may stop."""
        return (samples,) if self.whole else schedule(samples, FIRST_BLOCK)

    def pieces(self, questions: Sequence[Question]) -> list[Question]:
        """The same questions in blocks, in order of their samples.

        Blocks end at 256, 512, 1024, ... whoever asks for however many: what needs less can then be told later, and is
        the same whatever else was measured in a run folder.
        """
        found = []
        for question in questions:
            start, last = question.samples
            whole = tuple(name for name in question.metrics if name in self.whole)
            rest = tuple(name for name in question.metrics if name not in self.whole)
            found += [replace(question, metrics=whole)] if whole else []
            for stop in block_ends(start, last) if rest else ():
                found.append(replace(question, samples=(start, stop), metrics=rest))
                start = stop
        return sorted(found, key=lambda each: each.samples)

    def decided(
        self, accepts: Acceptance, metric: str, samples: int, most: int | None = None
    ) -> Callable[[Point], bool]:
        """Whether a point's samples tell, with an error rate of `ALPHA`, if all of them would be accepted.

        Args:
            most: samples that are enough whatever they tell.
        """

        def enough(point: Point) -> bool:
            measured = point.measurements.get(metric)
            if measured is None or (most is not None and measured.samples >= most):
                return True
            best, worst = self.extremes(metric, measured, samples)
            level = point.sparsity
            return accepts(Observed(level, worst.drop)) or not accepts(Observed(level, best.drop))

        return enough

    def settles_scale(self, metric: str, most: int | None = None) -> Callable[[Point], bool]:
        """Whether a point's drop is known well enough to set the scale of a predicted curve.

        Args:
            most: samples that are enough whatever they tell.
        """

        def enough(point: Point) -> bool:
            measured = point.measurements.get(metric)
            if measured is None or (most is not None and measured.samples >= most):
                return True
            return measured.standard_error <= SPREAD * abs(measured.drop)

        return enough

    def decided_joint(self, accepts: Callable[[Joint], bool], samples: int) -> Callable[[Joint], bool]:
        """The same for a whole plan."""

        def enough(joint: Joint) -> bool:
            pairs = {name: self.extremes(name, found, samples) for name, found in joint.measurements.items()}
            if not all(math.isfinite(each.total) for pair in pairs.values() for each in pair):
                return False  # of some metric nothing is known yet
            best = replace(joint, measurements={name: pair[0] for name, pair in pairs.items()})
            worst = replace(joint, measurements={name: pair[1] for name, pair in pairs.items()})
            return accepts(worst) or not accepts(best)

        return enough

    def extremes(self, metric: str, measured: Measurement, samples: int) -> tuple[Measurement, Measurement]:
        """The best and the worst that all `samples` may turn out to give."""
        if measured.samples >= samples:
            return measured, measured
        looks = len(self.stops(samples)) - 1
        return extremes(measured, samples, alpha=ALPHA, looks=max(looks, 1), bounded=metric in self.bounded)


def block_ends(start: int, stop: int) -> list[int]:
    """Where blocks of samples `[start, stop)` end; the last one at `stop`."""
    ends = []
    end = FIRST_BLOCK
    while end < stop:
        ends += [end] if end > start else []
        end *= 2
    return [*ends, stop]
