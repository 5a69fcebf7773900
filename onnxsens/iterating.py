"""Sparsity that rises in steps: each step scans the model as the one before left it, and prunes that a little further.

Moments, curves and masks are so those of the network as it is by then. What each step costs is measured on the hold-out
split beside the model that all began with, and the step is named after which quality falls for certain.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.artefacts import CHANGES_FILE, PLAN_FILE, PRUNED_FILE
from onnxsens.engine.carrying import Carried
from onnxsens.errors import StorageError, UsageError
from onnxsens.files import prepare_directory, same_place, sha256_of
from onnxsens.frameworks.exporting import SOURCE_FILES
from onnxsens.frameworks.mapping import make_map
from onnxsens.limits import allowed_levels, for_target
from onnxsens.model import Model, load_model, take_inventory
from onnxsens.options import Options
from onnxsens.plan import Chosen, Goal, Plan
from onnxsens.plan.bounds import normal_quantile
from onnxsens.plan.ensemble import Candidate
from onnxsens.plan.evidence import alternative
from onnxsens.plan.pickers import members_with
from onnxsens.plan.verification import judge
from onnxsens.planning import (
    describe,
    finish,
    make_plan,
    refuse_checkpoint,
    refuse_foreign_page,
    sources_of,
    task_of,
    with_search,
)
from onnxsens.runs import open_run, refuse_empty_holdout, refuse_foreign, repeat_dense
from onnxsens.scan import Joint, Observer
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.techniques import Sparsity, make_technique
from onnxsens.ways import plain
from onnxsens.workbench import Workbench

ALPHA = 0.05  # that some step is said to hurt which does not
RESULTS = (PLAN_FILE, PRUNED_FILE, CHANGES_FILE)


def sparsity_after(step: int, steps: int, goal: float) -> float:
    """What step 1, 2, ... goes to: quickly at first. Zhu & Gupta, arXiv:1710.01878, eq. 1, from 0."""
    return goal * (1 - (1 - step / steps) ** 3)


def iterate(
    model_path: str | Path,
    options: Options,
    folder: Path,
    goal: Goal,
    steps: int,
    observer: Observer | None,
    step: float,
    resolution: float,
    force: bool,
    checkpoint: Path | None = None,
) -> Plan:
    """A plan in so many steps; each has a run of its own in `folder/steps`, which the next call goes on with.

    Raises:
        UsageError: the goal is no sparsity, or there are not several steps.
        OnnxsensError: as its parts do.
    """
    if goal.sparsity is None:
        other = "" if goal.kind == "knee" else f" in place of the goal of {goal.kind}"
        raise UsageError(f"--iterative rises to a sparsity; give --sparsity{other}")
    if not isinstance(make_technique(plain(options.technique)), Sparsity):
        raise UsageError(f"--iterative raises sparsities, and technique '{options.technique}' has none; leave it out")
    if steps < 2:
        raise UsageError(f"--iterative {steps} is no number of steps; give 2 or more")
    members_with(goal.pickers)  # refuses what is none, before any step
    if any(same_place(model_path, folder / name) for name in RESULTS):
        raise StorageError(f"the run would overwrite the model itself, '{model_path}'; choose another folder")
    results = (*RESULTS, *(SOURCE_FILES if checkpoint else ()))
    refuse_foreign_page(folder, force=force)
    if not (folder / STORE_FILE).exists():
        refuse_foreign(folder, results, {}, force=force)
    if checkpoint is not None:
        model = load_model(model_path)
        make_map(model, take_inventory(model), checkpoint)  # refuses what is another model's, before any step
    options = for_target(options, goal)
    prepare_directory(folder)
    files: list[Path] = []
    for number in range(1, steps + 1):
        own = folder / "steps" / f"{number}-of-{steps}"
        prepare_directory(own)
        target = replace(goal, sparsity=sparsity_after(number, steps, goal.sparsity))
        begun = files[-1] if files else model_path
        make_plan(begun, options, own, target, observer, step, resolution, (PLAN_FILE, PRUNED_FILE), force)
        files.append(own / PRUNED_FILE)
    with Workbench(model_path, options, (), observer, update="reconstruct") as bench:
        refuse_empty_holdout(bench)
        store = open_run(bench, folder)
        refuse_checkpoint(bench, folder, checkpoint)
        refuse_foreign(folder, results, store.artefacts(), force=force)
        sources = sources_of(bench, store, folder, checkpoint)
        scanner = bench.scanner(store)
        repeat_dense(bench, scanner)
        effects = scanner.look_for_effects()
        task = task_of(bench, scanner, goal, effects, allowed_levels(bench, goal))
        joints = []
        for path in files:
            name = sha256_of(path)
            bench.native.give(name, differences(bench.model, load_model(path)))
            levels = achieved(bench, name)
            joints.append(scanner.joint(levels, "holdout", scanner.metrics, base=name))
        searched = scanner.joint(levels, "search", scanner.metrics, base=name)
        carried = Carried(name, tuple(sorted(bench.base(name))), {}, {}, 0.0)
        best = Candidate("iterative", False, levels, searched, carried=carried, fitted_on=bench.sizes["search"])
        chosen = Chosen([best], joints[-1], judge(joints[-1].measurements, goal, 1), 1, None)
        metric = next((name for name in bench.metrics if name != bench.search_metric), bench.search_metric)
        made = msgspec.structs.replace(
            with_search(describe(bench, store, task, chosen, folder), goal, step, resolution),
            steps=[alternative(f"step {number}", each.sparsity, each) for number, each in enumerate(joints, 1)],
            hurts_after=last_harmless(joints, metric),
        )
        return finish(bench, store, made, folder, results, sources, force=force)


def differences(dense: Model, pruned: Model) -> dict[str, AnyArray]:
    """Stored tensors of the pruned model that are not those of the dense one, by name."""
    found = {}
    for name in dense.stored:
        values = pruned.array(name)
        if not np.array_equal(np.ravel(values).view(np.uint8), np.ravel(dense.array(name)).view(np.uint8)):
            found[name] = values
    return found


def achieved(bench: Workbench, name: str) -> dict[str, float]:
    """The sparsity of every weight in a variant."""
    values = bench.base(name)
    return {
        weight.name: (weight.coding.zeros(values[weight.name]) if weight.name in values else weight.zeros) / weight.size
        for weight in bench.inventory.weights
    }


def last_harmless(joints: Sequence[Joint], metric: str) -> int | None:
    """The step before the first one that for certain loses more than it; None where there is none.

    By the paired differences of samples, one-sided, with an error rate of `ALPHA` over all steps together.
    """
    reach = normal_quantile(ALPHA / len(joints))
    before = np.zeros(1)
    for number, joint in enumerate(joints):
        measured = joint.measurements.get(metric)
        if measured is None or measured.drops is None or not measured.extendable:
            return None
        more = measured.drops - before
        error = float(more.std(ddof=1)) / math.sqrt(len(more)) if len(more) > 1 else math.inf
        if float(more.mean()) > reach * error and float(more.mean()) > 0:
            return number
        before = measured.drops
    return None
