"""Ways to carry a plan out, by name, and what comes of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from onnxsens.arrays import AnyArray
from onnxsens.techniques.layer import Masks


@dataclass(frozen=True)
class Method:
    """How a plan is carried out.

    Attributes:
        update: of the kept elements; empty for none.
        masks: which elements go: those that the technique's criterion says, or by ALPS.
        sequential: take inputs from the network as pruned so far; else from the dense one.
        bias: let biases take the means.
        statistics: set the statistics of a BatchNormalization after a weight to what it gets now.
        rows: of inputs that are looked at for each weight, at most.
    """

    update: str = "refit"
    masks: Masks = "alps"
    sequential: bool = True
    bias: bool = True
    statistics: bool = False
    rows: int = 65_536


METHODS: Mapping[str, Method] = {
    "none": Method(update="", masks="criterion", sequential=False, bias=False),
    "bias": Method(update="", masks="criterion", bias=True),
    "batchnorm": Method(update="", masks="criterion", bias=False, statistics=True),
    "obs": Method(update="obs", masks="criterion", sequential=False, bias=False),
    "refit": Method(update="refit", masks="criterion", sequential=False),
    "sequential": Method(update="refit", masks="criterion"),
    "reconstruct": Method(),
}


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """A plan carried out.

    Attributes:
        values: stored tensor to its new values, of its stored type and shape: weights, biases, statistics.
        why_not: weights that are masked only, and why.
        kept_rows: by weight, output rows that keep their old values, because new ones lose more.
    """

    values: Mapping[str, AnyArray]
    why_not: Mapping[str, str]
    kept_rows: Mapping[str, int]
