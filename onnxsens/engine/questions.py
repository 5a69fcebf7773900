"""The seam between those who want to know and those who run models: questions and answers.

Small records; no session, model or weight crosses, so the same evaluator can serve in this process, in a worker that
may die, or on another machine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from onnxsens.arrays import Float64Array

SplitName = Literal["search", "holdout"]

# Whether a weight matters to the outputs on some samples: zeroing all of it changes what the metrics read; changes
# other outputs only; its operators run, and yet no output changes; none of them runs that an output depends on; or it
# is not known, since every process dies of it. Of all but the first nothing is learnt by pruning them.
Effect = Literal["effective", "other outputs", "no effect", "not executed", "not measured"]
DENSE = "dense"


@dataclass(frozen=True, order=True, slots=True)
class Change:
    """One weight at one level of a technique."""

    weight: str
    technique: str
    level: float


@dataclass(frozen=True)
class Question:
    """What do these changes, together, cost on these samples?

    Attributes:
        changes: none at all asks for the dense model run again, in a session that has run before.
        samples: `[start, stop)` in the order of the split.
        metrics: specs, as in `Metric.name`.
        values: whether per-sample drops are wanted too.
        base: what the changes apply to; only the dense model so far.
    """

    changes: tuple[Change, ...]
    split: SplitName
    samples: tuple[int, int]
    metrics: tuple[str, ...]
    values: bool = False
    base: str = DENSE


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one variant over some samples, dense and pruned side by side.

    Attributes:
        samples: how many.
        total, squares: sum and sum of squares of the per-sample drops; of a whole-set metric, `samples` times the
            drop, and what gives its bootstrap standard error.
        dense, pruned: the metric's value over the samples, in its unit.
        extendable: whether more samples can be added to the sums; a whole-set metric's cannot.
        binary: whether every per-sample value, dense and pruned, was 0 or 1.
        drops: per-sample drops `[samples]` where asked; of a whole-set metric, bootstrap draws of its drop.
    """

    samples: int
    total: float
    squares: float
    dense: float
    pruned: float
    extendable: bool = True
    binary: bool = False
    drops: Float64Array | None = field(default=None, compare=False, repr=False)

    @property
    def drop(self) -> float:
        """Quality lost per sample; positive = worse, whatever the metric's own direction."""
        return self.total / self.samples

    @property
    def standard_error(self) -> float:
        """Of the drop; 0 for a single sample."""
        if self.samples < 2:
            return 0.0
        variance = max(0.0, self.squares - self.total**2 / self.samples) / (self.samples - 1)
        return float((variance / self.samples) ** 0.5)

    def extended(self, more: "Measurement") -> "Measurement":
        """Both sets of samples together."""
        samples = self.samples + more.samples
        return Measurement(
            samples,
            self.total + more.total,
            self.squares + more.squares,
            (self.dense * self.samples + more.dense * more.samples) / samples,
            (self.pruned * self.samples + more.pruned * more.samples) / samples,
            binary=self.binary and more.binary,
        )


@dataclass(frozen=True)
class Answer:
    """What was measured, and how.

    Attributes:
        measurements: by metric spec; a metric is either here or in `failures`.
        failures: metric spec to the reason, one line.
        seconds: wall time of the runs, metrics included.
        engine: which evaluator.
    """

    measurements: dict[str, Measurement]
    failures: dict[str, str]
    seconds: float
    engine: str


@dataclass(frozen=True)
class Route:
    """How the variants of one weight are run; part of the recipe, since another may change last bits.

    Attributes:
        engine: who runs them.
        weight: how the changed weight gets in: before the head of what is downstream is built anew for each level, as
            an input of one session, or before all that is downstream is built anew.
        exact: whether the dense weight, sent this way, gave the very bits of the whole model.
        why: one line: what was measured, or why the suffix cannot be used.
    """

    engine: Literal["suffix", "reference"]
    weight: Literal["split", "input", "rebuilt"]
    exact: bool
    why: str


class Routes(Protocol):
    """Where routes are kept, so that a resumed run and every worker take the same one."""

    def known(self, weight: str) -> Route | None:
        """What was chosen for a weight; the empty name is that of joint runs."""

    def keep(self, weight: str, route: Route) -> None:
        """From now on it is this one."""


class Evaluator(Protocol):
    """Answers questions about one model on one data set."""

    name: str

    def answer(self, question: Question) -> Answer:
        """Measure. A metric that fails, or a variant that cannot run, is in the answer and not an exception."""

    def answers(self, questions: Sequence[Question]) -> Iterator[Answer]:
        """Several questions, answered in order; levels of one weight in a row may share what they have in common."""

    def effect(self, weight: str, samples: int) -> Effect:
        """The canary: what zeroing the whole weight does to the outputs on the first `samples` of the search split.

        Raises:
            EngineBugError: a freshly saved model says otherwise than this evaluator.
            ModelError: it cannot be found out whether the weight's operators run.
        """

    def close(self) -> None:
        """Give back sessions and temporary files."""
