"""What is left over, paired by shape and by place in the model. Never more than a guess."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxsens.frameworks.checkpoints import Parameter
from onnxsens.frameworks.matching.alignment import orders
from onnxsens.frameworks.matching.naming import strength
from onnxsens.frameworks.matching.normalization import split
from onnxsens.frameworks.matching.tensor import Match, Tensor
from onnxsens.frameworks.pieces import whole

NEVER = 1e6
MOST = 2000  # tensors and parameters that are paired at once
FLOATS = ("float", "bfloat")


def guesses(
    left: Sequence[Tensor],
    free: Sequence[Parameter],
    tensors: Sequence[Tensor],
    parameters: Sequence[Parameter],
    votes: Mapping[tuple[str, int, object], int],
) -> Iterator[Match]:
    """Pairs of the same shape but for the order of axes, as near to each other in both orders as can be.

    Args:
        left, free: what is not matched yet.
        tensors, parameters: all of them, in the order of the model and of the checkpoint.
        votes: by last part of the name, number of axes and order: how many parameters are laid out so beyond doubt.
    """
    from scipy.optimize import linear_sum_assignment

    left = [tensor for tensor in left if len(tensor.shape) >= 2][:MOST]
    free = [one for one in free if len(one.shape) >= 2 and one.dtype.startswith(FLOATS)][:MOST]
    if not left or not free:
        return
    place = {tensor.name: number / len(tensors) for number, tensor in enumerate(tensors)}
    their_place = {parameter.name: number / len(parameters) for number, parameter in enumerate(parameters)}
    costs = np.full((len(left), len(free)), NEVER)
    for row, tensor in enumerate(left):
        for column, parameter in enumerate(free):
            if long_axes(tensor.shape) == long_axes(parameter.shape):
                linked, _ = strength(tensor, parameter.name)
                costs[row, column] = abs(place[tensor.name] - their_place[parameter.name]) - linked
    rows, columns = linear_sum_assignment(costs)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if costs[row, column] < NEVER:
            tensor, parameter = left[row], free[column]
            order = fitting(parameter, tensor.shape, votes)
            piece = whole(parameter.name, parameter.shape, tensor.shape, order)
            yield Match(tensor, "guess", (piece,), evidence=("the same shape, and about the same place in the model",))


def long_axes(shape: Sequence[int]) -> list[int]:
    """Lengths above 1, sorted."""
    return sorted(length for length in shape if length > 1)


def fitting(
    parameter: Parameter, to_shape: Sequence[int], votes: Mapping[tuple[str, int, object], int]
) -> tuple[int, ...]:
    """An order of axes that gives the other shape, as others of its kind have it; as they are where none does."""
    shape = parameter.shape
    wanted = [length for length in to_shape if length > 1]
    found = [order for order in orders(shape) if [shape[axis] for axis in order if shape[axis] > 1] == wanted]
    kind = split(parameter.name)[-1], len(shape)
    return max(found, key=lambda order: votes.get((*kind, order), 0), default=tuple(range(len(shape))))
