"""What is to be planned, with what, and what it is counted in."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from onnxsens.arrays import AnyArray, FloatArray
from onnxsens.engine import Effect
from onnxsens.errors import GoalError
from onnxsens.metrics import Declaring
from onnxsens.model import Model, Weight, dense_matrix, stored_values
from onnxsens.plan.budgets import CompressedBytes, Macs, Saving, Zeros
from onnxsens.plan.climbing import Carrying
from onnxsens.plan.goal import Goal
from onnxsens.plan.pickers.allowed import Allowed, AnyLevel
from onnxsens.scan import Scanner


@dataclass(frozen=True)
class Task:
    """What is to be planned, and with what.

    Attributes:
        metrics: every metric the scanner measures, by spec.
        binary: those whose per-sample values are 0 or 1.
        search_metric: the one that tolerances are on.
        effects: what each weight means to the outputs; one that changes none is left dense, since nothing is known
            of what pruning it does.
        carrying: how plans are carried out as a whole, where kept elements are updated.
        macs: per sample, by weight; None where they are not known.
        allowed: levels that weights may have; any, where it says nothing.
        seed: of the refinement.
    """

    scanner: Scanner
    model: Model
    metrics: Mapping[str, Declaring]
    binary: Collection[str]
    search_metric: str
    goal: Goal
    effects: Mapping[str, Effect]
    carrying: Carrying | None = None
    macs: Mapping[str, int] | None = None
    allowed: AnyLevel = field(default_factory=dict)
    seed: int = 0

    def matrix(self, weight: Weight) -> FloatArray:
        """A weight's dense values `[out, in]`."""
        return dense_matrix(self.model, weight)

    @property
    def live(self) -> list[Weight]:
        """The weights that change an output and may be pruned, in graph order."""
        return [
            weight
            for weight in self.scanner.weights
            if self.effects[weight.name] == "effective" and not self.allowed.get(weight.name, Allowed()).fixed
        ]


def limited(task: Task) -> AnyLevel:
    """The limits that are any, of weights that may be pruned."""
    free = Allowed()
    return {weight.name: own for weight in task.live if (own := task.allowed.get(weight.name, free)) != free}


def saving_of(task: Task) -> Saving:
    """What the goal counts.

    Raises:
        GoalError: MACs, and they are not known.
    """
    if task.goal.macs is not None:
        if task.macs is None:
            raise GoalError("MACs of this model are not known, so it has no budget of them; give --sparsity or --size")
        return Macs(task.scanner, task.macs)
    if task.goal.size is not None:

        def stored(weight: Weight, level: float) -> AnyArray:
            pruned = task.scanner.technique.without_moments().once(task.matrix(weight), level)
            return stored_values(task.model, weight, pruned)

        return CompressedBytes(task.scanner, stored)
    return Zeros(task.scanner)
