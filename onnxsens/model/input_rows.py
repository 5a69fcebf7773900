"""What a weight's matrix is multiplied by: rows `[in]`, one for every place in the data where that happens.

`output[place] = rows[place] @ matrix.T`, group by group, before bias and activation. What makes such rows from the
arrays that an operator reads is an `InputRows`; the operators' own are in `windows`, `products` and `sequences`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.model.layout import Shape
from onnxsens.model.operators import Attributes


class NoRowsError(Exception):
    """There are no such rows, or they cannot be told from the arrays; the text says why. Never reaches a user."""


@dataclass(frozen=True, order=True)
class Port:
    """One input or output of a node; `index` counts those that are left out too."""

    kind: Literal["input", "output"]
    index: int


class InputRows(Protocol):
    """The rows of one operator.

    Rows of the matrix `[out, in]` belong to groups, `out / groups` after each other; a group has rows of its own.
    """

    @property
    def ports(self) -> tuple[Port, ...]:
        """What is read, in the order in which arrays are given."""

    @property
    def groups(self) -> int:
        """How many."""

    def places(self, arrays: Sequence[AnyArray]) -> int:
        """Rows that there are, in each group.

        Raises:
            NoRowsError: these arrays have none that are right.
        """

    def take(self, arrays: Sequence[AnyArray], chosen: IntArray) -> AnyArray:
        """`[groups, chosen, in]` for places `chosen`, ascending; nothing is made of the others."""


# Shape and attributes of an operator's weight, and which inputs the node has, to its rows; raises NoRowsError.
RowMaker = Callable[[Shape, Attributes, Sequence[bool]], InputRows]


def taken(view: AnyArray, groups: int, chosen: IntArray) -> AnyArray:
    """Rows out of an array that is arranged for it.

    Args:
        view: `[*groups, *places, in]`.
        groups: how many of its axes are groups.
    Returns:
        `[groups, chosen, in]`.
    """
    index = np.unravel_index(chosen, view.shape[groups:-1])
    rows = view[(slice(None),) * groups + index]
    return rows.reshape(prod(view.shape[:groups]), len(chosen), view.shape[-1])
