"""Lagrangian: one price per zero for all weights, and for each the level that is best at that price."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.multiple_choice import Allocation, Choices, rated, relax
from onnxsens.plan.pickers.offers import AdditiveFamily
from onnxsens.plan.pickers.picker import Ground, Picker


@dataclass(frozen=True)
class Lagrangian(Picker):
    """Each weight at the level of least loss - price * zeros; the lowest price at which there are zeros enough.

    Source: Everett, Oper. Res. 11 (1963) 399-417: what is best at a price is best for the zeros that it has. Levels
    off the convex hull of a curve are best at no price, so between two corners it has more zeros than it needs; its
    gap says what that may have cost.
    """

    name: ClassVar[str] = "lagrangian"

    def family(self, ground: Ground) -> AdditiveFamily:
        """Curves once; a target is then a price."""
        return AdditiveFamily(ground, priced)


def priced(weights: Sequence[Choices], wanted: int) -> Allocation:
    """The solution of the relaxed problem with its one share rounded up.

    A weight changes its choice at the slopes of its hull only, so the price is one of those: what a bisection would
    come to is found by sorting them. Of weights that change at the same price, only as many do as are needed.
    """
    relaxed = relax(weights, wanted)
    return rated(weights, relaxed.picks, relaxed.bound)
