"""What is expected of a weight: how it reads as a matrix, and what a pruned one holds. No code of the package."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

Rows = Iterator[np.ndarray]


@dataclass(frozen=True, eq=False)
class Known:
    """A stored tensor that is a weight or a part of one.

    Attributes:
        tag: its doc_string, which no renaming changes.
        name: what the inventory calls it.
        positions: `[out, in]` flat positions in the stored tensor.
        stored: its values, dense.
        seen: float32, in the stored shape, as the operator sees them.
        zero: in the stored shape and type, what is stored where the operator sees 0.
        consumers: operators that multiply by it.
    """

    tag: str
    name: str
    positions: np.ndarray
    stored: np.ndarray
    seen: np.ndarray
    zero: np.ndarray
    consumers: tuple[str, ...]

    def matrix(self) -> np.ndarray:
        """`[out, in]`, as the operator sees it."""
        return self.seen.reshape(-1)[self.positions]

    def pruned(self, level: float) -> np.ndarray:
        """What is to be stored: the `round(level * size)` smallest magnitudes are 0, ties in matrix order."""
        seen = self.seen.reshape(-1)
        ranked = sorted(self.positions.reshape(-1).tolist(), key=lambda place: abs(float(seen[place])))
        gone = ranked[: round(level * len(ranked))]
        values = self.stored.copy()
        values.reshape(-1)[gone] = self.zero.reshape(-1)[gone]
        return values


# Rows of a weight's matrix: all that makes one output channel, inputs fastest.


def columns(weight: np.ndarray) -> Rows:
    """`[..., in, out]`."""
    for batch in weight.reshape(-1, *weight.shape[-2:]):
        yield from batch.T


def conv_rows(weight: np.ndarray) -> Rows:
    """`[out, in, high, wide]`."""
    for of_channel in weight:
        yield np.moveaxis(of_channel, 0, -1).reshape(-1)


def transposed_rows(weight: np.ndarray, groups: int) -> Rows:
    """`[in, out / groups, high, wide]`."""
    for group in np.split(weight, groups):
        for channel in range(weight.shape[1]):
            yield np.moveaxis(group[:, channel], 0, -1).reshape(-1)


def einsum_rows(labels: str, summed: str) -> Callable[[np.ndarray], Rows]:
    """One row for each combination of the labels that are kept."""

    def rows(weight: np.ndarray) -> Rows:
        axis = labels.index(summed)
        kept = [range(length) for place, length in enumerate(weight.shape) if place != axis]
        for place in product(*kept):
            yield weight[(*place[:axis], slice(None), *place[axis:])]

    return rows
