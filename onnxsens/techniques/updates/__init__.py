"""Updates: what is done to the elements that stay, so that they make up for those that go. One file each.

Knows one layer's problem; no operator, no model.
"""

from typing import Protocol

from onnxsens.arrays import Float64Array, Mask
from onnxsens.plugins import Registry
from onnxsens.techniques.moments import LayerProblem

__all__ = ["PreparedUpdate", "Update", "updates"]


class PreparedUpdate(Protocol):
    """An update of one weight, ready for many masks."""

    def fit(self, mask: Mask) -> Float64Array:
        """`[groups, out / groups, in]` masks, True where kept, to values of the same shape; 0 where not kept."""


class Update(Protocol):
    """Answers a layer's problem for given masks."""

    def prepare(self, problem: LayerProblem) -> PreparedUpdate:
        """What all masks have in common, once."""


updates: Registry[type[Update]] = Registry(
    "updates",
    "update",
    {
        "obs": "onnxsens.techniques.updates.obs:Obs",
        "refit": "onnxsens.techniques.updates.refit:Refit",
    },
)
