"""The same sparsity everywhere: what people do without an analysis."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.picker import Ground, Picker, TargetFamily
from onnxsens.scan.searches import Level


@dataclass(frozen=True)
class Uniform(Picker):
    """One level for all weights."""

    name: ClassVar[str] = "uniform"
    baseline: ClassVar[bool] = True

    def family(self, ground: Ground) -> TargetFamily:
        """The level is the target."""

        def allocate(target: float) -> dict[str, Level]:
            return {weight.name: target for weight in ground.weights}

        return TargetFamily(allocate)
