"""Carry a plan out on a model: the very zeros it was measured with."""

from collections.abc import Iterator, Mapping

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray
from onnxsens.errors import PlanError
from onnxsens.model import Inventory, Model, dense_matrix, stored_values
from onnxsens.plan.planfile import Plan
from onnxsens.scan.searches import Level
from onnxsens.techniques import Technique, make_technique


class PrunedWeights(Mapping[str, AnyArray]):
    """Every weight that its level changes, in the weight's stored type and shape.

    Made one at a time, when asked for, and not kept: together they may not fit into memory.
    """

    def __init__(self, model: Model, inventory: Inventory, technique: Technique, levels: Mapping[str, Level]) -> None:
        self._model = model
        self._technique = technique
        self._levels = levels
        self._weights = {
            weight.name: weight
            for weight in inventory.weights
            if technique.steps(weight.matrix_shape, levels.get(weight.name, 0.0)) > weight.zeros
        }
        self._zeros: dict[str, int] = {}

    def __getitem__(self, name: str) -> AnyArray:
        return stored_values(self._model, self._weights[name], self._matrix(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def zeros(self, name: str) -> int:
        """Elements that are zero as the operator sees them; in a quantized weight they are stored as zero points."""
        if name not in self._zeros:
            self._matrix(name)
        return self._zeros[name]

    def _matrix(self, name: str) -> FloatArray:
        dense = dense_matrix(self._model, self._weights[name])
        matrix = self._technique.once(dense, self._levels[name])
        self._zeros[name] = matrix.size - int(np.count_nonzero(matrix))
        return matrix


def planned_weights(plan: Plan, model: Model, inventory: Inventory, *, by_name: bool) -> PrunedWeights:
    """What a plan changes in this model, checked against what the plan says of it.

    Args:
        by_name: the model may be another one (a later checkpoint); weights are found by name, shapes must agree,
            and elements are ranked anew by the values they have now.

    Raises:
        PlanError: the model, a weight, or the number of zeros is not the plan's.
    """
    if not by_name and plan.model.sha256 != model.sha256:
        raise PlanError(
            f"the plan is for another model: '{plan.model.file}' with SHA-256 {plan.model.sha256[:12]}..., and "
            f"'{model.path.name}' has {model.sha256[:12]}...; use that model, "
            "or carry the plan over with 'onnxsens apply --by-name'"
        )
    known = {weight.name: weight for weight in inventory.weights}
    technique = make_technique(plan.technique)
    for planned in plan.weights:
        weight = known.get(planned.name)
        if weight is None:
            raise PlanError(
                f"the plan's weight '{planned.name}' is not in '{model.path.name}'; use the plan's own model"
            )
        if list(weight.shape) != planned.shape:
            raise PlanError(
                f"weight '{planned.name}' has the shape {list(weight.shape)}, and {planned.shape} in the plan; "
                "use the plan's own model"
            )
    levels = {planned.name: planned.level for planned in plan.weights}
    changed = PrunedWeights(model, inventory, technique, levels)
    for planned in plan.weights:
        zeros = changed.zeros(planned.name) if planned.name in changed else known[planned.name].zeros
        if zeros != planned.zeros and not by_name:
            raise PlanError(
                f"weight '{planned.name}' would get {zeros} zeros, and the plan says {planned.zeros}; "
                "the plan was changed after it was made"
            )
    return changed
