"""The knapsack over whole curves: every weight's level at once, for the least predicted loss at a total sparsity."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.multiple_choice import allocate
from onnxsens.plan.pickers.offers import AdditiveFamily
from onnxsens.plan.pickers.picker import Ground, Picker


@dataclass(frozen=True)
class Knapsack(Picker):
    """One level for each weight such that losses sum to the least, were they to add up.

    Source: Frantar & Alistarh, SPDY, ICML 2022, arXiv:2201.13096, for the framing; they rescale the losses by a search
    on joint runs, which is left to the ensemble here.
    """

    name: ClassVar[str] = "knapsack"

    def family(self, ground: Ground) -> AdditiveFamily:
        """Curves once; a target is then one integer programme."""
        return AdditiveFamily(ground, allocate)
