"""An evaluator that knows its answers: the seam's public fake."""

from collections.abc import Callable

import numpy as np

from onnxsens.engine import Answer, Effect, Measurement, Question


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

    def effect(self, weight: str, samples: int) -> Effect:
        return "effective"

    def close(self) -> None:
        pass
