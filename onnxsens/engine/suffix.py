"""The suffix evaluator: changing a weight changes nothing upstream of it, so only what is downstream is run.

Answers what the reference evaluator answers, to the last bits of a float32 sum; each weight's route says whether to
the bit. What it cannot do, the reference does: models that draw random numbers, frontiers that no session hands out,
the dense model against itself.

Batches are those of the reference: from the first sample that a question asks for, in steps of the batch size. So a
model whose outputs depend on what else is in the batch (one quantised dynamically does) is run alike. What is held of
a batch serves all questions that cut the samples at the same places; blocks of whole batches always do.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path

from onnxsens.arrays import AnyArray
from onnxsens.data import Split
from onnxsens.engine.answering import KEPT_BYTES, BatchKey, Measures, Variants, batches, failed
from onnxsens.engine.comparing import differ, gather
from onnxsens.engine.dense import DenseByBatch
from onnxsens.engine.devices import device_of
from onnxsens.engine.downstream import DENSE_VALUES, Downstream, same_bits
from onnxsens.engine.fitting import SmallerBatchError
from onnxsens.engine.frontier import Frontiers
from onnxsens.engine.holding import Holding
from onnxsens.engine.joint import JointRuns
from onnxsens.engine.parts import Parts
from onnxsens.engine.places import place_of
from onnxsens.engine.questions import DENSE, Answer, Effect, Question, Routes
from onnxsens.engine.reference import ReferenceEvaluator
from onnxsens.engine.routes import Way
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.shelf import Shelf
from onnxsens.engine.spill import Spill
from onnxsens.errors import EngineBugError, ModelError
from onnxsens.metrics import Metric, Reading
from onnxsens.model import Inventory
from onnxsens.techniques.moments import Moments

ZEROS = "zeros"  # names the session of a part whose weight is zeroed
LIKELY_LEVELS = 9  # that will be asked of a weight, one after another or together; its route is for all of them
SHARES = 8  # of the memory that is given; one is for batches of inputs, one for ranked weights, the rest for tensors
SMALL_SESSIONS = 32 * 2**20  # bytes of weights in sessions that may be held beside those of the whole model


class SuffixEvaluator:
    """Answers by running what is downstream of the changed weight.

    Args:
        metrics, binary, reading: as the reference evaluator's.
        routes: where the chosen routes are kept.
        cache_bytes: memory for tensors of the dense model, of the provider's device.
        spill: a folder for what does not fit in the host's memory; None forbids that, and so does a device.
        say: told, once, of each choice that is made.
        held: whether tensors are held where sessions run; None leaves it to the provider's device.
        moments, bases: as those of `Variants`.
    """

    name = "suffix"

    def __init__(
        self,
        runner: ModelRunner,
        inventory: Inventory,
        split: Split,
        metrics: Sequence[Metric],
        binary: Collection[str],
        reading: Reading,
        *,
        routes: Routes,
        cache_bytes: int,
        spill: Path | None,
        say: Callable[[str], None],
        held: bool | None = None,
        moments: Callable[[str], Moments | None] | None = None,
        bases: Callable[[str], Mapping[str, AnyArray]] | None = None,
    ) -> None:
        self._runner = runner
        self._inventory = inventory
        self._routes = routes
        self._say = say
        self._said: set[str] = set()
        self._measures = Measures(runner.dataset, split, metrics, binary, reading)
        # Batches of inputs and ranked weights are kept for speed alone, as tensors are: out of the same budget.
        share = cache_bytes // SHARES
        runner.keep_feeds(share)
        self._variants = Variants(runner.model, inventory, min(share, KEPT_BYTES), moments, bases)
        self._shelf = Shelf(runner.weight_bytes * 11 // 10 + SMALL_SESSIONS)
        self._parts = Parts(runner)
        self._place = place_of(device_of(runner.provider), held=held)
        # From a device, a tensor would go to a file by way of the host: there it is computed again instead.
        self._holding = Holding(cache_bytes - 2 * share, Spill(spill) if spill and not self._place.holds else None)
        self._dense = DenseByBatch(runner, self._measures, self._shelf)
        self._reference = ReferenceEvaluator(
            runner,
            inventory,
            split,
            metrics,
            binary,
            reading,
            dense=self._dense if runner.random is None else None,
            variants=self._variants,
        )

    def close(self) -> None:
        """Give back sessions, what is held, and the working copy."""
        self._shelf.clear()
        self._place.rest()
        self._holding.close()
        self._reference.close()

    def answer(self, question: Question) -> Answer:
        """One question; several about one weight are better asked together."""
        return next(self.answers([question]))

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """In order. Questions in a row about one weight and the same samples share what they have in common."""
        for (weight, _, _), group in groupby(questions, self._subject):
            asked = list(group)
            while asked:
                try:
                    for answer in map(self._other, asked) if weight is None else self._levels(weight, asked):
                        asked = asked[1:]
                        yield answer
                    break
                except SmallerBatchError:
                    pass
                self._start_again()  # outside of the block: in it, the error keeps what the failed run had

    def effect(self, weight: str, samples: int) -> Effect:
        """The canary: on one batch, then on all. What shows no change is asked of the reference, which saves a model.

        The zeroed weight is compared with the dense one sent the same way, so that rounding is no effect.
        """
        return self._runner.fitting.fitted(lambda: self._effect(weight, samples), self._start_again)

    def _start_again(self) -> None:
        """Let go of all that is held, since memory ran out: batches are others from here on."""
        self._runner.fitting.settle()
        self._rest_joint()
        self._shelf.clear()
        self._place.rest()
        self._holding.clear()
        self._dense.rest()
        self._reference.relieve()  # where random numbers are drawn, it has dense outputs of its own

    def _effect(self, weight: str, samples: int) -> Effect:
        record = self._inventory.weight(weight)
        if record.zeros == record.size or self._why_not(weight) or not self._downstream.reached(weight):
            return self._reference.effect_once(weight, samples)
        keys = batches("search", 0, samples, self._runner.batch_size)
        route = self._downstream.route(weight, keys, LIKELY_LEVELS)
        if route.engine == "reference":
            return self._reference.effect_once(weight, samples)
        for some in (keys[:1], keys[1:]):
            before, after = (self._all(weight, route.weight, variant, some) for variant in (DENSE_VALUES, ZEROS))
            if any(differ(*pair) for pair in zip(before, after, strict=True)):
                return "effective"
        seen = self._reference.effect_once(weight, samples)
        if seen == "effective":
            raise EngineBugError(
                f"zeroing '{weight}' changes the whole model and not the {self.name} engine; please report this"
            )
        return seen

    def _all(self, weight: str, way: Way, variant: str, keys: Sequence[BatchKey]) -> list[Outputs]:
        """The dense weight, or zeros in its place."""
        values = self._runner.model.array(weight) if variant == DENSE_VALUES else self._variants.zeroed(weight)
        return list(self._downstream.run(weight, way, values, variant, keys))

    def _subject(self, question: Question) -> tuple[str | None, str, tuple[int, int]]:
        """The weight that alone is changed, if there is one and a suffix serves, and the samples."""
        single = len(question.changes) == 1 and question.base == DENSE
        weight = question.changes[0].weight if single else None
        return None if weight is None or self._why_not(weight) else weight, question.split, question.samples

    @cached_property
    def _frontiers(self) -> Frontiers:
        """Raises ModelError where the model cannot be loaded with its inner tensors as outputs."""
        indices = self._measures.indices
        return Frontiers(self._runner, self._wanted, indices, self._shelf, self._parts, self._holding, self._place)

    @cached_property
    def _downstream(self) -> Downstream:
        return Downstream(
            self._runner, self._frontiers, self._dense, self._shelf, self._parts, self._place, self._routes, self._tell
        )

    @cached_property
    def _wanted(self) -> tuple[str, ...]:
        """The outputs that metrics may look at."""
        if self._measures.read is not None:
            return (self._measures.read,)
        return self._dense.readable

    @cached_property
    def _joint(self) -> JointRuns:
        return JointRuns(
            self._runner,
            self._inventory,
            self._variants,
            self._frontiers,
            self._dense,
            self._shelf,
            self._parts,
            self._place,
            self._wanted,
        )

    def _rest_joint(self) -> None:
        """Give back what the last variant of many weights holds."""
        if "_joint" in self.__dict__:
            self._joint.rest()

    @cached_property
    def _cannot(self) -> str | None:
        """Why no weight of this model can be asked of us."""
        if self._runner.random is not None:
            return self._runner.random
        try:
            _ = self._frontiers
        except ModelError as error:
            return f"its inner tensors cannot be had: {error}"
        return None

    def _why_not(self, weight: str) -> str | None:
        """Why a weight is the reference's."""
        if self._cannot is not None:
            self._tell(f"the whole model is run for every point: {self._cannot}")
            return self._cannot
        why = self._frontiers.why_not(weight)
        if why is not None:
            self._tell(f"the whole model is run for '{weight}': {why}")
        return why

    def _tell(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _other(self, question: Question) -> Answer:
        """Many weights, none at all, another base, or one that is the reference's."""
        if len(question.changes) > 1 and question.base == DENSE and self._cannot is None:
            started = time.perf_counter()
            keys = batches(question.split, *question.samples, self._runner.batch_size)
            try:
                dense = self._dense.outputs(question.split, *question.samples)
                if self._joint.route(self._routes, keys, self._tell).engine == "suffix":
                    self._reference.rest()
                    parts = self._joint.run(question.changes, keys)
                    pruned = gather(parts, self._measures.reading)
                    return self._measures.answer(question, dense, pruned, started, "suffix (inputs)")
            except ModelError as error:
                return failed(question, str(error), started, "suffix (inputs)")
        if self._runner.weight_bytes > SMALL_SESSIONS:
            self._shelf.clear()  # the reference holds a session of its own
        return self._reference.answer_once(question)

    def _levels(self, weight: str, questions: Sequence[Question]) -> Iterator[Answer]:
        """Changes of one weight, on the same samples."""
        started = time.perf_counter()
        split, samples = questions[0].split, questions[0].samples
        keys = batches(split, *samples, self._runner.batch_size)
        try:
            dense = self._dense.outputs(split, *samples)
            if not self._downstream.reached(weight):
                for question in questions:
                    yield self._measures.answer(question, dense, dense, started, f"{self.name} (not downstream)")
                    started = time.perf_counter()
                return
            route = self._downstream.route(weight, keys, max(len(questions), LIKELY_LEVELS))
            if route.engine == "reference":
                yield from map(self._other, questions)
                return
            self._reference.rest()
            self._rest_joint()
            chunks = self._downstream.chunks(weight, keys, len(questions))
        except ModelError as error:
            yield from (failed(question, str(error), started, self.name) for question in questions)
            return
        yield from self._walk(weight, questions, route.weight, chunks, dense, started)

    def _walk(
        self,
        weight: str,
        questions: Sequence[Question],
        way: Way,
        chunks: Sequence[Sequence[BatchKey]],
        dense: Outputs,
        started: float,
    ) -> Iterator[Answer]:
        """Every question on a chunk of the samples, then on the next; so each chunk's frontier is made once."""
        engine = f"{self.name} ({way})"
        parts: list[list[Outputs]] = [[] for _ in questions]
        spent = [0.0] * len(questions)
        broken = [""] * len(questions)
        for chunk in chunks:
            for number, question in enumerate(questions):
                try:
                    if not broken[number]:
                        parts[number] += self._outputs(weight, question, way, chunk)
                        if chunk is chunks[-1]:
                            parts[number] = [gather(parts[number], self._measures.reading)]
                except ModelError as error:
                    broken[number] = str(error)
                spent[number] += time.perf_counter() - started
                if chunk is chunks[-1]:
                    began = time.perf_counter() - spent[number]
                    if broken[number]:
                        yield failed(question, broken[number], began, engine)
                    else:
                        yield self._measures.answer(question, dense, parts[number][0], began, engine)
                    parts[number] = []
                started = time.perf_counter()
            if len(chunks) > 1:
                self._downstream.forget(weight, chunk)

    def _outputs(self, weight: str, question: Question, way: Way, keys: Sequence[BatchKey]) -> list[Outputs]:
        """A variant's outputs, batch by batch; those that do not depend on the weight are the dense model's."""
        values = self._variants.values(question.changes)[weight]
        if same_bits(values, self._runner.model.array(weight)):
            return [self._dense.batch(key) for key in keys]
        reached = self._downstream.reached(weight)
        changed = self._downstream.run(weight, way, values, question.changes, keys)
        return [
            {name: value for name, value in self._dense.batch(key).items() if name not in reached} | outputs
            for key, outputs in zip(keys, changed, strict=True)
        ]
