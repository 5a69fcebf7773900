"""The reference evaluator: the whole model, one session a variant, every sample. Slow, and right.

A faster evaluator has to give the answers that this one gives.
"""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence

from onnxsens.arrays import AnyArray
from onnxsens.data import Split
from onnxsens.engine.answering import Measures, Variants, failed
from onnxsens.engine.comparing import differ, gather
from onnxsens.engine.dense import DenseByRange, DenseOutputs
from onnxsens.engine.executions import TooManyExecutionsError
from onnxsens.engine.questions import DENSE, Answer, Change, Effect, Question
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.sessions import Session
from onnxsens.engine.shapes import executed_weights
from onnxsens.errors import EngineBugError, ModelError
from onnxsens.metrics import Metric, Reading
from onnxsens.model import Inventory


class ReferenceEvaluator:
    """Answers by running the whole model for every question.

    Args:
        metrics: every metric a question may name.
        binary: those of them whose per-sample values are 0 or 1.
        reading: which output they read, and how.
        dense: who has the dense model's outputs; by default they are made here.
        variants: who has the values of changed weights.
    """

    name = "reference"

    def __init__(
        self,
        runner: ModelRunner,
        inventory: Inventory,
        split: Split,
        metrics: Sequence[Metric],
        binary: Collection[str],
        reading: Reading,
        *,
        dense: DenseOutputs | None = None,
        variants: Variants | None = None,
    ) -> None:
        self._runner = runner
        self._inventory = inventory
        self._reading = reading
        self._measures = Measures(runner.dataset, split, metrics, binary, reading)
        self._indices = self._measures.indices
        self._dense = dense or DenseByRange(runner, self._indices, reading)
        self._variants = variants or Variants(runner.model, inventory)
        self._executed: dict[int, set[str]] = {}
        self._warm: tuple[tuple[str, tuple[Change, ...]], Session] | None = None

    def close(self) -> None:
        """Give back the working copy."""
        self.rest()
        self._runner.close()

    def rest(self) -> None:
        """Give back the session of the last variant."""
        self._warm = None

    def answer(self, question: Question) -> Answer:
        """Run the variant over the samples and compare it with the dense model, batch by batch."""
        return self._runner.fitting.fitted(lambda: self.answer_once(question), self.relieve)

    def relieve(self) -> None:
        """Let go of what is held, since memory ran out."""
        self.rest()
        self._dense.rest()

    def answer_once(self, question: Question) -> Answer:
        """For whoever asks again by itself.

        Raises:
            SmallerBatchError: it is to be asked again.
        """
        started = time.perf_counter()
        start, stop = question.samples
        try:
            dense = self._dense.outputs(question.split, start, stop)
            indices = self._indices[question.split][start:stop]
            if changes_anything(question):
                variant = self._runner.run(self._session(question), indices, self._measures.read)
            else:
                variant = self._runner.second_outputs(indices, self._measures.read)
            pruned = gather(list(variant), self._reading)
        except ModelError as error:
            if not changes_anything(question):
                raise  # the dense model itself does not run: nothing can be measured
            return failed(question, str(error), started, self.name)
        return self._measures.answer(question, dense, pruned, started, self.name)

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """One after another."""
        return map(self.answer, questions)

    def effect(self, weight: str, samples: int) -> Effect:
        """Zero the weight and look for a changed output; where there is none, see whether it took part at all."""
        return self._runner.fitting.fitted(lambda: self.effect_once(weight, samples), self.relieve)

    def effect_once(self, weight: str, samples: int) -> Effect:
        """As `answer_once`."""
        record = self._inventory.weight(weight)
        if record.zeros < record.size:
            zeros = {weight: self._variants.zeroed(weight)}
            if self._changes_what_is_read(zeros, samples):
                return "effective"
            if self._changes_any_output(weight, zeros, samples):
                return "other outputs"
        if samples not in self._executed:
            try:
                self._executed[samples] = executed_weights(self._runner, self._indices["search"][:samples])
            except TooManyExecutionsError:
                # What is known is that no output changes; which of the two reasons it has is not worth a run's end.
                self._executed[samples] = {each.name for each in self._inventory.weights}
        return "no effect" if weight in self._executed[samples] else "not executed"

    def _session(self, question: Question) -> Session:
        """The last variant's, where it is asked for again; a model that draws random numbers has a new one each time.

        There, one that has run before is in another state than a new one.
        """
        key = question.base, question.changes
        if self._warm is not None and self._warm[0] == key:
            return self._warm[1]
        self._warm = None  # before the next one takes its memory
        session = self._runner.session(self._variants.values(question.changes, question.base))
        if self._runner.random is None:
            self._warm = key, session
        return session

    def _changes_what_is_read(self, zeros: Mapping[str, AnyArray], samples: int) -> bool:
        """In one batch, or in all."""
        for count in sorted({min(self._runner.batch_size, samples), samples}):
            dense = self._dense.outputs("search", 0, count)
            variant = gather(list(self._runner.outputs(zeros, self._indices["search"][:count])), self._reading)
            if differ(self._measures.of_interest(dense), variant):
                return True
        return False

    def _changes_any_output(self, weight: str, zeros: Mapping[str, AnyArray], samples: int) -> bool:
        """Outputs that no metric reads count too; if none changes, a saved model is asked."""
        indices = self._indices["search"][:samples]
        saved = self._runner.saved_outputs(zeros, indices)
        changed = self._runner.all_outputs(zeros, indices)
        others = False
        for dense, variant, by_file in zip(self._runner.all_outputs({}, indices), changed, saved, strict=True):
            others = others or differ(dense, variant)
            if not others and differ(dense, by_file):
                raise EngineBugError(
                    f"zeroing '{weight}' changes a freshly saved model and not the {self.name} engine; "
                    "please report this"
                )
        return others


def changes_anything(question: Question) -> bool:
    """Whether it is about another model than the dense one."""
    return bool(question.changes) or question.base != DENSE
