"""From an opened workbench to a plan and its files: what `plan` and `auto` share."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from onnxsens.artefacts import CHANGES_FILE, PARETO_FILE, PLAN_FILE, PRUNED_FILE, REPORT_FILE
from onnxsens.engine import Effect
from onnxsens.engine.carrying import methods_for
from onnxsens.engine.tensor_file import write_tensors
from onnxsens.errors import OnnxsensError, StorageError, UsageError
from onnxsens.files import same_place, sha256_of, storage_errors
from onnxsens.frameworks.exporting import MAP_FILE, SOURCE_FILES, leave_masks
from onnxsens.frameworks.mapfile import Map, read_map, write_map
from onnxsens.frameworks.mapping import covered, make_map, with_sources
from onnxsens.frameworks.masks import carry_back, lost
from onnxsens.limits import allowed_levels, for_target, frozen, refuse_uncountable
from onnxsens.model import write_model
from onnxsens.options import Options
from onnxsens.plan import Goal, Plan, Planner, Task, planned_weights, refuse_undecidable, write_plan, write_up
from onnxsens.plan.application import CarriedTensors, PrunedWeights
from onnxsens.plan.climbing import Carrying
from onnxsens.plan.evidence import baselines_compared, updates_compared
from onnxsens.plan.front import front_of, write_front
from onnxsens.plan.pickers import MEMBERS, members_with
from onnxsens.plan.pickers.allowed import AnyLevel
from onnxsens.plan.planfile import Changes
from onnxsens.plan.planner import Chosen, typical_levels
from onnxsens.plan.verification import refuse_noisy
from onnxsens.reporting import claim_page, report
from onnxsens.runs import (
    data_source,
    expected_seconds,
    generator,
    open_run,
    predict_curves,
    refuse_empty_holdout,
    refuse_foreign,
    repeat_dense,
)
from onnxsens.scan import Observer, Scanner, Store, TopDown
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.scan.store import UNFINISHED
from onnxsens.techniques import Sparsity, make_sparsity
from onnxsens.workbench import Workbench
from onnxsens.workforce import hire

COSTLY = 5e10  # cubes of the columns of all weights, from which carrying a plan out takes minutes


def make_plan(
    model_path: str | Path,
    options: Options,
    folder: Path,
    goal: Goal,
    observer: Observer | None,
    step: float,
    resolution: float,
    results: Sequence[str],
    force: bool,
    *,
    pareto: bool = False,
    checkpoint: Path | None = None,
) -> Plan:
    """What `auto` and `plan` share.

    Args:
        results: which files to leave in `folder`.
        pareto: measure the whole front too, and leave it in `pareto.json`.
        checkpoint: the source's parameters; leaves `map.json` and the plan's masks under their names.
    """
    results = (*results, CHANGES_FILE, *([PARETO_FILE] if pareto else []), *(SOURCE_FILES if checkpoint else ()))
    TopDown(step, resolution)  # refuses what makes no sense, before anything is opened
    members = members_with(goal.pickers)
    with storage_errors(folder):
        folder.exists()  # or may not even be asked for
    if any(same_place(model_path, folder / name) for name in results):
        raise StorageError(f"the run would overwrite the model itself, '{model_path}'; choose another folder")
    refuse_foreign_page(folder, force=force)
    if not (folder / STORE_FILE).exists():
        refuse_foreign(folder, results, {}, force=force)
    if "+" in options.technique:
        masks, _, update = options.technique.partition("+")
        raise UsageError(
            f"--technique '{options.technique}' names an update of single weights, for a scan; for a plan, give "
            f"--technique {masks} --update {update}"
        )
    options = for_target(options, goal)
    with Workbench(model_path, options, tuple(goal.max_drop), observer, update="reconstruct") as bench:
        refuse_empty_holdout(bench)
        refuse_uncountable(bench.technique, goal)
        refuse_checkpoint(bench, folder, checkpoint)
        allowed = allowed_levels(bench, goal)
        refuse_undecidable(bench.metrics, bench.binary, goal, bench.sizes["holdout"], options.holdout)
        store = open_run(bench, folder)
        refuse_foreign(folder, results, store.artefacts(), force=force)
        sources = sources_of(bench, store, folder, checkpoint)
        crew = hire(bench, store, expected_seconds(bench, typical_levels(step, resolution), 0.25))
        scanner = bench.scanner(store, crew=crew)
        refuse_noisy(repeat_dense(bench, scanner), goal)
        effects = scanner.look_for_effects()
        if not options.exact:
            predict_curves(bench, store, scanner)
        task = task_of(bench, scanner, goal, effects, allowed)
        planner = Planner(task, step, resolution, members)
        if pareto:
            front = front_of(planner.front(), bench.search_metric)
            with store.writing(folder / PARETO_FILE):
                write_front(front, folder / PARETO_FILE)
        chosen = planner.choose()
        made = with_search(describe(bench, store, task, chosen, folder), goal, step, resolution)
        return finish(bench, store, made, folder, results, sources, force=force)


@dataclass(frozen=True, eq=False)
class Sources:
    """What the model's weights are where it came from. `files`: whether masks are left beside the plan."""

    map: Map
    files: bool


