"""A picker turns what is known of each weight into a level for every weight, as a family of ever bolder plans.

Knows curves and weights; no engine, no joint measurement. The ensemble decides how bold is still good enough.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from onnxsens.arrays import FloatArray
from onnxsens.model import Weight
from onnxsens.scan import Scanner
from onnxsens.scan.searches import Level

Levels = Mapping[str, Level]

# No formula goes beyond: a whole weight at zero is a search's decision.
HIGHEST_SPARSITY = 0.9999


@dataclass(frozen=True)
class Ground:
    """What pickers stand on.

    Attributes:
        weights: those that may be planned, in graph order.
        matrix: a weight's dense values `[out, in]`.
        metric: the one to search by; larger drop = worse, on any scale.
        step, resolution: of the searches, in sparsity.
        prices: by weight, where other things than zeros are counted.
    """

    scanner: Scanner
    weights: Sequence[Weight]
    matrix: Callable[[Weight], FloatArray]
    metric: str
    step: float
    resolution: float
    prices: Mapping[str, int] = field(default_factory=dict)

    def price(self, weight: Weight) -> int:
        """What a zero of this weight saves, on the scale of what is counted; 1 where zeros are."""
        return self.prices.get(weight.name, 1)


class Family(ABC):
    """Plans of one picker, from the dense model (0) to the boldest (`highest`).

    Attributes:
        kind: families of one kind mean the same by boldness.
        start: where to begin looking.
        stride: a first step from there; how far apart noticeably different plans are.
        precision: a difference in boldness that no longer matters.
        gap: of a family that minimises a sum of losses, by what share some sum so far may be above the least; 0 = none.
    """

    kind: ClassVar[str]
    highest: float
    start: float
    stride: float
    precision: float
    gap: float | None = None

    @abstractmethod
    def propose(self, boldness: float) -> dict[str, Level]:
        """A level for every weight; at 0 all are 0, and more boldness never means less sparsity."""

    def settle(self, boldness: float, most: int | None = None) -> dict[str, Level] | None:
        """The same, with every level looked for as finely as the picker can; None where `propose` is that already.

        What is measured on the way makes later proposals near this boldness finer too.

        Args:
            most: samples that a point may take, to the end of a block; as many as it needs without.
        """
        return None


class Picker(ABC):
    """One way to choose. A frozen dataclass in a file of its own."""

    name: ClassVar[str]
    baseline: ClassVar[bool] = False  # known methods, there to be compared with

    @abstractmethod
    def family(self, ground: Ground) -> Family:
        """Prepare once, propose many times."""


def total_sparsity(ground: Ground, levels: Levels) -> float:
    """Zeros over all elements of all prunable weights, those that stay dense included."""
    return ground.scanner.sparsity(levels)


class TargetFamily(Family):
    """Plans made for a total sparsity; boldness is that sparsity."""

    kind: ClassVar[str] = "sparsity"

    def __init__(self, allocate: Callable[[float], dict[str, Level]]) -> None:
        self._allocate = allocate
        self.highest = HIGHEST_SPARSITY
        self.start = 0.25
        self.stride = 0.125
        self.precision = 1 / 64

    def propose(self, boldness: float) -> dict[str, Level]:
        """Levels that make `boldness` zeros in all, as nearly as the rule can."""
        return self._allocate(min(boldness, self.highest))


def scaled(levels: Levels, share: float) -> dict[str, Level]:
    """Every compression ratio to the power of `share`: 0 is dense, 1 leaves the levels as they are."""
    return {
        name: 1 - (1 - min(level, HIGHEST_SPARSITY)) ** share if share < 1 else level for name, level in levels.items()
    }
