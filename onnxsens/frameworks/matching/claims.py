"""Which tensors have which elements of which parameters, and what names say where several of either are equal."""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from onnxsens.frameworks.matching.blocks import Option
from onnxsens.frameworks.matching.naming import NONE
from onnxsens.frameworks.matching.normalization import BatchNorm
from onnxsens.frameworks.matching.tensor import Match, Tensor
from onnxsens.frameworks.pieces import Piece, whole

MOST_WAYS = 64  # of one part, that are told apart by names


class Claims:
    """Which tensors may have which elements of which parameters."""

    def __init__(self) -> None:
        self._boxes: dict[str, list[tuple[str, list[int], list[int]]]] = {}

    def add(self, tensor: str, pieces: Iterable[Piece]) -> None:
        """A tensor may have these."""
        for piece in pieces:
            self._boxes.setdefault(piece.parameter, []).append((tensor, piece.start, piece.stop))

    def contested(self, tensor: str, piece: Piece) -> bool:
        """Whether another tensor may have some of the same elements."""
        return any(
            other != tensor and overlap(piece.start, piece.stop, start, stop)
            for other, start, stop in self._boxes.get(piece.parameter, ())
        )


def overlap(start: Sequence[int], stop: Sequence[int], low: Sequence[int], high: Sequence[int]) -> bool:
    """Whether two boxes share an element."""
    return all(max(a, c) < min(b, d) for a, b, c, d in zip(start, stop, low, high, strict=True))


def doubly_used(pieces: Sequence[Piece]) -> bool:
    """Whether two pieces have the same elements of a parameter."""
    return any(
        one.parameter == other.parameter and overlap(one.start, one.stop, other.start, other.stop)
        for number, one in enumerate(pieces)
        for other in pieces[:number]
    )


def ways_of(option: Option) -> list[tuple[Piece, ...]]:
    """The option's pieces, of each parameter that holds its source's numbers."""
    return [
        tuple(msgspec.structs.replace(piece, parameter=name) for piece in option.pieces)
        for name in option.source.names[:MOST_WAYS]
    ]


def pointed_to(
    made: list[tuple[Piece, ...]], ranked: list[tuple[int, str]], *, must: bool, users: int
) -> tuple[list[tuple[Piece, ...]], str, str]:
    """Ways to make a tensor of equal numbers: the one that names point to first.

    Args:
        ranked: how strongly names link each with the tensor, and why.
        must: whether only what names point to is the tensor's; else the others are copies of it.
        users: nodes that read the tensor. Where there is a name for each, other parameters with the same numbers are
            not in the model: averages, states of an optimizer.
    Returns:
        What is kept, why, and why that is not certain.
    """
    top = max(rank for rank, _ in ranked)
    best = [number for number, (rank, _) in enumerate(ranked) if rank == top]
    if not must:
        order = sorted(range(len(made)), key=lambda number: (-ranked[number][0], number))
        named = [number for number in order if ranked[number][0] > NONE]
        order = named if 0 < users <= len(named) else order
        return [made[number] for number in order], ranked[best[0]][1] if len(made) > 1 else "", ""
    if top == NONE:
        names = listed([pieces[0].parameter for pieces in made])
        what = f"so have other tensors, and {len(made)} parameters" if len(made) > 1 else "so have other tensors"
        return made, "", f"{what}: {names}"
    return [made[number] for number in best], ranked[best[0]][1], ""


def taken_in(tensor: Tensor, norm: BatchNorm) -> Match | None:
    """A bias into which a BatchNorm was folded, as that one's beta: what is added to the one is added to the other."""
    if norm.beta is None or tensor.size != norm.beta.shape[0]:
        return None
    offsets = norm.beta.read().astype(np.float64) - tensor.values().reshape(-1).astype(np.float64)
    piece = whole(norm.beta.name, norm.beta.shape, tensor.shape)
    return Match(tensor, "exact", (piece,), offsets=offsets, evidence=(f"'{norm.name}' was folded into it",))


def listed(names: Sequence[str]) -> str:
    """For a sentence: the first few."""
    return ", ".join(f"'{name}'" for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
