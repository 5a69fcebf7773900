"""What the matcher knows of a stored tensor, and what it says about it. Hints are those of `model.origins`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from onnxsens.arrays import AnyArray, BoolArray, Float64Array
from onnxsens.frameworks.matching.normalization import BatchNorm
from onnxsens.frameworks.pieces import Piece
from onnxsens.model.origins import Hint

Confidence: TypeAlias = Literal["exact", "scaled", "metadata", "name", "ambiguous", "guess", "missed"]
UNEXPLAINED = "nothing in the checkpoint explains the factors"
MADE_OF = "reads what is made of it"
SURE: frozenset[Confidence] = frozenset({"exact", "scaled", "metadata", "name"})


@dataclass(frozen=True, eq=False)
class Tensor:
    """A stored tensor to be matched.

    Attributes:
        operator: ONNX's name of what multiplies by it, or of what adds it; empty where nothing is known to.
        values: its numbers as the operator sees them, in the stored type where that is a floating-point one.
        exact: whether these are the numbers that were stored; of a quantized tensor they are rounded.
        step: of a quantized tensor, the distance of neighbouring numbers, which broadcasts against it, and which
            elements are at an end of the range; None for others.
        turned: whether it lies `[in, out]` and not `[out, in]`, None where it is neither, as in parts; no function for
            vectors.
        hints: what the file says of the nodes that use it.
        bias: the stored vector that is added to its output; empty where there is none.
    """

    name: str
    shape: tuple[int, ...]
    operator: str
    values: Callable[[], AnyArray] = field(repr=False)
    exact: bool = True
    step: Callable[[], tuple[AnyArray, BoolArray]] | None = field(default=None, repr=False)
    turned: Callable[[], bool | None] | None = field(default=None, repr=False)
    hints: tuple[Hint, ...] = ()
    bias: str = ""

    @property
    def size(self) -> int:
        """Elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Match:
    """What a stored tensor is made of.

    Attributes:
        pieces: empty where nothing was found.
        copies: other ways to make it, of other parameters with the same numbers: what happens to it happens to them.
        scale_axis, scale: the tensor is the pieces times `scale`, `[length of that axis]`; None for no factor.
        offsets: what the parameter has more than the tensor, element by element; None where they are equal.
        norm: the BatchNorm that explains the factors.
        magnitude: the parameter that holds the norm of each slice, where the tensor is a direction times that.
        remade: whether the source makes the weight of the parameter anew at every call, by factors that depend on it.
        evidence: why, one phrase each.
    """

    tensor: Tensor
    confidence: Confidence
    pieces: tuple[Piece, ...] = ()
    copies: tuple[tuple[Piece, ...], ...] = ()
    scale_axis: int | None = None
    scale: Float64Array | None = field(default=None, repr=False)
    offsets: Float64Array | None = field(default=None, repr=False)
    evidence: tuple[str, ...] = ()
    norm: BatchNorm | None = field(default=None, repr=False)
    magnitude: str = ""
    remade: bool = False

    @property
    def parameters(self) -> list[str]:
        """Names of the parameters, each once, those of copies last."""
        return list(dict.fromkeys(piece.parameter for pieces in (self.pieces, *self.copies) for piece in pieces))
