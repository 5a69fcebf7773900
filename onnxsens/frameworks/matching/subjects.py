"""The stored tensors of a model as the matcher wants them: weights that can be pruned, and vectors beside them."""

from collections.abc import Mapping
from functools import partial

import numpy as np

from onnxsens.arrays import AnyArray, BoolArray
from onnxsens.frameworks.matching.tensor import Tensor
from onnxsens.model import Inventory, Model, Weight
from onnxsens.model.coding import Affine
from onnxsens.model.origins import Origins
from onnxsens.model.shifts import FLOATS, Shifts


def weights_of(model: Model, inventory: Inventory, origins: Origins, shifted: Mapping[str, str]) -> list[Tensor]:
    """In graph order.

    Args:
        shifted: as of `beside`.
    """
    biases = {weight: vector for vector, weight in shifted.items()}
    return [
        Tensor(
            weight.name,
            weight.shape,
            weight.operator,
            partial(numbers, model, weight),
            is_plain(model, weight),
            None if is_plain(model, weight) else partial(step_of, model, weight),
            partial(is_turned, weight),
            origins.of(weight.name),
            biases.get(weight.name, ""),
        )
        for weight in inventory.weights
    ]


def vectors_of(model: Model, inventory: Inventory, origins: Origins) -> list[Tensor]:
    """Stored floating-point tensors that are no weights, with more than one element; biases, norms, statistics."""
    weights = {weight.name for weight in inventory.weights}
    found = []
    for name, stored in model.stored.items():
        if name in weights or stored.tensor.data_type not in FLOATS or stored.indices is not None:
            continue
        if stored.shape and max(stored.shape) > 1:
            found.append(Tensor(name, stored.shape, "", partial(model.array, name), exact=True, hints=origins.of(name)))
    return found


def beside(model: Model, inventory: Inventory) -> dict[str, str]:
    """Vector that is added to a weight's output, to the weight."""
    return {shift.name: weight for weight, shift in Shifts(model, inventory).by_weight.items()}


def numbers(model: Model, weight: Weight) -> AnyArray:
    """As the operator sees them; as stored where they are stored as floating-point numbers."""
    stored = model.array(weight.name)
    return stored if is_plain(model, weight) else weight.coding.decode(stored)


def is_plain(model: Model, weight: Weight) -> bool:
    """Whether the stored numbers are the ones that the operator sees."""
    return weight.dtype.startswith(("float", "bfloat"))


def step_of(model: Model, weight: Weight) -> tuple[AnyArray, BoolArray]:
    """The scale of a quantized weight, and which of its elements are at an end of the stored type's range."""
    assert isinstance(weight.coding, Affine)
    stored = model.array(weight.name)
    info = np.iinfo(stored.dtype)
    return weight.coding.scale, (stored <= info.min + 1) | (stored == info.max)


def is_turned(weight: Weight) -> bool | None:
    """Whether a weight of two long axes lies `[in, out]`, by how its matrix walks through memory; None if copied.

    Nothing is read: the array that stands for it is never filled, and so takes no memory.
    """
    stand_in = np.empty(weight.shape, np.uint8)
    matrix = weight.layout.to_matrix(stand_in)
    if not np.may_share_memory(matrix, stand_in):
        return None
    rows, columns = matrix.shape
    if columns > 1:
        return bool(matrix.strides[1] != 1)
    return len(weight.shape) == 2 and weight.shape[0] == 1 and rows > 1
