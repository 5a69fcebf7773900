"""Whole plans, measured as a whole: from the store or the engine, on as many samples as it takes."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from onnxsens.engine.questions import DENSE, Change, Evaluator, Question, SplitName
from onnxsens.scan.ledger import Entry
from onnxsens.scan.observers import Observer
from onnxsens.scan.points import Joint
from onnxsens.scan.sampling import Sampling
from onnxsens.scan.searches import Level
from onnxsens.scan.store import Store


@dataclass(frozen=True)
class Variant:
    """A plan to be run.

    Attributes:
        changes: of the weights that get more zeros than they have.
        zeros: of every weight.
        base: what changes apply to; a plan that was carried out has none besides.
    """

    levels: Mapping[str, Level]
    sparsity: float
    changes: tuple[Change, ...]
    zeros: Mapping[str, int]
    base: str = DENSE

    @property
    def name(self) -> str:
        """Of a combination: equal zeros on the same base, equal name."""
        if self.base != DENSE:
            return self.base
        parts = [[change.weight, change.technique, self.zeros[change.weight]] for change in sorted(self.changes)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class JointRuns:
    """Joint runs of one technique, each sample of a variant run once.

    Args:
        sizes: samples in each split.
    """

    def __init__(
        self,
        store: Store,
        evaluator: Evaluator,
        sampling: Sampling,
        sizes: Mapping[SplitName, int],
        observer: Observer,
    ) -> None:
        self._store = store
        self._evaluator = evaluator
        self._sampling = sampling
        self._sizes = sizes
        self._observer = observer
        self._entries: dict[tuple[str, SplitName], Entry] = {}
        self._asked: dict[tuple[str, SplitName], int] = {}

    @property
    def asked_for(self) -> int:
        """How many variants, on a split each."""
        return len(self._asked)

    def joint(
        self,
        variant: Variant,
        split: SplitName,
        metrics: Sequence[str],
        enough: Callable[[Joint], bool] | None = None,
        most: int | None = None,
        within: int | None = None,
    ) -> Joint:
        """What a plan loses; per-sample drops are kept for the hold-out split, which is always taken whole.

        Args:
            enough: whether what is known is enough for who asks; without it, and with `exact`, all samples are taken.
            most: how many samples are asked for at most, to the end of a block.
            within: the first so many of the split are all that may be looked at.
        """
        key = (variant.name, split)
        if key not in self._entries:
            self._entries[key] = Entry.of(self._store.joint(*key))
        entry = self._entries[key]
        ends = (self._sizes[split],) if split == "holdout" else self._sampling.stops(self._sizes[split])
        if within is not None:
            ends = (*(end for end in ends if end < within), min(within, ends[-1]))
        found: Joint | None = None
        for end in self._stops(ends, enough, most):
            # What is known already decides better than less; but plans are compared on equal samples.
            asked = self._asked.get(key, 0)
            stop = end if enough is None else max(end, asked)
            self._measure(variant, split, entry, metrics, stop)
            self._asked[key] = max(stop, asked)
            failures = {name: text for name, text in entry.failures.items() if name in metrics}
            found = Joint(variant.levels, variant.sparsity, entry.after(metrics, stop), failures)
            if enough is not None and enough(found):
                break
        assert found is not None
        return found

    def _measure(
        self,
        variant: Variant,
        split: SplitName,
        entry: Entry,
        metrics: Sequence[str],
        stop: int,
    ) -> None:
        """What is lacking of the first `stop` samples; block by block, so that what needs less can be told later."""
        questions = [
            Question(variant.changes, split, where, lacking, split == "holdout", variant.base)
            for where, lacking in entry.lacking(metrics, stop).items()
        ]
        for question in self._sampling.pieces(questions) if split == "search" else questions:
            answer = self._evaluator.answer(question)
            self._store.put_joint(variant.name, split, question.samples[0], answer)
            entry.take(question.samples[0], answer)
            what = f"{len(variant.changes)} weights" if variant.base == DENSE else "a plan carried out"
            self._observer.evaluated(f"{what}, {variant.sparsity:.1%} zeros", answer.seconds)

    def _stops(self, ends: Sequence[int], enough: Callable[[Joint], bool] | None, most: int | None) -> Sequence[int]:
        """Where a joint run may end."""
        if self._sampling.exact or (enough is None and most is None):
            return ends[-1:]
        within = [end for end in ends if most is None or end <= most] or ends[:1]
        return within if enough is not None else within[-1:]
