"""The second moments of a weight's input rows: `X^T X`, one for each group, or rows `X` that give it.

Knows matrices, no models.
"""

from dataclasses import dataclass, field

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array, FloatArray
from onnxsens.techniques.moments import Moments

PIECE = 2**24  # elements of a product that are made at a time


@dataclass(frozen=True, eq=False)
class Gram:
    """`X^T X` of the inputs `X` of a weight, by group; an estimate of the sum over all places where that was sampled.

    Attributes:
        taken: rows that were looked at, in each group.
        places: rows that there were.
        factor: `[groups, rows, in]`, scaled so that its product is the estimate; None where `product` is there.
        product: `[groups, in, in]`; None where there are too few rows to make it the smaller of the two.
        total: `[groups, in]`, the sum of the rows over all places.
    """

    taken: int
    places: int
    factor: AnyArray | None
    product: Float64Array | None
    total: Float64Array | None = None

    @property
    def _kept(self) -> AnyArray:
        kept = self.product if self.product is not None else self.factor
        assert kept is not None
        return kept

    @property
    def groups(self) -> int:
        """Blocks of as many output rows each, after each other, that see other inputs."""
        return len(self._kept)

    @property
    def width(self) -> int:
        """Columns of the weight's matrix."""
        return int(self._kept.shape[-1])

    def matrix(self) -> Float64Array:
        """`X^T X`, `[groups, in, in]`, in units of the input squared."""
        if self.product is not None:
            return self.product
        rows = self._kept.astype(np.float64)
        return rows.transpose(0, 2, 1) @ rows

    def moments(self) -> Moments:
        """The same as means over places."""
        total = np.zeros((self.groups, self.width)) if self.total is None else self.total
        return Moments(self.matrix() / self.places, total / self.places, rows=self.taken)

    def energy(self, change: FloatArray) -> float:
        """Sum of squares of what a matrix `[out, in]` makes of the inputs: `tr(D X^T X D^T)` over all groups."""
        blocks = change.reshape(self.groups, -1, self.width)
        if self.product is not None:
            wide = blocks.astype(np.float64)
            # Rounding can leave less than nothing of a sum of squares.
            return max(float(np.sum((wide @ self.product) * wide)), 0.0)
        return sum(
            float(np.square(self._kept @ part.transpose(0, 2, 1), dtype=np.float64).sum())
            for part in self._pieces(blocks)
        )

    def _pieces(self, blocks: FloatArray) -> list[FloatArray]:
        """Blocks of fewer output rows, so that their products with the rows stay small."""
        step = max(PIECE // max(self._kept.shape[0] * self._kept.shape[1], 1), 1)
        return [blocks[:, start : start + step] for start in range(0, blocks.shape[1], step)]


@dataclass(eq=False)
class GramBuilder:
    """Takes rows as they come, and holds no more than the product `[groups, in, in]` and rows of the same size.

    Attributes:
        taken, places: so far.
    """

    groups: int
    width: int
    taken: int = 0
    places: int = 0
    _rows: list[AnyArray] = field(default_factory=list)
    _waiting: int = 0
    _product: Float64Array | None = None
    _total: Float64Array | None = None

    def add(self, rows: AnyArray, places: int) -> None:
        """Rows `[groups, taken, in]` that stand for as many places, evenly."""
        taken = rows.shape[1]
        self.places += places
        if not taken:
            return
        self.taken += taken
        rows = rows if rows.dtype == np.float64 else rows.astype(np.float32, copy=False)
        total = rows.sum(axis=1, dtype=np.float64) * (places / taken)
        self._total = total if self._total is None else self._total + total
        if places != taken:
            rows = rows * rows.dtype.type((places / taken) ** 0.5)
        self._rows.append(rows)
        self._waiting += taken
        # Up to here rows in float32 take less memory than the product in float64, and less time to make use of.
        if self._waiting >= 2 * self.width:
            self._fold()

    def made(self) -> Gram:
        """What was gathered."""
        if self._product is None:
            empty = np.zeros((self.groups, 0, self.width), np.float32)
            return Gram(self.taken, self.places, np.concatenate([*self._rows, empty], axis=1), None, self._total)
        if self._rows:
            self._fold()
        return Gram(self.taken, self.places, None, self._product, self._total)

    def _fold(self) -> None:
        rows = np.concatenate(self._rows, axis=1, dtype=np.float64)
        self._rows.clear()
        self._waiting = 0
        product = rows.transpose(0, 2, 1) @ rows
        if self._product is None:
            self._product = product
        else:
            self._product += product
