"""An evaluator that knows its answers: the seam's public fake."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from onnxsens.engine import Answer, Change, Effect, Measurement, Question


class KnownCurves:
    """Drop of a variant: the sum over its changes of `curve(weight, level)`, the same for every sample.

    Attributes:
        asked: every question, in order.
        failing: metrics that always fail.
    """

    name = "known"

    def __init__(self, curve: Callable[[str, float], float], failing: tuple[str, ...] = ()) -> None:
        self._curve = curve
        self.asked: list[Question] = []
        self.failing = failing

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        start, stop = question.samples
        drop = sum(self._curve(change.weight, change.level) for change in question.changes)
        drops = np.full(stop - start, drop)
        measured = Measurement(
            stop - start,
            float(drops.sum()),
            float((drops**2).sum()),
            1.0,
            1.0 - drop,
            drops=drops if question.values else None,
        )
        good = [metric for metric in question.metrics if metric not in self.failing]
        return Answer(
            dict.fromkeys(good, measured),
            {m: "it failed" for m in question.metrics if m in self.failing},
            0.01,
            self.name,
        )

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        return map(self.answer, questions)

    def effect(self, weight: str, samples: int) -> Effect:
        return "effective"

    def close(self) -> None:
        pass


class NoisyCurves(KnownCurves):
    """The same, but every sample has a factor of its own, of mean 1 and always positive, as divergences have.

    Attributes:
        taken: how often each sample was run, by weights and levels.
    """

    name = "noisy"

    def __init__(self, curve: Callable[[str, float], float], samples: int = 10_000, seed: int = 7) -> None:
        super().__init__(curve)
        self._factors = np.random.default_rng(seed).gamma(2.0, 0.5, samples)
        self.taken: dict[tuple[Change, ...], Counter[int]] = {}

    def answer(self, question: Question) -> Answer:
        self.asked.append(question)
        start, stop = question.samples
        self.taken.setdefault(question.changes, Counter()).update(range(start, stop))
        drops = self._factors[start:stop] * sum(self._curve(change.weight, change.level) for change in question.changes)
        measured = Measurement(
            stop - start,
            float(drops.sum()),
            float((drops**2).sum()),
            0.0,
            float(drops.mean()),
            drops=drops if question.values else None,
        )
        return Answer(dict.fromkeys(question.metrics, measured), {}, 0.01, self.name)
