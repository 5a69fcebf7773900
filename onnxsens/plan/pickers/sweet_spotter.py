"""Sweet-Spotter as a picker."""

from dataclasses import dataclass
from typing import ClassVar

from onnxsens.plan.pickers.picker import Ground, Picker
from onnxsens.plan.pickers.tolerances import ToleranceFamily
from onnxsens.scan.searches import SweetSpotter


@dataclass(frozen=True)
class SweetSpotterPicker(Picker):
    """Each weight at its highest accepted compression ratio, both sides of the curve in sight."""

    name: ClassVar[str] = "sweet-spotter"
    # Ten levels of the first round and one closer look; between those points the curve is straight enough.
    cap: ClassVar[int] = 14

    def family(self, ground: Ground) -> ToleranceFamily:
        """The first round finds the bracket; all rounds are the fine search."""
        return ToleranceFamily(
            ground, SweetSpotter(resolution=1.0), SweetSpotter(resolution=ground.resolution, cap=self.cap)
        )
