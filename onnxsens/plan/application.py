"""Carry a plan out on a model: the very zeros it was measured with."""

from collections.abc import Mapping

import numpy as np

from onnxsens.arrays import FloatArray
from onnxsens.errors import PlanError
from onnxsens.model import Inventory, Model, Weight
from onnxsens.plan.planfile import Plan
from onnxsens.scan.searches import Level
from onnxsens.techniques import Technique, make_technique


def pruned_weights(
    model: Model, inventory: Inventory, technique: Technique, levels: Mapping[str, Level]
) -> dict[str, FloatArray]:
    """New values, in the weight's own shape, of every weight that its level changes."""
    changed = {}
    for weight in inventory.weights:
        level = levels.get(weight.name, 0.0)
        if technique.steps(weight.size, level) > weight.zeros:
            changed[weight.name] = pruned(model, weight, technique, level)
    return changed


def pruned(model: Model, weight: Weight, technique: Technique, level: Level) -> FloatArray:
    """One weight at a level."""
    matrix = weight.layout.to_matrix(model.array(weight.name))
    values: FloatArray = np.ascontiguousarray(weight.layout.from_matrix(technique.prepare(matrix).at(level)))
    return values


def planned_weights(plan: Plan, model: Model, inventory: Inventory, *, by_name: bool) -> dict[str, FloatArray]:
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
    changed = pruned_weights(model, inventory, technique, levels)
    for planned in plan.weights:
        values = changed.get(planned.name)
        zeros = known[planned.name].zeros if values is None else values.size - int(np.count_nonzero(values))
        if zeros != planned.zeros and not by_name:
            raise PlanError(
                f"weight '{planned.name}' would get {zeros} zeros, and the plan says {planned.zeros}; "
                "the plan was changed after it was made"
            )
    return changed
