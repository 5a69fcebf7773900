"""Patterns: which elements may be zeroed together. One file each; knows no criterion."""

import re
from collections.abc import Callable
from typing import Protocol

from onnxsens.arrays import FloatArray, Mask
from onnxsens.errors import UsageError
from onnxsens.plugins import Registry, unknown
from onnxsens.techniques.patterns.block import Block
from onnxsens.techniques.patterns.n_of_m import NOfM

__all__ = ["UNSTRUCTURED", "NOfM", "Pattern", "Ranked", "make_pattern", "patterns"]

UNSTRUCTURED = "unstructured"


class Ranked(Protocol):
    """The scores of one weight, sorted once."""

    def mask(self, sparsity: float) -> Mask:
        """`[out, in]`, True where kept; nested in sparsity."""


class Pattern(Protocol):
    """Turns scores into masks."""

    def rank(self, scores: FloatArray) -> Ranked:
        """`[out, in]` scores, larger = keep."""

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """Exactly how many elements of a weight `[out, in]` a mask of this sparsity zeroes."""

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Why a weight `[out, in]` does not divide into its groups; None where it does.

        Args:
            channels: input channels of a group, side by side in a row: a row is one such run for each kernel position.
        """


patterns: Registry[type[Pattern]] = Registry(
    "patterns",
    "pattern",
    {
        "channel": "onnxsens.techniques.patterns.channel:Channel",
        "row": "onnxsens.techniques.patterns.row:Row",
        "unstructured": "onnxsens.techniques.patterns.unstructured:Unstructured",
    },
)

# Written in one way only, since a point is stored under the name; of no more digits than a number that is meant.
NUMBER = "(0|[1-9][0-9]{0,5})"

# What is spelled with numbers of its own.
NUMBERED: dict[str, Callable[[int, int], Pattern]] = {
    f"{NUMBER}:{NUMBER}": NOfM,
    f"block{NUMBER}x{NUMBER}": Block,
}


def make_pattern(spec: str) -> Pattern:
    """The pattern of this name, or the one that `N:M` or `blockRxC` gives the numbers of.

    Raises:
        UsageError: no such pattern, and the message lists them; or numbers that make none.
    """
    for form, made in NUMBERED.items():
        if numbers := re.fullmatch(form, spec):
            return made(*map(int, numbers.groups()))
    if spec not in patterns.names():
        known = [*patterns.names(), "N:M such as 2:4", "blockRxC such as block4x1"]
        raise UsageError(unknown("pattern", spec, known))
    kind: Callable[..., Pattern] = patterns.get(spec)
    return kind()
