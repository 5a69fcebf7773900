"""Top-Down as a picker."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.picker import Ground, Picker
from onnxsens.plan.pickers.tolerances import ToleranceFamily
from onnxsens.scan.searches import TopDown


@dataclass(frozen=True)
class TopDownPicker(Picker):
    """Each weight at the highest sparsity that costs at most the tolerance, looked for from above."""

    name: ClassVar[str] = "top-down"

    def family(self, ground: Ground) -> ToleranceFamily:
        """The walk down in steps finds the bracket; the bisection inside it is the fine search."""
        return ToleranceFamily(ground, TopDown(ground.step, ground.step), TopDown(ground.step, ground.resolution))
