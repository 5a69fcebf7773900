"""The one place where the benchmarks reach into onnxsens: a model opened, its evaluators, and questions to them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxsens.engine import Change, Evaluator, ModelRunner, Question, ReferenceEvaluator
from onnxsens.options import Options
from onnxsens.station import Station


@dataclass(frozen=True)
class Opened:
    """A model with its samples, ready for questions.

    Attributes:
        weights: names of those that are planned, in the file's order.
        macs: per sample, by weight.
        samples: of the search split; all of them are asked about.
        fast, reference: the evaluator that the commands use, and one session a variant; both new, nothing measured yet.
        batches: the same samples as model inputs, in the same order.
        plain_model: the file that plain inference loads.
    """

    weights: Sequence[str]
    macs: Mapping[str, int]
    samples: int
    metrics: Sequence[str]
    fast: Evaluator
    reference: Evaluator
    batches: Sequence[Mapping[str, np.ndarray]]
    threads: int
    providers: Sequence[str]
    plain_model: Path
    technique: str

    def question(self, weight: str, level: float) -> Question:
        """What one weight at one level costs on all samples."""
        return Question((Change(weight, self.technique, level),), "search", (0, self.samples), tuple(self.metrics))


def can_budget() -> bool:
    """Whether this version takes a memory budget for what it keeps of the dense run."""
    return "cache_memory" in {field.name for field in fields(Options)}


def with_budget(options: Options, budget: int) -> Options:
    """The options with that budget, in bytes."""
    settings: dict[str, Any] = {"cache_memory": budget}
    return replace(options, **settings)


def plain_inference(bench: Opened) -> Callable[[], None]:
    """What runs all batches in a session that is ready and has run before."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = bench.threads
    session = onnxruntime.InferenceSession(str(bench.plain_model), settings, providers=list(bench.providers))
    if session.get_providers()[0] != bench.providers[0]:
        raise SystemExit(f"{bench.providers[0]} did not start; there is nothing to compare with")

    def run() -> None:
        for batch in bench.batches:
            session.run(None, batch)

    run()
    return run


@contextmanager
def opened(
    model: Path, options: Options, metrics: Sequence[str], samples: int, *, alone: bool = False
) -> Iterator[Opened]:
    """Open a model as the commands do.

    Args:
        samples: at most; all that there are belong to the search split, nothing is held out.
        alone: leave out MACs and the batches for plain inference, which take memory that the evaluator does not.
    """
    with Station(model, options, tuple(metrics), whole=True) as bench:
        macs = {} if alone else bench.macs()
        indices = bench.split.search[:samples]
        size = bench.recipe.batch_size
        starts = () if alone else range(0, len(indices), size)
        # A runner of its own, that runs one batch after the other on all threads, as whoever writes such a loop does.
        runner = ModelRunner(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
        bench.closing.callback(runner.close)
        reference = ReferenceEvaluator(
            runner,
            bench.inventory,
            bench.split,
            list(bench.metrics.values()),
            bench.binary,
            bench.outlook.reading,
        )
        yield Opened(
            [weight.name for weight in bench.inventory.weights],
            macs,
            len(indices),
            tuple(metrics),
            bench.evaluator,
            reference,
            [dict(bench.dataset.batch(indices[start : start + size])) for start in starts],
            bench.recipe.threads,
            bench.provider.stack,
            bench.model.path,
            bench.technique.name,
        )
