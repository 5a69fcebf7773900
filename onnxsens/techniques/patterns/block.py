"""Elements that go together, for kernels that read whole blocks."""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import FloatArray, Mask
from onnxsens.errors import UsageError
from onnxsens.techniques.patterns.dividing import undivided
from onnxsens.techniques.patterns.unstructured import RankedElements, Unstructured, zero_count


@dataclass(frozen=True)
class Block:
    """R output rows by C consecutive input channels are kept or zeroed together.

    Args:
        rows: R.
        columns: C.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise UsageError(
                f"pattern 'block{self.rows}x{self.columns}' has nothing in a block; "
                "give at least 1 row and 1 column, as block4x1 does"
            )

    def rank(self, scores: FloatArray) -> "RankedBlocks":
        """Add up once, mask at many levels."""
        return RankedBlocks(Unstructured().rank(block_sums(scores, self.rows, self.columns)), self)

    def zeros(self, shape: tuple[int, int], sparsity: float) -> int:
        """A number of whole blocks."""
        block = self.rows * self.columns
        return zero_count(shape[0] * shape[1] // block, sparsity) * block

    def refuses(self, shape: tuple[int, int], channels: int) -> str | None:
        """Blocks lie within the channels at one kernel position, and within the rows."""
        return undivided(channels, "input channel", self.columns) or undivided(shape[0], "output row", self.rows)


@dataclass(frozen=True)
class RankedBlocks:
    """The sums of one weight's blocks, ranked."""

    sums: RankedElements
    block: Block

    def mask(self, sparsity: float) -> Mask:
        """Keep the blocks with the highest sums; exactly `round(sparsity * blocks)` blocks are zeroed.

        Ties zero the lower block first, counted along rows of blocks.
        """
        return self.sums.mask(sparsity).repeat(self.block.rows, axis=0).repeat(self.block.columns, axis=1)


def block_sums(scores: FloatArray, rows: int, columns: int) -> FloatArray:
    """`[out / rows, in / columns]`. Sums that float32 cannot hold are as large as it can."""
    sums = scores.reshape(len(scores) // rows, rows, -1, columns).sum(axis=(1, 3), dtype=np.float64)
    held: FloatArray = np.minimum(sums, np.finfo(np.float32).max).astype(np.float32)
    return held
