"""An evaluator whose questions go to processes of a crew."""

from collections.abc import Iterator, Sequence

from onnxsens.engine.crew import Job
from onnxsens.engine.questions import Answer, Effect, Question
from onnxsens.engine.workers import Workers


class Asked:
    """An evaluator whose questions are answered by a crew, in which nothing else is under way meanwhile."""

    name = "workers"

    def __init__(self, crew: Workers) -> None:
        self._crew = crew

    def answer(self, question: Question) -> Answer:
        """As the crew's evaluator."""
        self._crew.give(Job("", (question,)))
        answer = self._crew.take().answer
        assert answer is not None
        return answer

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """One after the other."""
        yield from map(self.answer, questions)

    def effect(self, weight: str, samples: int) -> Effect:
        """As the crew's evaluator."""
        self._crew.give(Job(weight, canary=samples))
        effect = self._crew.take().effect
        assert effect is not None
        return effect

    def close(self) -> None:
        """The crew is its owner's."""
