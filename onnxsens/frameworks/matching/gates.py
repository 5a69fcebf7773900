"""Weights of recurrent layers, whose gates every framework stacks in an order of its own.

The known orders are tried before any other: where two gates hold the same numbers, values alone do not tell them apart.
"""

from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.matching.blocks import Found, Option
from onnxsens.frameworks.matching.prints import print_of
from onnxsens.frameworks.matching.source import Library, Source
from onnxsens.frameworks.pieces import Piece

Order = tuple[int, ...]
Layout = tuple[Order, bool]
# For each gate in ONNX's order (GRU z r h, LSTM i o f c), its number in the source's order.
PYTORCH: dict[str, Order] = {"GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2), "RNN": (0,)}
KERAS: dict[str, Order] = {"GRU": (0, 1, 2), "LSTM": (0, 3, 1, 2), "RNN": (0,)}
AS_STORED: dict[str, Order] = {"GRU": (0, 1, 2), "LSTM": (0, 1, 2, 3), "RNN": (0,)}
# Beginnings of names, the order behind them, and whether inputs come before gates.
BY_LEAF = (("weight_", PYTORCH, False), ("kernel", KERAS, True), ("recurrent_kernel", KERAS, True))


@dataclass(frozen=True, eq=False)
class Stacked:
    """One known order in which a source gives a tensor, or one direction of it."""

    source: Source
    order: Order
    turned: bool
    pieces: tuple[Piece, ...]


def gate_match(values: AnyArray, operator: str, library: Library, votes: "dict[str, Layout]") -> Found | None:
    """A tensor `[directions, gates x hidden, inputs]` as parameters whose gates stand in one of the known orders.

    Args:
        votes: by operator, how other tensors of the model lie beyond doubt; gets this one's.
    Returns:
        A part for each direction; None where no parameters give it.
    """
    if operator not in PYTORCH or values.ndim != 3 or values.shape[1] % len(PYTORCH[operator]):
        return None
    parts: list[tuple[Option, ...]] = []
    doubt = ""
    for direction in range(values.shape[0]):
        own = print_of(values[direction])
        options = []
        for source in library.with_total(own):
            ways = stackings(values, direction, source, operator)
            if not ways:
                continue
            chosen = ways[0]
            if len(ways) > 1:
                usual = usual_layout(source.name, operator) or votes.get(operator)
                known = [stacked for stacked in ways if (stacked.order, stacked.turned) == usual]
                chosen = known[0] if known else chosen
                doubt = doubt if known else "gates or axes of it are equal, and nothing says which is which"
            else:
                votes.setdefault(operator, (chosen.order, chosen.turned))
            options.append(Option(chosen.pieces, source))
        if own.constant or not options:
            return None
        parts.append(tuple(options))
    return Found(tuple(parts), doubt)


def usual_layout(name: str, operator: str) -> Layout | None:
    """Of the framework that calls its parameters so."""
    leaf = name.replace("/", ".").rpartition(".")[2]
    return next(((orders[operator], turned) for start, orders, turned in BY_LEAF if leaf.startswith(start)), None)


def stackings(values: AnyArray, direction: int, source: Source, operator: str) -> list[Stacked]:
    """Every known order of gates in which the source gives one direction."""
    held = source.values()
    found = []
    target = values[direction]
    for turned in (False, True):
        if held.ndim != 2 or (held.T if turned else held).shape != target.shape:
            continue
        straight = held.T if turned else held
        for order in dict.fromkeys((PYTORCH[operator], KERAS[operator], AS_STORED[operator])):
            blocks = straight.reshape(len(order), -1, straight.shape[1])
            if np.array_equal(blocks[list(order)].reshape(target.shape), target):
                pieces = stacked_pieces(source.name, held.shape, direction, order, turned=turned)
                found.append(Stacked(source, order, turned, pieces))
    return found


def stacked_pieces(
    name: str, shape: tuple[int, ...], direction: int, order: Order, *, turned: bool
) -> tuple[Piece, ...]:
    """One piece a gate.

    Args:
        shape: of the parameter, `[gates x hidden, inputs]`, or the other way round where it is `turned`.
    """
    rows, columns = shape[::-1] if turned else shape
    size = rows // len(order)
    pieces = []
    for position, gate in enumerate(order):
        start, stop = [gate * size, 0], [(gate + 1) * size, columns]
        pieces.append(
            Piece(
                parameter=name,
                start=start[::-1] if turned else start,
                stop=stop[::-1] if turned else stop,
                order=[1, 0] if turned else [0, 1],
                to_start=[direction, position * size, 0],
                to_stop=[direction + 1, (position + 1) * size, columns],
            )
        )
    return tuple(pieces)
