"""Erdős-Rényi-Kernel: density in proportion to the sum of a weight's dimensions over their product."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from onnxsens.plan.pickers.picker import Ground, Picker, TargetFamily
from onnxsens.scan.searches import Level


@dataclass(frozen=True)
class Erk(Picker):
    """Large weights sparser than small ones, by shape alone.

    Source: Evci et al., RigL, ICML 2020, arXiv:1911.11134, section 3: density = e (out + in + kh + kw) /
    (out in kh kw), with e such that the total is met and densities above 1 set to 1.
    """

    name: ClassVar[str] = "erk"
    baseline: ClassVar[bool] = True

    def family(self, ground: Ground) -> TargetFamily:
        """Shapes are all it needs."""

        def allocate(target: float) -> dict[str, Level]:
            densities = erk_densities([weight.shape for weight in ground.weights], 1 - target)
            return {weight.name: 1 - density for weight, density in zip(ground.weights, densities, strict=True)}

        return TargetFamily(allocate)


def erk_densities(shapes: Sequence[tuple[int, ...]], density: float) -> list[float]:
    """A density in (0, 1] for each shape, `density` of all elements in total."""
    sizes = [prod(shape) for shape in shapes]
    raw = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    full: set[int] = set()
    while True:
        rest = [index for index in range(len(shapes)) if index not in full]
        wanted = density * sum(sizes) - sum(sizes[index] for index in full)
        scale = wanted / sum(raw[index] * sizes[index] for index in rest) if rest else 0.0
        over = {index for index in rest if raw[index] * scale > 1}
        if not over:
            return [1.0 if index in full else raw[index] * scale for index in range(len(shapes))]
        full |= over
