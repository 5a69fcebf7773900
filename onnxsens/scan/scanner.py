"""Answers searches from the store or the engine, and never measures twice what it has measured.

Knows levels and weights by name; what a level does is the technique's business, how it is run the engine's.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from onnxsens.engine.questions import Change, Effect, Evaluator, Measurement, Question, SplitName
from onnxsens.model import Inventory, Weight
from onnxsens.scan.points import Curve, Point
from onnxsens.scan.searches import DENSE_POINT, Acceptance, Level, Observed, Pick, Search
from onnxsens.scan.store import Store
from onnxsens.techniques import Technique


class Observer(Protocol):
    """Somebody who watches: a progress display, or nobody."""

    def stage(self, name: str, expected: int) -> None:
        """A stage begins; about so many evaluations are to come, each of as many samples as the stage's others."""

    def evaluated(self, what: str, seconds: float) -> None:
        """One evaluation is done and stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""


class Nobody:
    """Watches nothing."""

    def stage(self, name: str, expected: int) -> None:
        """Ignored."""

    def evaluated(self, what: str, seconds: float) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


@dataclass(frozen=True)
class Joint:
    """A whole plan, measured as a whole.

    Attributes:
        levels: by weight; those at level 0 are left out of the run.
        sparsity: zeros over all elements of all prunable weights.
    """

    levels: Mapping[str, Level]
    sparsity: float
    measurements: Mapping[str, Measurement]
    failures: Mapping[str, str]


class Scanner:
    """The points of one technique on one model, from the store where it has them, else from the engine.

    Args:
        metrics: specs of what is measured at every point, together.
        samples: how many samples of the search split a point takes.
        sizes: samples in each split.
    """

    def __init__(
        self,
        store: Store,
        evaluator: Evaluator,
        inventory: Inventory,
        technique: Technique,
        metrics: Sequence[str],
        samples: int,
        sizes: Mapping[SplitName, int],
        observer: Observer,
    ) -> None:
        self.inventory = inventory
        self.technique = technique
        self.metrics = tuple(metrics)
        self.samples = min(samples, sizes["search"])
        self.sizes = sizes
        self.observer = observer
        self._store = store
        self._evaluator = evaluator
        self._points: dict[tuple[str, int], Point] = {
            # What failed in an earlier process gets another chance: memory may have run out. What other metrics said
            # stays in the store: a plan must not depend on what else was measured in its folder.
            (point.weight, point.zeros): replace(point, measurements=self._ours(point.measurements), failures={})
            for point in store.points(technique.name)
        }
        self._effects = store.effects()
        # What this conversation has seen. A curve is made of it alone, so that a resumed run, with the store full of
        # points that it has not come to yet, takes the same decisions as an uninterrupted one.
        self._asked: dict[str, dict[int, Point]] = {weight.name: {} for weight in inventory.weights}
        self._levels: dict[str, dict[Level, Point]] = {weight.name: {} for weight in inventory.weights}
        self._runs: set[tuple[str, SplitName]] = set()

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Every prunable weight, in graph order."""
        return self.inventory.weights

    def zeros(self, weight: Weight, level: Level) -> int:
        """Elements that are zero at a level, those that were zero before included."""
        return max(weight.zeros, self.technique.steps(weight.size, level))

    def sparsity(self, levels: Mapping[str, Level]) -> float:
        """Of all prunable weights together."""
        total = sum(self.zeros(weight, levels.get(weight.name, 0.0)) for weight in self.weights)
        return total / self.inventory.planned_parameters

    def point(self, weight: Weight, level: Level) -> Point:
        """One weight at one level, measured now or before, over at least `samples` samples where the metric allows."""
        point = self._point(weight, level)
        self._levels[weight.name][level] = replace(point, asked=level)
        return point

    def _point(self, weight: Weight, level: Level) -> Point:
        zeros = self.zeros(weight, level)
        key = (weight.name, zeros)
        known = self._points.get(key)
        lacking = [metric for metric in self.metrics if not self._answered(known, metric)]
        if known is not None and not lacking:
            self._asked[weight.name][zeros] = known
            return known
        if zeros == weight.zeros:
            return Point(weight.name, self.technique.name, level, zeros, weight.size, self._unchanged(), {})
        measurements = dict(known.measurements) if known else {}
        failures = dict(known.failures) if known else {}
        seconds = 0.0
        engine = self._evaluator.name
        # Metrics that were measured on fewer samples are extended by the missing ones; others start at the first.
        for start in sorted({self._start(known, metric) for metric in lacking}):
            asked = tuple(metric for metric in lacking if self._start(known, metric) == start)
            change = Change(weight.name, self.technique.name, level)
            answer = self._evaluator.answer(Question((change,), "search", (start, self.samples), asked))
            failures |= answer.failures
            for metric, measured in answer.measurements.items():
                measurements[metric] = measurements[metric].extended(measured) if start else measured
            for metric in answer.failures:
                measurements.pop(metric, None)
            seconds += answer.seconds
            engine = answer.engine
        point = Point(weight.name, self.technique.name, level, zeros, weight.size, measurements, failures)
        self._store.put_point(point, seconds, engine)
        self._points[key] = self._asked[weight.name][zeros] = point
        self.observer.evaluated(f"{weight.name} at {level:.3g}", seconds)
        return point

    def search(self, weight: Weight, search: Search, accepts: Acceptance | None, metric: str) -> Pick:
        """Let a search talk to this weight's points."""
        conversation = search.search(accepts)
        try:
            level = next(conversation)
            while True:
                level = conversation.send(self.point(weight, level).observed(metric) if level else DENSE_POINT)
        except StopIteration as end:
            pick: Pick = end.value
            return pick

    def curve(self, weight: Weight, metric: str) -> Curve:
        """What has been asked of this weight so far, and the dense weight with the zeros it has already."""
        dense = Observed(weight.zeros / weight.size, 0.0)
        asked = self._asked[weight.name]
        measured = (asked[zeros].observed(metric) for zeros in sorted(asked))
        return Curve(weight.name, weight.size, (dense, *measured))

    def points(self) -> list[Point]:
        """Everything asked for so far, by weight and zeros."""
        return [points[zeros] for _, points in sorted(self._asked.items()) for zeros in sorted(points)]

    def levels(self) -> list[Point]:
        """Every level asked for so far, by weight and level; levels that come to the same zeros are each listed."""
        return [levels[level] for _, levels in sorted(self._levels.items()) for level in sorted(levels)]

    @property
    def spent(self) -> tuple[int, int]:
        """Points and joint runs that were asked for so far, wherever the answers came from."""
        return sum(map(len, self._asked.values())), len(self._runs)

    @property
    def samples_taken(self) -> int:
        """The fewest samples that a point asked for so far has; a store may hold points of more than was asked."""
        taken = [measured.samples for point in self.points() for measured in point.measurements.values()]
        return min(taken, default=self.samples)

    def failures(self) -> dict[str, str]:
        """Weights with a point that could not be measured, and why."""
        return {point.weight: next(iter(point.failures.values())) for point in self.points() if point.failures}

    def joint(self, levels: Mapping[str, Level], split: SplitName, metrics: Sequence[str]) -> Joint:
        """Many weights at once, over a whole split, by these metrics; per-sample drops are kept for the hold-out."""
        changes = tuple(
            Change(weight.name, self.technique.name, levels[weight.name])
            for weight in self.weights
            if self.zeros(weight, levels.get(weight.name, 0.0)) > weight.zeros
        )
        sparsity = self.sparsity(levels)
        variant = self._variant(changes)
        measurements, failures = self._store.joint(variant, split)
        measurements = {name: item for name, item in measurements.items() if name in metrics}
        failures = {name: text for name, text in failures.items() if name in metrics}
        if (variant, split) not in self._runs:
            failures = {}  # as above, of an earlier process
        self._runs.add((variant, split))
        lacking = tuple(metric for metric in metrics if metric not in measurements and metric not in failures)
        if lacking:
            question = Question(changes, split, (0, self.sizes[split]), lacking, values=split == "holdout")
            answer = self._evaluator.answer(question)
            self._store.put_joint(variant, split, answer)
            self.observer.evaluated(f"{len(changes)} weights, {sparsity:.1%} zeros", answer.seconds)
            measurements |= answer.measurements
            failures |= answer.failures
        return Joint(levels, sparsity, measurements, failures)

    def look_for_effects(self, weights: Sequence[Weight] | None = None) -> dict[str, Effect]:
        """The canary, on every weight or on these: what zeroing all of it does to the outputs on the scan's samples."""
        asked = self.weights if weights is None else weights
        lacking = [weight for weight in asked if not self._settled(weight.name)]
        self.observer.stage("canary", len(lacking))
        for weight in lacking:
            started = time.perf_counter()
            seen = self._evaluator.effect(weight.name, self.samples)
            self._store.put_effect(weight.name, seen, self.samples)
            self._effects[weight.name] = seen, self.samples
            self.observer.evaluated(weight.name, time.perf_counter() - started)
        return {weight.name: self._effects[weight.name][0] for weight in asked}

    def _settled(self, weight: str) -> bool:
        """An effect that was seen stays; that there is none is only known of the samples looked at."""
        if weight not in self._effects:
            return False
        seen, samples = self._effects[weight]
        return seen == "effective" or samples >= self.samples

    def _ours(self, measurements: Mapping[str, Measurement]) -> dict[str, Measurement]:
        return {name: measured for name, measured in measurements.items() if name in self.metrics}

    def _answered(self, known: Point | None, metric: str) -> bool:
        if known is None:
            return False
        measured = known.measurements.get(metric)
        return metric in known.failures or (measured is not None and measured.samples >= self.samples)

    def _start(self, known: Point | None, metric: str) -> int:
        measured = known.measurements.get(metric) if known else None
        return measured.samples if measured and measured.extendable else 0

    def _unchanged(self) -> dict[str, Measurement]:
        return {metric: self._nothing(self.samples) for metric in self.metrics}

    def _nothing(self, samples: int) -> Measurement:
        return Measurement(samples, 0.0, 0.0, float("nan"), float("nan"))

    def _variant(self, changes: Sequence[Change]) -> str:
        """The name of a combination: equal zeros, equal name."""
        weight = self.inventory.weight
        parts = [[c.weight, c.technique, self.zeros(weight(c.weight), c.level)] for c in sorted(changes)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
