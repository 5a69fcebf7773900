"""What a target is: which weights it takes zeros in, in which pattern and at which levels, and what they gain there.

A target claims what its sources say, and no number of ours: how much faster a model gets is measured or not said.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from onnxsens.errors import UsageError
from onnxsens.model import Weight
from onnxsens.techniques.patterns import make_pattern

Cost: TypeAlias = Literal["bytes", "macs", "zeros"]
Speedup: TypeAlias = Literal["no", "maybe", "yes"]
Reason: TypeAlias = Callable[[Weight], str | None]


def no_reason(weight: Weight) -> None:
    """Nothing is to be said against any weight."""


@dataclass(frozen=True)
class Target:
    """A runtime, an accelerator, or a use of the file.

    Attributes:
        name: what it is chosen by.
        title: whose it is, in words.
        technique_pattern: the pattern that zeros must have; None where any will do.
        operators: of which the weights must be, all that multiply by them; none are named where any will do.
        dtypes: as which they must be stored; none are named where any will do.
        levels: sparsities that a weight may have, besides staying dense; None for any.
        least: a sparsity under which there is no gain; None where every zero counts.
        cost: what zeros save there: compressed bytes, multiply-accumulates, or nothing but their own number.
        speedup: whether a model is expected to be faster: never, where the runtime sees fit, or always.
        line: the truth about it, in one sentence.
        sources: where that is from.
        unfit: what else keeps a weight dense.
        doubt: why a weight that is taken may gain nothing.
    """

    name: str
    title: str
    technique_pattern: str | None
    operators: tuple[str, ...]
    dtypes: tuple[str, ...]
    levels: tuple[float, ...] | None
    least: float | None
    cost: Cost
    speedup: Speedup
    line: str
    sources: tuple[str, ...]
    unfit: Reason = no_reason
    doubt: Reason = no_reason

    def __post_init__(self) -> None:
        if self.technique_pattern is not None:
            make_pattern(self.technique_pattern)
        for level in (*(self.levels or ()), *(() if self.least is None else (self.least,))):
            if not 0 < level < 1:
                raise UsageError(f"target '{self.name}' has the sparsity {level}; give one in (0, 1)")

    def refuses(self, weight: Weight) -> str | None:
        """Why a weight has to stay dense; None where it need not."""
        for consumer in weight.consumers:
            if self.operators and consumer.operator not in self.operators:
                return f"{consumer.operator} is none of {', '.join(self.operators)}"
        if self.dtypes and weight.dtype not in self.dtypes:
            return f"stored as {weight.dtype}, not as {' or '.join(self.dtypes)}"
        if reason := self.unfit(weight):
            return reason
        if self.technique_pattern is None:
            return None
        return make_pattern(self.technique_pattern).refuses(weight.matrix_shape, weight.channels)
