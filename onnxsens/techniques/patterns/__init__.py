"""Patterns: which elements may be zeroed together. One file each; knows no criterion."""

from collections.abc import Callable
from typing import Protocol

from onnxsens.arrays import FloatArray, Mask
from onnxsens.plugins import Registry

__all__ = ["UNSTRUCTURED", "Pattern", "Ranked", "make_pattern", "patterns"]

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
    {"unstructured": "onnxsens.techniques.patterns.unstructured:Unstructured"},
)


def make_pattern(spec: str) -> Pattern:
    """The pattern of this name."""
    kind: Callable[..., Pattern] = patterns.get(spec)
    return kind()
