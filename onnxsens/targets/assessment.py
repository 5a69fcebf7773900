"""Which weights of a model a target takes zeros in, and why not the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxsens.model import Model, Weight, take_inventory
from onnxsens.targets.profile import Target


@dataclass(frozen=True)
class Judgement:
    """What a target says of a weight.

    Attributes:
        refusal: why it has to stay dense; None where it is eligible.
        doubt: why an eligible one may gain nothing; None where nothing speaks against it.
    """

    weight: Weight
    refusal: str | None
    doubt: str | None


@dataclass(frozen=True)
class Assessment:
    """What a target says of every prunable weight of a model, in graph order.

    Attributes:
        model: the name of its file.
    """

    target: Target
    model: str
    judgements: Sequence[Judgement]

    @property
    def eligible(self) -> list[Judgement]:
        """Those of the weights that need not stay dense."""
        return [judgement for judgement in self.judgements if judgement.refusal is None]


def assess(target: Target, weights: Sequence[Weight]) -> list[Judgement]:
    """Judge every weight."""
    judged = [(weight, target.refuses(weight)) for weight in weights]
    return [Judgement(weight, reason, None if reason else target.doubt(weight)) for weight, reason in judged]


def look_up(target: Target, model: Model) -> Assessment:
    """Judge every prunable weight of a model; nothing of it is run."""
    return Assessment(target, model.path.name, assess(target, take_inventory(model).weights))
