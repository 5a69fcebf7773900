"""The stages, each alone and in a row: what the command line calls, and what `import onnxsens` gives.

Every function reads files and leaves files or records; none prints.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from onnxsens.artefacts import PLAN_FILE, PRUNED_FILE
from onnxsens.counting import counting
from onnxsens.engine import DENSE, Change, Question, SplitName
from onnxsens.errors import DataError, ModelError, StorageError, UsageError
from onnxsens.files import claim, same_place
from onnxsens.iterating import iterate
from onnxsens.model import take_inventory, write_model
from onnxsens.native import model_at
from onnxsens.options import Guard, Options
from onnxsens.plan import (
    Goal,
    Plan,
    planned_weights,
    read_plan,
)
from onnxsens.plan.verification import judge, refuse_noisy
from onnxsens.planning import make_plan
from onnxsens.results import Applied, Inspection, ScanResult, Verification
from onnxsens.runs import (
    chosen_weights,
    expected_seconds,
    measure_control,
    open_run,
    predict_curves,
    predicted_beside,
    repeat_dense,
    search_from_predictions,
)
from onnxsens.scan import Observer, Point, Search, tolerance
from onnxsens.targets import Assessment, Target, look_up
from onnxsens.techniques import control_of
from onnxsens.usercode import is_code
from onnxsens.workbench import Workbench
from onnxsens.workforce import hire

STEP = 0.05
RESOLUTION = 0.01


def inspect(
    model_path: str | Path,
    dims: Mapping[str, int] | None = None,
    custom_op_libs: Sequence[str] = (),
    guard: Guard | None = None,
) -> Inspection:
    """Find what can be pruned, and count MACs on one random sample.

    Raises:
        ModelError: it is no ONNX model, or there is nothing to prune.
    """
    guard = guard or Guard()
    with counting(Path(model_path), dims or {}, custom_op_libs, guard) as counted:
        inventory = take_inventory(counted.model)
        if not inventory.weights:
            return Inspection(counted.model, inventory, {}, "nothing to count")
        try:
            return Inspection(counted.model, inventory, counted.macs(), "of one random sample")
        except (DataError, ModelError) as error:
            return Inspection(counted.model, inventory, {}, f"unknown: {error}")


def scan(
    model_path: str | Path,
    options: Options,
    folder: Path,
    searches: Mapping[str, Search],
    tolerances: Mapping[str, float] | None = None,
    observer: Observer | None = None,
    *,
    control: bool = False,
    predict: bool = False,
    weights: Sequence[str] = (),
) -> ScanResult:
    """Measure curves into `folder/scan.db`; what is there already is not measured again.

    Args:
        searches: by name; each is run on every weight.
        tolerances: metric to tolerance, at most one; searches look for levels within it.
        control: measure random pruning at the same levels too.
        predict: compare with the curves that one calibration pass predicts. Searches with a tolerance start where these
            put the answer in any case, unless `options.exact`.
        weights: patterns of names (`*` stands for anything) of the only weights to scan; all where there are none.

    Raises:
        GoalError: the tolerance is less than two runs of the dense model differ by.
        OnnxsensError: as its parts do.
    """
    tolerances = dict(tolerances or {})
    if len(tolerances) > 1:
        raise UsageError(f"{len(tolerances)} tolerances were given; a search looks at one metric")
    metric = next(iter(tolerances), None)
    for name, search in searches.items():
        if search.needs_tolerance and metric is None:
            raise UsageError(f"{name} needs a tolerance; give --tolerance METRIC=X, or use sweet-spotter or grid")
    if metric:
        if options.search_metric not in (None, metric):
            raise UsageError(f"searches look at one metric: --search-metric {options.search_metric} has to be left out")
        options = replace(options, search_metric=metric)
    with Workbench(model_path, options, observer=observer) as bench:
        chance = control_of(bench.technique, options.seed) if control else None
        chosen = chosen_weights(bench.inventory, weights)
        store = open_run(bench, folder)
        most = sum(search.most for search in searches.values())
        crew = hire(bench, store, expected_seconds(bench, most, len(chosen) / len(bench.inventory.weights)))
        scanner = bench.scanner(store, crew=crew)
        noise = repeat_dense(bench, scanner)
        limit = tolerances[metric] if metric else None
        refuse_noisy(noise, Goal({} if limit is None else {bench.search_metric: limit}))
        accepts = None if limit is None else tolerance(limit)
        effects = scanner.look_for_effects(chosen)
        live = [weight for weight in chosen if effects[weight.name] == "effective"]
        without: Mapping[str, str] = {}
        if predict or (limit is not None and not options.exact):
            without = predict_curves(bench, store, scanner)
        bench.observer.stage("scan", len(live) * most)
        picks = {
            name: search_from_predictions(scanner, live, search, accepts, bench.search_metric)
            for name, search in searches.items()
        }
        failures = scanner.failures()
        controls: list[Point] = []
        if chance:
            random = bench.scanner(store, chance, crew)
            controls = measure_control(random, scanner.levels())
            failures = {name: f"random pruning: {text}" for name, text in random.failures().items()} | failures
        return ScanResult(
            scanner.levels(),
            picks,
            effects,
            failures,
            bench.inventory.skipped,
            bench.search_metric,
            limit,
            controls,
            predicted_beside(scanner, live, bench.search_metric) if predict else {},
            without if predict else {},
        )


def auto(
    model_path: str | Path,
    options: Options,
    folder: Path,
    goal: Goal,
    observer: Observer | None = None,
    *,
    step: float = STEP,
    resolution: float = RESOLUTION,
    force: bool = False,
    pareto: bool = False,
    iterative: int | None = None,
    checkpoint: Path | None = None,
) -> Plan:
    """Scan, plan, apply and verify; leaves `scan.db`, `plan.json` and `pruned.onnx` in `folder`.

    The plan is written whether or not it passed its verification: see `plan.quality.verified`.

    Args:
        force: overwrite a plan or model in `folder` that this run did not write.
        pareto: measure the whole front too, and leave it in `pareto.json`.
        iterative: steps in which sparsity rises to the goal's, each from the model that the one before left.
        checkpoint: the source's parameters; leaves `map.json`, and masks and updated values under their names.

    Raises:
        OnnxsensError: as its parts do.
    """
    if iterative is not None:
        return iterate(model_path, options, folder, goal, iterative, observer, step, resolution, force, checkpoint)
    results = PLAN_FILE, PRUNED_FILE
    return make_plan(
        model_path,
        options,
        folder,
        goal,
        observer,
        step,
        resolution,
        results,
        force,
        pareto=pareto,
        checkpoint=checkpoint,
    )


def plan(
    model_path: str | Path,
    options: Options,
    folder: Path,
    goal: Goal,
    observer: Observer | None = None,
    *,
    step: float = STEP,
    resolution: float = RESOLUTION,
    force: bool = False,
    pareto: bool = False,
    checkpoint: Path | None = None,
) -> Plan:
    """Choose a level for every weight, check the choice as a whole, leave `plan.json` in `folder`.

    Measures what the searches still ask for; with a finished scan in `folder` that is little.

    Args:
        force: overwrite a plan in `folder` that this run did not write.
        pareto, checkpoint: as of `auto`.

    Raises:
        GoalError: the goal cannot be met, or not be decided with these samples.
        OnnxsensError: as its parts do.
    """
    results = (PLAN_FILE,)
    return make_plan(
        model_path,
        options,
        folder,
        goal,
        observer,
        step,
        resolution,
        results,
        force,
        pareto=pareto,
        checkpoint=checkpoint,
    )


def apply(
    model_path: str | Path,
    plan_path: str | Path,
    out: str | Path,
    *,
    by_name: bool = False,
    force: bool = False,
    guard: Guard | None = None,
) -> Applied:
    """Write the model with the plan's zeros; nothing else in it changes.

    Raises:
        PlanError: the plan is for another model (unless `by_name`) or does not fit it.
        StorageError: `out` exists (unless `force`), is the model itself, or cannot be written.
    """
    out = Path(out)
    with model_at(model_path, guard or Guard()) as model:
        made = read_plan(plan_path)
        for used in (model.path, Path(plan_path), *model.external_files):
            if same_place(out, used):
                raise StorageError(f"'{out}' is what the pruned model is made from; choose another name for it")
        claim(out, force=force)
        inventory = take_inventory(model, apart=[weight.name for weight in made.weights])
        changed = planned_weights(made, Path(plan_path).parent, model, inventory, by_name=by_name)
        write_model(model, changed, out)
        zeros = sum(
            changed.zeros(weight.name) if weight.name in changed else weight.zeros for weight in inventory.weights
        )
        return Applied(out, sorted(changed), zeros, inventory.planned_parameters)


def verify(
    model_path: str | Path,
    plan_path: str | Path,
    options: Options,
    limits: Mapping[str, float] | None = None,
    confidence: float | None = 0.95,
    observer: Observer | None = None,
) -> Verification:
    """Run the plan's zeros beside the dense model on samples.

    Where the data are those the plan was made with, only its hold-out split is used: the rest was chosen on; and the
    bound is that of the plan's last look at it.

    Args:
        limits: metric to the largest drop; None takes the plan's own.

    Raises:
        UsageError: neither the plan nor the caller names a limit, or only the plan names one on a user's code.
    """
    made = read_plan(plan_path)
    code = [name for name in made.objective.max_drop if is_code(name)] if limits is None else []
    if code:
        raise UsageError(f"the plan's limit is on code, '{code[0]}'; name it again with --max-drop FILE.py:FUNCTION=X")
    goal = Goal(max_drop=made.objective.max_drop if limits is None else limits, confidence=confidence)
    if not goal.max_drop:
        raise UsageError("the plan has no quality goal, so there is no limit to verify; give --max-drop METRIC=X")
    names = tuple(goal.max_drop)
    options = replace(options, technique=made.technique, seed=made.data.seed)
    apart = [weight.name for weight in made.weights]
    with ExitStack() as stack:
        bench = stack.enter_context(Workbench(model_path, options, names, observer, whole=True, apart=apart))
        own = bench.facts.data_sha256 == made.data.sha256 and made.data.holdout > 0
        if own:
            bench.close()
            options = replace(options, holdout=made.data.holdout / made.data.samples)
            observer = None  # it has been told
            bench = stack.enter_context(Workbench(model_path, options, names, observer, apart=apart))
        else:
            bench.observer.note(
                "these are not the samples that the plan was made with, or prepared otherwise; all are used"
            )
        planned = planned_weights(made, Path(plan_path).parent, bench.model, bench.inventory, by_name=False)
        changes = tuple(
            Change(weight.name, made.technique, weight.level) for weight in made.weights if weight.name in made.changed
        )
        base = DENSE
        if made.changes is not None:
            changes, base = (), made.changes.sha256
            bench.native.give(base, planned)
        split: SplitName = "holdout" if own else "search"
        samples = bench.sizes[split]
        answer = bench.evaluator.answer(Question(changes, split, (0, samples), names, True, base))
        verdicts = judge(answer.measurements, goal, look=made.quality.looks if own else 0)
        return Verification(verdicts, answer.failures, "holdout" if own else "all", samples)


def assess(target: Target, model_path: str | Path, guard: Guard | None = None) -> Assessment:
    """Which weights of a model a target takes zeros in, and why not the others; nothing of it is run.

    Raises:
        ModelError: it is no ONNX model.
    """
    with model_at(model_path, guard or Guard()) as model:
        return look_up(target, model)
