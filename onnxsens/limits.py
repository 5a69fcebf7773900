"""Which levels each weight may have in a run: by its owner's word, by the pattern that it has to divide into, by the
target that the model is for."""

from dataclasses import replace

from onnxsens.errors import UsageError
from onnxsens.model import Weight
from onnxsens.options import Options
from onnxsens.plan import Goal
from onnxsens.plan.constraints import FREE, Range, dense, ranges
from onnxsens.plan.pickers.allowed import Allowed
from onnxsens.scan.searches import Level
from onnxsens.targets import Target, targets
from onnxsens.techniques import Sparsity, Technique, kinds
from onnxsens.techniques.bits import LEVELS, Bits
from onnxsens.techniques.patterns import NOfM
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
    if options.technique in kinds.names():
        raise UsageError(
            f"target {target.name} takes zeros in the pattern {target.technique_pattern}, and --technique "
            f"'{options.technique}' makes none; leave one of them out"
        )
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
            found[weight.name] = within(chosen, levels or few_levels(bench.technique), weight.name)
    return found


def within(limit: Range, levels: tuple[Level, ...], weight: str) -> Allowed:
    """Of levels, those that a limit allows.

    Raises:
        UsageError: there is none.
    """
    try:
        return Allowed(limit, levels)
    except ValueError:
        known = ", ".join(f"{level:g}" for level in (0.0, *levels))
        raise UsageError(
            f"weight '{weight}' can have the levels {known} only, and {limit.why} allows none of them; change the limit"
        ) from None


def few_levels(technique: Technique) -> tuple[Level, ...]:
    """The only levels besides 0 that a technique has; none are named where it has any."""
    if isinstance(technique, Bits):
        return LEVELS
    if isinstance(technique, Sparsity) and isinstance(technique.pattern, NOfM):
        return (1 - technique.pattern.kept / technique.pattern.group,)
    return ()


def refuse_uncountable(technique: Technique, goal: Goal) -> None:
    """Raises:
    UsageError: the goal counts zeros, and the technique makes none.
    """
    if goal.macs is not None and technique.level_kind != "sparsity":
        raise UsageError(
            f"--macs is a budget that zeros save, and technique '{technique.name}' makes none; give --size"
        )


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