def refuse_checkpoint(bench: Workbench, folder: Path, checkpoint: Path | None) -> None:
    """Stop where a checkpoint makes no sense, before anything is measured.

    Raises:
        UsageError: the plan will have no zeros to carry back.
        StorageError: it lies where a result is to be written.
    """
    if checkpoint is None:
        return
    if not isinstance(bench.way.masks, Sparsity):
        raise UsageError(
            f"--checkpoint is for carrying zeros back, and technique '{bench.way.masks.name}' sets none; leave it out"
        )
    if any(same_place(checkpoint, folder / name) for name in SOURCE_FILES):
        raise StorageError(f"the run would overwrite the checkpoint itself, '{checkpoint}'; choose another folder")


def sources_of(bench: Workbench, store: Store, folder: Path, checkpoint: Path | None) -> Sources:
    """Match the model with a checkpoint; without one, go on with the map that this run has, or with what the file says.

    Raises:
        CheckpointError: it cannot be read, or is that of another model.
    """
    written = store.artefacts()
    there = {name: sha256_of(folder / name) for name in SOURCE_FILES if (folder / name).is_file()}
    own = MAP_FILE in there and all(written.get(name) == digest for name, digest in there.items())
    if checkpoint is None and own and isinstance(bench.way.masks, Sparsity):
        return Sources(read_map(folder / MAP_FILE), files=True)
    made = make_map(bench.model, bench.inventory, checkpoint)
    if checkpoint is not None:
        for note in (*made.notes, covered(made.coverage)):
            bench.observer.note(note)
    return Sources(made, files=checkpoint is not None)


def task_of(bench: Workbench, scanner: Scanner, goal: Goal, effects: Mapping[str, Effect], allowed: AnyLevel) -> Task:
    """What is to be planned. Weights that are frozen, and those without effect, keep every bit."""
    idle = [name for name, effect in effects.items() if effect != "effective"]
    return Task(
        scanner,
        bench.model,
        bench.metrics,
        bench.binary,
        bench.search_metric,
        goal,
        effects,
        carrying_of(bench, [*frozen(bench, goal), *idle]),
        bench.macs,
        allowed,
        bench.options.seed,
    )


def with_search(made: Plan, goal: Goal, step: float, resolution: float) -> Plan:
    """The plan, which says who competed, and how finely levels were looked for, where that is not as usual."""
    usual = TopDown()
    words = [word for name in members_with(goal.pickers) if name not in MEMBERS for word in ("--picker", name)]
    words += ["--step", repr(step)] if step != usual.step else []
    words += ["--resolution", repr(resolution)] if resolution != usual.resolution else []
    objective = msgspec.structs.replace(made.objective, limits=[*made.objective.limits, *words])
    return msgspec.structs.replace(made, objective=objective)


