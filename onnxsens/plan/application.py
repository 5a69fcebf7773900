"""Carry a plan out on a model: the very zeros it was measured with."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray
from onnxsens.engine.tensor_file import read_tensors
from onnxsens.errors import PlanError
from onnxsens.files import sha256_of
from onnxsens.model import Inventory, Model, dense_matrix, stored_values
from onnxsens.plan.planfile import Plan
from onnxsens.scan.searches import Level
from onnxsens.techniques import Technique, make_technique


class PrunedWeights(Mapping[str, AnyArray]):
    """Every weight that its level changes, and every copy of one, in the stored type and shape.

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
        self._copies = {copy.name: copy for copy in inventory.copies if copy.of in self._weights}
        self._zeros: dict[str, int] = {}

    def __getitem__(self, name: str) -> AnyArray:
        if name in self._copies:
            return self._copies[name].values(self[self._copies[name].of])
        return stored_values(self._model, self._weights[name], self._matrix(name))

    def __iter__(self) -> Iterator[str]:
        return iter([*self._weights, *self._copies])

    def __len__(self) -> int:
        return len(self._weights) + len(self._copies)

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


class CarriedTensors(Mapping[str, AnyArray]):
    """Every tensor that a plan changes that was carried out as a whole: weights, their copies, what is beside them."""

    def __init__(self, inventory: Inventory, values: Mapping[str, AnyArray]) -> None:
        self._weights = {weight.name: weight for weight in inventory.weights}
        self._values = inventory.with_copies(values)

    def __getitem__(self, name: str) -> AnyArray:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def zeros(self, name: str) -> int:
        """Elements of a weight that are zero as the operator sees them."""
        return self._weights[name].coding.zeros(self._values[name])


def changes_of(plan: Plan, folder: Path, model: Model, inventory: Inventory) -> CarriedTensors:
    """The tensors in the file beside a plan.

    Raises:
        PlanError: it is not there, or is not the plan's.
    """
    assert plan.changes is not None
    if Path(plan.changes.file).name != plan.changes.file or plan.changes.file in ("", ".", ".."):
        raise PlanError(
            f"the plan has its changes in '{plan.changes.file}', which is no file beside it; "
            "use the plan as it was made"
        )
    path = folder / plan.changes.file
    if not os.path.isfile(path):  # noqa: PTH113  # whose name is from a file, and may be none that a system takes
        raise PlanError(
            f"the plan changes values by data, and '{path}', which has them, is not there; put it beside the plan"
        )
    if sha256_of(path) != plan.changes.sha256:
        raise PlanError(f"'{path}' is not the file that the plan was made with; put that one beside the plan")
    values = read_tensors(path, {name: model.array(name) for name in plan.changed if name in model.stored})
    wrong = next((name for name in plan.changed if name not in values or name not in model.stored), None)
    if wrong is not None or len(values) != len(plan.changed):
        raise PlanError(f"'{path}' and the plan do not name the same tensors; write both again")
    return CarriedTensors(inventory, values)


def planned_weights(
    plan: Plan, folder: Path, model: Model, inventory: Inventory, *, by_name: bool
) -> PrunedWeights | CarriedTensors:
    """What a plan changes in this model, checked against what the plan says of it.

    Args:
        folder: where the plan is.
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
    if by_name and plan.changes is not None:
        raise PlanError(
            f"the plan was fitted to data (update '{plan.update}'), so its values are for its own model alone; run "
            "'onnxsens auto' on this one, or make the plan with '--update none'"
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
    if plan.changes is None and technique.needs_moments:
        raise PlanError(f"the plan is of technique '{plan.technique}' and has no changes; use the plan as it was made")
    levels = {planned.name: planned.level for planned in plan.weights}
    changed: PrunedWeights | CarriedTensors = (
        PrunedWeights(model, inventory, technique, levels)
        if plan.changes is None
        else changes_of(plan, folder, model, inventory)
    )
    for planned in plan.weights:
        zeros = changed.zeros(planned.name) if planned.name in changed else known[planned.name].zeros
        if zeros != planned.zeros and not by_name:
            raise PlanError(
                f"weight '{planned.name}' would get {zeros} zeros, and the plan says {planned.zeros}; "
                "the plan was changed after it was made"
            )
    return changed
