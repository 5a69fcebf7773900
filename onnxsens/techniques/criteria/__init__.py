"""Criteria: which elements of a weight matter. One file each; knows no operator, no sparsity, no file."""

from typing import Protocol

from onnxsens.arrays import FloatArray
from onnxsens.plugins import Registry
from onnxsens.techniques.moments import Moments

__all__ = ["Criterion", "criteria"]


class Criterion(Protocol):
    """Says how much each element matters.

    One that looks at data has the class attribute `needs_moments = True`, and is then never asked without.
    """

    def scores(self, weight: FloatArray, moments: Moments | None = None) -> FloatArray:
        """`[out, in]` to `[out, in]`, finite; larger means keep, and what is zero already scores lowest."""


criteria: Registry[type[Criterion]] = Registry(
    "criteria",
    "criterion",
    {
        "lamp": "onnxsens.techniques.criteria.lamp:Lamp",
        "magnitude": "onnxsens.techniques.criteria.magnitude:Magnitude",
        "obs": "onnxsens.techniques.criteria.obs:Obs",
        "random": "onnxsens.techniques.criteria.random:Random",
        "wanda": "onnxsens.techniques.criteria.wanda:Wanda",
    },
)