def refuse_foreign_page(folder: Path, *, force: bool) -> None:
    """Stop where `report.html` is none of ours, before anything is measured.

    Raises:
        StorageError: it is not, and `force` is off.
    """
    if os.path.lexists(folder / REPORT_FILE):
        claim_page(folder / REPORT_FILE, force=force)


def finish(
    bench: Workbench,
    store: Store,
    made: Plan,
    folder: Path,
    results: Sequence[str],
    sources: Sources,
    *,
    force: bool,
) -> Plan:
    """Leave the plan and its page, and the pruned model and masks where they are wanted.

    Args:
        force: whether a page that is none of ours may be overwritten.

    Returns:
        The plan as it was written, with names of the source.
    """
    made = with_sources(made, sources.map)
    with store.writing(folder / PLAN_FILE):
        write_plan(made, folder / PLAN_FILE)
    changed = planned_weights(made, folder, bench.model, bench.inventory, by_name=False)
    if PRUNED_FILE in results:
        with store.writing(folder / PRUNED_FILE):
            write_model(bench.model, changed, folder / PRUNED_FILE)
    if sources.files:
        with store.writing(folder / MAP_FILE):
            write_map(sources.map, folder / MAP_FILE)
        carried = carry_back(made, bench.model, bench.inventory, changed, sources.map, guesses=False)
        for name in SOURCE_FILES:
            if name != MAP_FILE:
                store.put_artefact(name, UNFINISHED)
        for path in leave_masks(folder / PLAN_FILE, folder, sources.map, carried):
            store.put_artefact(path.name, sha256_of(path))
        for note in lost(carried.left_out, carried.not_updated):
            bench.observer.note(note)
    leave_page(bench, folder, force=force)
    return made


def leave_page(bench: Workbench, folder: Path, *, force: bool) -> None:
    """Beside the plan, which is safe by then: what keeps the page from being written is no failure of the run."""
    try:
        report(folder, force=force)
    except OnnxsensError as error:
        bench.observer.note(f"{REPORT_FILE} was not written: {error}; make it with 'onnxsens report'")


def carrying_of(bench: Workbench, untouched: Sequence[str]) -> Carrying | None:
    """How plans are carried out as a whole; None where weights are changed one by one.

    Args:
        untouched: weights that keep every bit.
    """
    if bench.way.update == "none" and not bench.way.masks.needs_moments:
        return None
    widths = [weight.matrix_shape[1] for weight in bench.inventory.weights if weight.name not in bench.without_moments]
    costly = sum(width**3 for width in widths) > COSTLY
    return Carrying(bench.carrier, bench.way.masks.name, bench.way.update, tuple(dict.fromkeys(untouched)), costly)


def describe(bench: Workbench, store: Store, task: Task, chosen: Chosen, folder: Path) -> Plan:
    """The plan as a record, with what it is compared with; its tensors are written where they depend on data."""
    best = chosen.best
    bench.observer.stage("evidence", 1)
    baselines = []
    if isinstance(bench.way.masks, Sparsity):
        plain = bench.scanner(store, make_sparsity(f"magnitude:{bench.way.masks.pattern_name}"))
        baselines = baselines_compared(task, chosen, plain)
    new: PrunedWeights | CarriedTensors
    changes, updates = None, []
    if best.carried is None:
        levels = {weight.name: best.levels.get(weight.name, 0.0) for weight in bench.inventory.weights}
        new = PrunedWeights(bench.model, bench.inventory, task.scanner.technique, levels)
    else:
        updates = updates_compared(
            task, chosen, list(methods_for(bench.way.update, statistics=bool(bench.shifts.statistics)))
        )
        new = CarriedTensors(bench.inventory, bench.base(best.carried.name))
        with store.writing(folder / CHANGES_FILE):
            write_tensors(folder / CHANGES_FILE, new)
        changes = Changes(file=CHANGES_FILE, sha256=sha256_of(folder / CHANGES_FILE))
    return write_up(
        task,
        chosen,
        generator(bench),
        data_source(bench, task.scanner),
        bench.macs,
        task.scanner.spent,
        new,
        changes,
        updates,
        baselines,
    )
