"""Answers searches from the store or the engine, and never measures twice what it has measured.

Knows levels and weights by name; what a level does is the technique's business, how it is run the engine's. A point is
measured on growing blocks of samples, until it has enough for who asked; work on different weights is under way at
once where the crew has several members.
"""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from typing import TypeVar

from onnxsens.engine.crew import Alone, Crew, Done, Job
from onnxsens.engine.questions import DENSE, Change, Effect, Evaluator, Measurement, Question, SplitName
from onnxsens.model import Inventory, Weight
from onnxsens.scan.joints import JointRuns, Variant
from onnxsens.scan.ledger import Entry
from onnxsens.scan.observers import Observer
from onnxsens.scan.points import Curve, Joint, Point
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.sampling import Sampling
from onnxsens.scan.searches import DENSE_POINT, Acceptance, Level, Observed, Pick, Search
from onnxsens.scan.store import Store
from onnxsens.techniques import Technique

Result = TypeVar("Result")
Talk = Generator[Job, None, Result]  # hands out work, is resumed when it is done, and ends in a result
Enough = Callable[[Point], bool]


class Scanner:
    """The points of one technique on one model, from the store where it has them, else from the engine.

    Args:
        evaluator: for joint runs, in this process.
        metrics: specs of what is measured at every point, together.
        sampling: how many samples of the search split a point takes, and when it may take fewer.
        sizes: samples in each split.
        crew: who measures points; the evaluator alone where there is none.
        blind: weights whose inputs nothing is known of; a technique that needs to know does to them what it does
            without.
    """

    def __init__(
        self,
        store: Store,
        evaluator: Evaluator,
        inventory: Inventory,
        technique: Technique,
        metrics: Sequence[str],
        sampling: Sampling,
        sizes: Mapping[SplitName, int],
        observer: Observer,
        crew: Crew | None = None,
        blind: Collection[str] = (),
    ) -> None:
        self.inventory = inventory
        self.technique = technique
        self._blind = frozenset(blind)
        self._without = technique.without_moments()
        self.metrics = tuple(metrics)
        self.sampling = sampling
        self.samples = min(sampling.samples, sizes["search"])
        self.sizes = sizes
        self.observer = observer
        self._store = store
        self._crew: Crew = crew or Alone(evaluator)
        self._entries: dict[tuple[str, int], Entry] = {
            key: Entry.of(blocks)
            for each in dict.fromkeys((self._without.name, technique.name))
            for key, blocks in store.points(each).items()
            if each == self.technique_of(inventory.weight(key[0])).name
        }
        self._effects = store.effects()
        self._not_measured: dict[str, str] = {}
        # What this conversation has seen: how many samples of which zeros. A curve is made of it alone, so that a
        # resumed run, with the store full of points that it has not come to yet, takes the same decisions as an
        # uninterrupted one.
        self._asked: dict[str, dict[int, int]] = {weight.name: {} for weight in inventory.weights}
        self._levels: dict[str, dict[Level, int]] = {weight.name: {} for weight in inventory.weights}
        self._shapes: Mapping[str, PredictedCurve] = {}
        self._predicted_metric = ""
        self._joints = JointRuns(store, evaluator, sampling, sizes, observer)
        self.on_joint: Callable[[Joint], None] | None = None
        """Told of every whole plan on the search split; decides nothing."""

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Every prunable weight, in graph order."""
        return self.inventory.weights

    def technique_of(self, weight: Weight) -> Technique:
        """What is done to this weight."""
        return self._without if weight.name in self._blind else self.technique

    def zeros(self, weight: Weight, level: Level) -> int:
        """Elements that are zero at a level, those that were zero before included."""
        return max(weight.zeros, self.technique_of(weight).steps(weight.matrix_shape, level))

    def sparsity(self, levels: Mapping[str, Level]) -> float:
        """Of all prunable weights together."""
        total = sum(self.zeros(weight, levels.get(weight.name, 0.0)) for weight in self.weights)
        return total / self.inventory.planned_parameters

    def point(self, weight: Weight, level: Level) -> Point:
        """One weight at one level, measured now or before, over all scan samples."""
        return self.points_at({weight.name: (level,)})[weight.name][0]

    def points_at(self, levels: Mapping[str, Sequence[Level]], enough: Enough | None = None) -> dict[str, list[Point]]:
        """Weights at levels, on as many samples as are enough; on all scan samples without that."""
        enough = None if self.sampling.exact else enough

        def talk(weight: Weight, asked: Sequence[Level]) -> Talk[list[Point]]:
            yield from self._measure(weight, asked, enough)
            return [self._point(weight, level) for level in asked]

        weight = self.inventory.weight
        return self._drive({name: talk(weight(name), asked) for name, asked in levels.items()})

    def search(self, weight: Weight, search: Search, accepts: Acceptance | None, metric: str) -> Pick:
        """Let a search talk to this weight's points."""
        return self.search_all({weight.name: search}, {weight.name: accepts}, metric)[weight.name]

    def search_all(
        self,
        searches: Mapping[str, Search],
        accepts: Mapping[str, Acceptance | None],
        metric: str,
        most: int | None = None,
    ) -> dict[str, Pick]:
        """The same for many weights, a search each; picks by weight.

        Args:
            most: samples, to the end of a block, after which what is known has to be enough.
        """
        weight = self.inventory.weight
        return self._drive(
            {
                name: self._converse(weight(name), search, accepts[name], metric, most)
                for name, search in searches.items()
            }
        )

    def curve(self, weight: Weight, metric: str) -> Curve:
        """What has been asked of this weight so far, and the dense weight with the zeros it has already."""
        dense = Observed(weight.zeros / weight.size, 0.0)
        asked = self._asked[weight.name]
        measured = (self._at(weight, zeros, zeros / weight.size).observed(metric) for zeros in sorted(asked))
        shape = self._shapes.get(weight.name) if metric == self._predicted_metric else None
        return Curve(weight.name, weight.size, (dense, *measured), shape)

    def predict(self, shapes: Mapping[str, PredictedCurve], metric: str) -> None:
        """From now on, let curves of a metric follow these shapes between their points."""
        self._shapes, self._predicted_metric = shapes, metric

    def points(self) -> list[Point]:
        """Everything asked for so far, by weight and zeros."""
        weight = self.inventory.weight
        return [
            self._at(weight(name), zeros, zeros / weight(name).size)
            for name, asked in sorted(self._asked.items())
            for zeros in sorted(asked)
        ]

    def levels(self) -> list[Point]:
        """Every level asked for so far, by weight and level; levels that come to the same zeros are each listed."""
        weight = self.inventory.weight
        return [
            self._point(weight(name), level)
            for name, levels in sorted(self._levels.items())
            for level in sorted(levels)
        ]

    @property
    def spent(self) -> tuple[int, int]:
        """Points and joint runs that were asked for so far, wherever the answers came from."""
        return sum(map(len, self._asked.values())), self._joints.asked_for

    def failures(self) -> dict[str, str]:
        """Weights with a point that could not be measured, and why."""
        points = {point.weight: next(iter(point.failures.values())) for point in self.points() if point.failures}
        return self._not_measured | points

    def joint(
        self,
        levels: Mapping[str, Level],
        split: SplitName,
        metrics: Sequence[str],
        enough: Callable[[Joint], bool] | None = None,
        most: int | None = None,
        base: str = DENSE,
        within: int | None = None,
    ) -> Joint:
        """Many weights at once; see `JointRuns.joint`.

        Args:
            base: the variant that a plan with these levels was carried out as; else weights are changed one by one.
        """
        zeros = {weight.name: self.zeros(weight, levels.get(weight.name, 0.0)) for weight in self.weights}
        changes = tuple(
            Change(weight.name, self.technique_of(weight).name, levels[weight.name])
            for weight in self.weights
            if zeros[weight.name] > weight.zeros and base == DENSE
        )
        variant = Variant(levels, self.sparsity(levels), changes, zeros, base)
        found = self._joints.joint(variant, split, metrics, enough, most, within)
        if self.on_joint is not None and split == "search":
            self.on_joint(found)
        return found

    def look_for_effects(self, weights: Sequence[Weight] | None = None) -> dict[str, Effect]:
        """The canary, on every weight or on these: what zeroing all of it does to the outputs on the scan's samples."""
        asked = self.weights if weights is None else weights
        lacking = [weight for weight in asked if not self._settled(weight.name)]
        self.observer.stage("canary", len(lacking))

        def talk(weight: Weight) -> Talk[None]:
            yield Job(weight.name, canary=self.samples)

        self._drive({weight.name: talk(weight) for weight in lacking})
        return {weight.name: self._effects[weight.name][0] for weight in asked}

    def _settled(self, weight: str) -> bool:
        """An effect that was seen stays; that there is none is only known of the samples looked at."""
        if weight not in self._effects:
            return False
        seen, samples = self._effects[weight]
        return seen in ("effective", "not measured") or samples >= self.samples

    def _converse(
        self, weight: Weight, search: Search, accepts: Acceptance | None, metric: str, most: int | None
    ) -> Talk[Pick]:
        enough = None
        if accepts is not None and not self.sampling.exact:
            enough = self.sampling.decided(accepts, metric, self.samples, most)
        yield from self._measure(weight, search.foreseen, enough)
        conversation = search.search(accepts)
        try:
            level = next(conversation)
            while True:
                if level:
                    yield from self._measure(weight, (level,), enough)
                    observed = self._point(weight, level).observed(metric)
                else:
                    observed = DENSE_POINT
                level = conversation.send(observed)
        except StopIteration as end:
            pick: Pick = end.value
            return pick

    def _measure(self, weight: Weight, levels: Sequence[Level], enough: Enough | None) -> Iterator[Job]:
        """Hand out what is lacking, block by block, until every level has enough samples."""
        asked, technique = self._asked[weight.name], self.technique_of(weight).name
        for level in levels:
            self._levels[weight.name][level] = self.zeros(weight, level)
        pending = {zeros: level for level in levels if (zeros := self.zeros(weight, level)) != weight.zeros}
        stops = self.sampling.stops(self.samples)
        for stop in stops[-1:] if enough is None else stops:
            questions = [
                Question((Change(weight.name, technique, level),), "search", (start, end), metrics)
                for zeros, level in pending.items()
                for (start, end), metrics in self._entry(weight, zeros).lacking(self.metrics, stop).items()
            ]
            if questions:
                yield Job(weight.name, tuple(self.sampling.pieces(questions)))
            for zeros in pending:
                asked[zeros] = max(stop, asked.get(zeros, 0))
            pending = {
                zeros: level for zeros, level in pending.items() if enough and not enough(self._point(weight, level))
            }

    def _drive(self, talks: Mapping[str, Talk[Result]]) -> dict[str, Result]:
        """Let talks about different weights go on, as many at once as the crew has members; results by weight."""
        waiting = deque(talks)
        running: set[str] = set()
        results: dict[str, Result] = {}

        def resume(name: str) -> None:
            try:
                self._crew.give(next(talks[name]))
                running.add(name)
            except StopIteration as end:
                running.discard(name)
                results[name] = end.value

        while waiting or running:
            while waiting and len(running) < self._crew.size:
                resume(waiting.popleft())
            if running:
                done = self._crew.take()
                self._record(done)
                if done.last:
                    resume(done.job.key)
        return {name: results[name] for name in talks}

    def _record(self, done: Done) -> None:
        """Keep a result before anything is made of it."""
        name = done.job.key
        if done.effect is not None:
            assert done.job.canary is not None
            if done.effect == "not measured":
                self._not_measured[name] = str(done.value)  # not stored: the next process gets another chance
            else:
                self._store.put_effect(name, done.effect, done.job.canary)
            self._effects[name] = done.effect, done.job.canary
            self.observer.evaluated(name, done.seconds)
        if done.answer is not None:
            question = done.job.questions[done.index]
            (change,) = question.changes
            weight = self.inventory.weight(name)
            zeros = self.zeros(weight, change.level)
            start = question.samples[0]
            self._store.put_point(change, zeros, weight.size, start, done.answer)
            self._entry(weight, zeros).take(start, done.answer)
            self.observer.evaluated(f"{name} at {change.level:.3g}", done.seconds)

    def _entry(self, weight: Weight, zeros: int) -> Entry:
        return self._entries.setdefault((weight.name, zeros), Entry())

    def _point(self, weight: Weight, level: Level) -> Point:
        return self._at(weight, self.zeros(weight, level), level)

    def _at(self, weight: Weight, zeros: int, level: Level) -> Point:
        """A point as far as it was asked for."""
        technique = self.technique_of(weight).name
        if zeros == weight.zeros:
            unchanged = dict.fromkeys(self.metrics, Measurement(self.samples, 0.0, 0.0, float("nan"), float("nan")))
            return Point(weight.name, technique, level, zeros, weight.size, unchanged, {})
        entry = self._entry(weight, zeros)
        known = entry.after(self.metrics, self._asked[weight.name].get(zeros, 0))
        failures = {metric: why for metric, why in entry.failures.items() if metric in self.metrics}
        return Point(weight.name, technique, level, zeros, weight.size, known, failures)
