"""What a run would take, before it is made."""

from collections.abc import Sequence
from pathlib import Path

from onnxsens.native import FIT_OPERATIONS, OPERATIONS_A_SECOND
from onnxsens.options import Options
from onnxsens.plan import Goal, refuse_undecidable
from onnxsens.plan.pickers import members_with
from onnxsens.plan.planner import TYPICAL_JOINT_RUNS, typical_levels
from onnxsens.results import Estimate
from onnxsens.runs import chosen_weights, refuse_empty_holdout
from onnxsens.scan import TopDown
from onnxsens.scan.sampling import FIRST_BLOCK
from onnxsens.workbench import Workbench

# What `auto` took on the models that ship with this.
QUICK_LEVELS = 6  # of a weight whose curve is predicted
WHOLE_RUNS = 8  # joint runs that went to the end of a split, the dense ones among them
REBUILDS = 20  # plans that are carried out, those that it is compared with among them
REBUILT_ON = 1024  # samples, on average; each runs in the dense and in the pruned model
DOWNSTREAM = 0.5  # of a run, that is left below the typical weight


def estimate(
    model_path: str | Path,
    options: Options,
    goal: Goal | None = None,
    *,
    levels: int = 0,
    step: float = 0.05,
    resolution: float = 0.01,
    weights: Sequence[str] = (),
) -> Estimate:
    """What a run would take from scratch in one process, by the time of a few dense samples; nothing is written.

    Counts what the searches ask for on a typical curve, and that most questions are answered by the first block of
    samples; with `options.exact` all samples of every question.

    Args:
        goal: of the plan that is to be made; None for a scan alone.
        levels: of a scan alone: how many levels each weight is measured at.
        weights: of a scan alone: patterns of the names of the only ones to scan.
    """
    TopDown(step, resolution)  # refuses what makes no sense
    members_with(goal.pickers if goal else ())
    way = "reconstruct" if goal else "none"
    with Workbench(model_path, options, tuple(goal.max_drop) if goal else (), update=way) as bench:
        count = len(chosen_weights(bench.inventory, weights))
        search = bench.sizes["search"]
        samples = min(options.scan_samples, search)
        joint_runs = whole = 0
        if goal:
            refuse_empty_holdout(bench)
            refuse_undecidable(bench.metrics, bench.binary, goal, bench.sizes["holdout"], options.holdout)
            joint_runs, whole = TYPICAL_JOINT_RUNS, TYPICAL_JOINT_RUNS if options.exact else WHOLE_RUNS
            levels = typical_levels(step, resolution) if options.exact else QUICK_LEVELS
            samples = samples if options.exact else min(FIRST_BLOCK, samples)
        points = count * levels
        taken = points * samples * DOWNSTREAM + (joint_runs - whole) * min(FIRST_BLOCK, search) + whole * search
        rebuilds = REBUILDS if goal and bench.way.update != "none" else 0
        taken += rebuilds * 2 * min(REBUILT_ON, search)
        cubes = sum(weight.matrix_shape[1] ** 3 for weight in bench.inventory.weights)
        seconds = taken * bench.seconds_per_sample + rebuilds * FIT_OPERATIONS * cubes / OPERATIONS_A_SECOND
        return Estimate(count, points, joint_runs + rebuilds, seconds)
