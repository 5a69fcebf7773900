"""Whole output channels are zeroed: what a tool that cuts them out of the model would lose. Nothing is cut out here."""

from dataclasses import dataclass

from onnxsens.arrays import FloatArray
from onnxsens.techniques.patterns.block import Block, RankedBlocks


@dataclass(frozen=True)
class Channel:
    """An output row is kept or zeroed as a whole: a block as wide as the weight."""

    def rank(self, scores: FloatArray) -> RankedBlocks:
        """Add up once, mask at many levels."""
        return Block(1, scores.shape[1]).rank(scores)

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """A number of whole rows."""
        return Block(1, shape[1]).zeros(shape, sparsity)

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Any weight will do."""
        return None
