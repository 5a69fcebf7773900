"""Plain Top-Down: every weight may lose the same alone, however large it is."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.picker import Ground, Picker
from onnxsens.plan.pickers.tolerances import ToleranceFamily
from onnxsens.scan.searches import TopDown


@dataclass(frozen=True)
class OneTolerance(Picker):
    """What a sensitivity analysis does that stops at single layers; there to be compared with."""

    name: ClassVar[str] = "one-tolerance"
    baseline: ClassVar[bool] = True

    def family(self, ground: Ground) -> ToleranceFamily:
        """As Top-Down's, but for the shares."""
        shares = {weight.name: 1.0 for weight in ground.weights}
        return ToleranceFamily(
            ground, TopDown(ground.step, ground.step), TopDown(ground.step, ground.resolution), shares
        )
