"""The members' plans, blended: the median level of each weight."""

from dataclasses import dataclass
from statistics import median
from typing import ClassVar

from onnxsens.plan.pickers.picker import Family, Ground, Picker
from onnxsens.plan.pickers.sweet_spotter import SweetSpotterPicker
from onnxsens.plan.pickers.tolerances import ToleranceFamily
from onnxsens.plan.pickers.top_down import TopDownPicker
from onnxsens.scan.searches import Level


class BlendedFamily(Family):
    """Median of several families of one kind, at the same boldness."""

    kind: ClassVar[str] = "tolerance"

    def __init__(self, families: list[ToleranceFamily]) -> None:
        self._families = families
        first = families[0]
        self.highest, self.start, self.stride, self.precision = (
            first.highest,
            first.start,
            first.stride,
            first.precision,
        )

    def propose(self, boldness: float) -> dict[str, Level]:
        """Per-weight median; of two members, their mean."""
        plans = [family.propose(boldness) for family in self._families]
        return {name: median(plan[name] for plan in plans) for name in plans[0]}


@dataclass(frozen=True)
class Blend(Picker):
    """Where searches disagree about a weight, neither is followed."""

    name: ClassVar[str] = "blend"

    def family(self, ground: Ground) -> BlendedFamily:
        """Over all members that search."""
        return BlendedFamily([picker.family(ground) for picker in (TopDownPicker(), SweetSpotterPicker())])
