"""The matrix view of a stored tensor, from all the operators that multiply by it or by parts of it."""

from collections.abc import Sequence
from math import prod

import numpy as np

from onnxsens.arrays import IntArray
from onnxsens.model.layout import Arranged, Layout, Scattered
from onnxsens.model.operand import Operand
from onnxsens.model.operators import View
from onnxsens.model.stored import Stored
from onnxsens.model.tracing import Use


class Refused(Exception):  # noqa: N818 - carries a reason to the inventory, never reaches a user as an error
    """The tensor has no matrix view; the text says why."""


def arrange(tensor: Stored, uses: Sequence[Use]) -> Layout:
    """The first operator that is given the whole tensor decides; else the parts are stacked, the largest first.

    Of equal parts, the one that begins earlier in the tensor comes first: operators side by side may stand in the file
    in any order. An element that several parts hold counts where it comes first.

    Raises:
        Refused: the operators are not given all of it, or parts of different widths.
    """
    for use in uses:
        if use.operand.moves is not None:
            return Arranged(tensor.shape, (*use.operand.moves, *use.view.moves), use.view.rows)
    operands = [(use.operand, use.view) for use in uses]

    def table() -> IntArray:
        return stacked(tensor, operands)

    return Scattered(tensor.shape, len(table()), table)


def stacked(tensor: Stored, uses: Sequence[tuple[Operand, View]]) -> IntArray:
    """`[out, in]` flat positions in the tensor, each exactly once."""
    size = prod(tensor.shape)
    seen = np.zeros(size, dtype=np.bool_)
    rows: list[IntArray] = []
    parts = [part for operand, view in uses if (part := own_rows(tensor, operand, view))]
    for part in sorted(parts, key=lambda part: (-sum(row.size for row in part), min(row.min() for row in part))):
        for row in part:
            new = row[~seen[row]]
            if new.size:
                rows.append(new)
                seen[new] = True
    covered = int(seen.sum())
    if covered < size:
        raise Refused(f"operators multiply by {covered:,} of its {size:,} elements only")
    widths = sorted({row.size for row in rows})
    if len(widths) > 1 or len(rows) * widths[0] != size:
        raise Refused(f"its parts are weights of different widths ({', '.join(map(str, widths))})")
    return np.stack(rows)


def own_rows(tensor: Stored, operand: Operand, view: View) -> list[IntArray]:
    """The rows of an operand's matrix that hold elements of this tensor, each with their positions in it."""
    offsets = operand.offsets()
    index = next(number for number, source in enumerate(operand.sources) if source.name == tensor.name)
    start, stop = offsets[index], offsets[index + 1]
    positions = operand.positions()
    for move in view.moves:
        positions = move.forward(positions)
    matrix = positions.reshape(view.rows, -1)
    return [own for row in matrix if (own := row[(row >= start) & (row < stop)] - start).size]
