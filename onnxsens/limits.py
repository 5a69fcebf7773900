"""Which levels each weight may have in a run: by its owner's word, by the pattern that it has to divide into, by the
target that the model is for."""

from dataclasses import replace

from onnxsens.errors import UsageError
from onnxsens.model import Weight
from onnxsens.options import Options
from onnxsens.plan import Goal
from onnxsens.plan.constraints import FREE, dense, ranges
from onnxsens.plan.pickers.allowed import Allowed
from onnxsens.targets import Target, targets
from onnxsens.workbench import Workbench

AUTO = "auto"


def for_target(options: Options, goal: Goal) -> Options:
    """The options, with the pattern that the goal's target needs.

    Raises:
        UsageError: there is no such target, or the technique has another pattern.
    """
    target = target_of(goal)
    if target is None or target.technique_pattern is None:
        return options
    name, _, pattern = options.technique.partition("+")[0].partition(":")
    if pattern and pattern != target.technique_pattern:
        raise UsageError(
            f"target {target.name} takes the pattern {target.technique_pattern}, and --technique '{options.technique}' "
            "has another; leave its pattern out"
        )
    return replace(options, technique=f"{name}:{target.technique_pattern}")


def target_of(goal: Goal) -> Target | None:
    """The record of the goal's target."""
    return None if goal.target is None else targets.get(goal.target)


def allowed_levels(bench: Workbench, goal: Goal) -> dict[str, Allowed]:
    """Of every weight that may not have any level.

    Raises:
        UsageError: limits contradict each other, or fit no weight.
    """
    target = target_of(goal)
    own = ranges(bench.inventory.weights, goal.constraints)
    found = {}
    for weight in bench.inventory.weights:
        chosen = own[weight.name]
        for why in reasons(bench, weight, target):
            chosen = chosen.meet(dense(why), weight.name)
        levels = () if target is None or target.levels is None or chosen.high == 0 else target.levels
        if chosen != FREE or levels:
            found[weight.name] = Allowed(chosen, levels)
    return found


def reasons(bench: Workbench, weight: Weight, target: Target | None) -> list[str]:
    """Why a weight has to stay dense, if there is anything."""
    refused = bench.technique.refuses(weight.matrix_shape, weight.channels)
    if refused:
        return [f"stays dense: {refused}"]
    unfit = None if target is None else target.refuses(weight)
    return [] if target is None or unfit is None else [f"target {target.name}: {unfit}"]


def frozen(bench: Workbench, goal: Goal) -> list[str]:
    """Weights that keep every bit, since their owner says so."""
    return [name for name, limit in ranges(bench.inventory.weights, goal.constraints).items() if limit.high == 0]
