"""Which tensors have which elements of which parameters, and what names say where several of either are equal."""

from collections.abc import Sequence

import msgspec
import numpy as np

from onnxsens.frameworks.matching.naming import NONE
from onnxsens.frameworks.matching.normalization import BatchNorm
from onnxsens.frameworks.matching.source import Source
from onnxsens.frameworks.matching.tensor import Match, Tensor
from onnxsens.frameworks.pieces import Piece, whole

Box = tuple[str, tuple[int, ...], tuple[int, ...]]


def pointed_to(
    made: list[tuple[Piece, ...]], ranked: list[tuple[int, str]], *, must: bool
) -> tuple[list[tuple[Piece, ...]], str, str]:
    """Ways to make a tensor of equal numbers: the one that names point to first.

    Args:
        ranked: how strongly names link each with the tensor, and why.
        must: whether only what names point to is the tensor's; else the others are copies of it.
    Returns:
        What is kept, why, and why that is not certain.
    """
    top = max(rank for rank, _ in ranked)
    best = [number for number, (rank, _) in enumerate(ranked) if rank == top]
    if not must:
        order = sorted(range(len(made)), key=lambda number: (-ranked[number][0], number))
        return [made[number] for number in order], ranked[best[0]][1] if len(made) > 1 else "", ""
    if top == NONE:
        names = listed([pieces[0].parameter for pieces in made])
        what = f"so have other tensors, and {len(made)} parameters" if len(made) > 1 else "so have other tensors"
        return made, "", f"{what}: {names}"
    return [made[number] for number in best], ranked[best[0]][1], ""


def box_of(piece: Piece) -> Box:
    """Which elements of which parameter a piece has."""
    return piece.parameter, tuple(piece.start), tuple(piece.stop)


def whole_of(source: Source) -> Piece:
    """All of a parameter."""
    return whole(source.name, source.shape, source.shape)


def taken_in(tensor: Tensor, norm: BatchNorm) -> Match | None:
    """A bias into which a BatchNorm was folded, as that one's beta: what is added to the one is added to the other."""
    if norm.beta is None or tensor.size != norm.beta.shape[0]:
        return None
    offsets = norm.beta.read().astype(np.float64) - tensor.values().reshape(-1).astype(np.float64)
    piece = whole(norm.beta.name, norm.beta.shape, tensor.shape)
    return Match(tensor, "exact", (piece,), offsets=offsets, evidence=(f"'{norm.name}' was folded into it",))


def renamed(pieces: tuple[Piece, ...], sources: Sequence[Source]) -> list[tuple[Piece, ...]]:
    """The same pieces of each set of parameters that hold the same numbers."""
    names = {source.name: source.names for source in sources}
    made = []
    for number in range(min(len(each) for each in names.values())):
        own = {name: each[number] for name, each in names.items()}
        made.append(tuple(msgspec.structs.replace(piece, parameter=own[piece.parameter]) for piece in pieces))
    return made


def listed(names: Sequence[str]) -> str:
    """For a sentence: the first few."""
    return ", ".join(f"'{name}'" for name in names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
