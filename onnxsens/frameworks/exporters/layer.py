"""What an exporter is given: the plan's weights under the names of their source."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from onnxsens.plan.planfile import Plan

Mode: TypeAlias = Literal["ratio", "mask"]


@dataclass(frozen=True)
class Layer:
    """One source parameter that the plan prunes.

    Attributes:
        parameter: its name in the source framework.
        aliases: other names of the same storage.
        shape: in the source's layout.
        dtype: in the source.
        zeros: how many elements are to be 0.
        sparsity: zeros over elements.
        pattern: of the technique: None where any element may go, `row`, `channel`, `2:4` (2 of 4 kept), `block4x1`.
        operator: the ONNX operator that reads it first.
        tensors: the stored tensors of the ONNX file that it corresponds to.
        confidence: how sure the correspondence is: `exact`, `scaled`, `metadata`, `name` or `guess`.
        rescaled: whether the ONNX tensor is the parameter times a factor per channel, as where a BatchNorm was folded
            in: magnitudes rank differently in the source then.
    """

    parameter: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    zeros: int
    sparsity: float
    pattern: str | None
    operator: str
    tensors: tuple[str, ...]
    confidence: str
    rescaled: bool

    @property
    def size(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Export:
    """All that an exporter may know.

    Attributes:
        mode: whether sparsities are handed over, or the zeros themselves.
        layers: in model order.
        left_out: ONNX weights that are not among the layers, and why.
        masks_file: the file of masks that is written beside in mode `mask`.
        weights_file: the file of updated values that is written beside, if there are any.
        version: of onnxsens.
    """

    plan: "Plan"
    mode: Mode
    layers: tuple[Layer, ...]
    left_out: tuple[tuple[str, str], ...]
    masks_file: str
    weights_file: str | None
    version: str
