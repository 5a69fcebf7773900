"""What a plan is for: a limit on quality lost, a sparsity, or neither. And how sure one wants to be of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from onnxsens.errors import UsageError
from onnxsens.plan.constraints import Constraints

LOOKS = 3  # how often a choice may be checked on the hold-out split


@dataclass(frozen=True)
class Goal:
    """At most one kind of goal; with none, the knee of the joint front is wanted.

    Args:
        max_drop: metric to the largest drop allowed, absolute, in the metric's unit; all must hold.
        sparsity: share of zeros over all prunable weights.
        confidence: that a verified limit holds, e.g. 0.95; None takes the point estimate.
        size: bytes that the weights of the file may take, compressed by zlib.
        constraints: on levels of single weights.
        target: what the model is for; says which weights, patterns and levels are worth anything.
        macs: multiply-accumulates that may be left, of those that weights make: a share up to 1, else a number.
        pickers: that compete beside the usual ones, by name.
    """

    max_drop: Mapping[str, float] = field(default_factory=dict)
    sparsity: float | None = None
    confidence: float | None = 0.95
    size: int | None = None
    macs: float | None = None
    constraints: Constraints = field(default_factory=Constraints)
    target: str | None = None
    pickers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kinds = {"--sparsity": self.sparsity, "--size": self.size, "--macs": self.macs}
        given = [
            *(["--max-drop"] if self.max_drop else []),
            *(name for name, value in kinds.items() if value is not None),
        ]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} exclude each other; give one of them")
        if self.size is not None and self.size < 1:
            raise UsageError(f"--size {self.size} is no number of bytes that weights can take; give e.g. 2MB")
        if self.macs is not None and not (math.isfinite(self.macs) and self.macs > 0):
            raise UsageError(f"--macs {self.macs} is neither a share nor a number; give e.g. 0.5, or 20e6")
        for metric, limit in self.max_drop.items():
            if not (math.isfinite(limit) and limit >= 0):
                raise UsageError(f"--max-drop {metric}={limit} is not a drop; give a number of 0 or more")
        if self.sparsity is not None and not 0 < self.sparsity < 1:
            raise UsageError(f"--sparsity {self.sparsity} is not in (0, 1); it is the share of zeros, such as 0.5")
        if self.confidence is not None and not 0.5 <= self.confidence < 1:
            raise UsageError(f"--confidence {self.confidence} is not in [0.5, 1); give e.g. 0.95, or none")

    @property
    def kind(self) -> Literal["max-drop", "sparsity", "size", "macs", "knee"]:
        """Which kind it is."""
        if self.max_drop:
            return "max-drop"
        if self.size is not None or self.macs is not None:
            return "size" if self.macs is None else "macs"
        return "knee" if self.sparsity is None else "sparsity"

    def alpha(self, look: int) -> float | None:
        """Error rate that look 1, 2, ... may spend: (1 - confidence) / 2^look, so that all looks together keep it.

        Look 0, at samples that are looked at just once, may spend all of it.
        """
        return None if self.confidence is None else (1 - self.confidence) / 2**look


def parse_limits(texts: Sequence[str], option: str = "--max-drop") -> dict[str, float]:
    """`METRIC=X`, repeated.

    Raises:
        UsageError: one is not of that form, or names a metric twice.
    """
    limits: dict[str, float] = {}
    for text in texts:
        metric, separator, number = text.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        if not (separator and metric) or math.isnan(limit):
            raise UsageError(f"{option} '{text}' is not METRIC=X; write for example {option} accuracy=0.01")
        if metric in limits:
            raise UsageError(f"{option} names '{metric}' twice; give one limit a metric")
        limits[metric] = limit
    return limits
