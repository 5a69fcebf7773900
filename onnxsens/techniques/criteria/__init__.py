"""Criteria: which elements of a weight matter. One file each; knows no operator, no sparsity, no file."""

from typing import Protocol

from onnxsens.arrays import FloatArray
from onnxsens.plugins import Registry

__all__ = ["Criterion", "criteria"]


class Criterion(Protocol):
    """Says how much each element matters."""

    def scores(self, weight: FloatArray) -> FloatArray:
        """`[out, in]` to `[out, in]`, finite; larger means keep, and what is zero already scores lowest."""


criteria: Registry[type[Criterion]] = Registry(
    "criteria",
    "criterion",
    {
        "magnitude": "onnxsens.techniques.criteria.magnitude:Magnitude",
        "random": "onnxsens.techniques.criteria.random:Random",
    },
)
