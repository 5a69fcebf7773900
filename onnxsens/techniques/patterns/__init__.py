"""Patterns: which elements may be zeroed together. One file each; knows no criterion."""

from typing import Protocol

from onnxsens.arrays import FloatArray, Mask
from onnxsens.plugins import Registry

__all__ = ["Pattern", "Ranked", "patterns"]


class Ranked(Protocol):
    """The scores of one weight, sorted once."""

    def mask(self, sparsity: float) -> Mask:
        """`[out, in]`, True where kept; nested in sparsity."""


class Pattern(Protocol):
    """Turns scores into masks."""

    def rank(self, scores: FloatArray) -> Ranked:
        """`[out, in]` scores, larger = keep."""

    def zeros(self, size: int, sparsity: float) -> int:
        """Exactly how many of `size` elements a mask of this sparsity zeroes."""


patterns: Registry[type[Pattern]] = Registry(
    "patterns",
    "pattern",
    {"unstructured": "onnxsens.techniques.patterns.unstructured:Unstructured"},
)
