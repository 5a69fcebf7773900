"""What a plan is worth, shown beside what else could have been done: milder updates, and known rules at its sparsity.

All on the hold-out split, none of it chosen there.
"""

from collections.abc import Mapping, Sequence

from onnxsens.plan.climbing import orders_of
from onnxsens.plan.ensemble import Ensemble
from onnxsens.plan.pickers import Ground
from onnxsens.plan.planfile import Alternative, Difference
from onnxsens.plan.planner import Chosen
from onnxsens.plan.task import Task
from onnxsens.plan.verification import bound_and_interval
from onnxsens.scan import Joint, Scanner
from onnxsens.usercode import without_folder

BASELINES = ("uniform", "erk", "lamp")


def updates_compared(task: Task, chosen: Chosen, methods: Sequence[str]) -> list[Alternative]:
    """The plan's levels carried out by each method, on the samples that the plan was fitted on."""
    if task.carrying is None or chosen.best.carried is None:
        return []
    found = []
    for method, carried in orders_of(task.carrying, chosen.best, methods).items():
        joint = task.scanner.joint(chosen.best.levels, "holdout", task.scanner.metrics, base=carried.name)
        found.append(alternative(method, chosen.best.sparsity, joint))
    return found


def baselines_compared(task: Task, chosen: Chosen, plain: Scanner) -> list[Alternative]:
    """Magnitude pruning by known rules, nothing updated, at the plan's sparsity.

    Args:
        plain: a scanner of that technique.
    """
    ground = Ground(plain, task.live, task.matrix, task.search_metric, 0.05, 0.01)

    def measure(levels: Mapping[str, float], accepts: object = None, most: int | None = None) -> Joint:
        return plain.joint(levels, "holdout", plain.metrics)

    ensemble = Ensemble(ground, measure, lambda plans, metric: [], BASELINES)
    found = []
    for name in BASELINES:
        levels = ensemble.levels_at(name, chosen.best.sparsity)
        if levels is not None:
            joint = measure(levels)
            found.append(alternative(name, joint.sparsity, joint))
    return found


def alternative(name: str, sparsity: float, joint: Joint) -> Alternative:
    """The record."""
    differences = {}
    for metric, measured in sorted(joint.measurements.items()):
        _, low, high = bound_and_interval(measured, None)
        differences[without_folder(metric)] = Difference(drop=measured.drop, low=low, high=high)
    return Alternative(name=name, sparsity=sparsity, metrics=differences)
