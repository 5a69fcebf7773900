"""N:M sparsity: of every M input channels in a row, N are kept; what sparse tensor cores and many kernels take."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.errors import UsageError
from onnxsens.techniques.patterns.dividing import undivided
from onnxsens.techniques.patterns.row import RankedRows

ROUNDING = 1e-9  # by which a level may miss `1 - n / m` and still mean it


@dataclass(frozen=True)
class NOfM:
    """Keep n of every m consecutive input channels. There are two levels: 0, and from `1 - n / m` on the pattern.

    Args:
        kept: n.
        group: m.
    """

    kept: int
    group: int

    def __post_init__(self) -> None:
        if not 0 < self.kept < self.group:
            raise UsageError(
                f"pattern '{self.kept}:{self.group}' keeps {self.kept} of every {self.group} input channels; "
                "keep at least 1, and fewer than all, as 2:4 does"
            )

    def rank(self, scores: FloatArray) -> "RankedGroups":
        """Rows have whole groups, one after the other."""
        return RankedGroups(RankedRows(scores.reshape(-1, self.group)), scores.shape, self)

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """All or nothing: a level never zeroes more than it says, and the pattern zeroes no more than `1 - n / m`."""
        if sparsity < 1 - self.kept / self.group - ROUNDING:
            return 0
        return shape[0] * (shape[1] // self.group) * (self.group - self.kept)

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Groups lie within the channels at one kernel position."""
        return undivided(channels, "input channel", self.group)


@dataclass(frozen=True)
class RankedGroups:
    """The scores of one weight, a group a row."""

    groups: RankedRows
    shape: tuple[int, ...]
    pattern: NOfM

    def mask(self, sparsity: float) -> Mask:
        """Keep the highest scores of every group, or all elements at a level below the pattern's."""
        rows, columns = self.shape
        if self.pattern.zeros((rows, columns), sparsity) == 0:
            return np.ones(self.shape, dtype=np.bool_)
        return self.groups.without(self.pattern.group - self.pattern.kept).reshape(self.shape)
