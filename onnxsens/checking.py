"""`check`: whether a run folder is what it says it is. Changes nothing in it, and runs no model.

Each thing is looked at by itself, so that one that is damaged does not hide the next.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from onnxsens.arrays import AnyArray
from onnxsens.artefacts import CHANGES_FILE, OURS, PARETO_FILE, PLAN_FILE, PRUNED_FILE
from onnxsens.errors import InputError, ModelError, OnnxsensError, PlanError
from onnxsens.files import TEMPORARY, sha256_of
from onnxsens.frameworks.exporting import MAP_FILE, refuse_other_map
from onnxsens.frameworks.mapfile import Map, read_map
from onnxsens.frameworks.masks import MASKS_FILE, WEIGHTS_FILE, Carried, carry_back
from onnxsens.frameworks.sparse_files import plan_of, read_aliases, read_masks, read_weights
from onnxsens.model import Inventory, Model, load_model, take_inventory
from onnxsens.model.comparing import values_differ, what_else_differs
from onnxsens.native import model_at
from onnxsens.opened import limits_of
from onnxsens.options import Guard
from onnxsens.plan import Plan, planned_weights, read_plan
from onnxsens.plan.front import read_front
from onnxsens.results import Finding, RunReport
from onnxsens.scan.examining import StoreReport, examine
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.scan.tables import SCHEMA_VERSION

T = TypeVar("T")


@dataclass
class Folder:
    """What has been made out of a run folder so far; None where it could not be.

    Attributes:
        artefacts: by name, the SHA-256 of what the run wrote.
        guard: where a model's functions are inlined.
    """

    path: Path
    guard: Guard
    store: StoreReport | None = None
    artefacts: Mapping[str, str] = field(default_factory=dict)
    plan: Plan | None = None
    model: Model | None = None
    inventory: Inventory | None = None
    changed: Mapping[str, AnyArray] | None = None
    map: Map | None = None

    def as_written(self, name: str) -> bool | None:
        """Whether a file has the bytes that the run wrote; None where the run wrote none."""
        return sha256_of(self.path / name) == self.artefacts[name] if name in self.artefacts else None

    def refuse_changed(self, name: str) -> None:
        """Raises:
        PlanError: the file is not what the run wrote.
        """
        if self.as_written(name) is False:
            raise PlanError("it was changed since this run wrote it; make it again")


def check_run(folder: str | Path, model: str | Path | None = None, *, guard: Guard | None = None) -> RunReport:
    """Look at everything in a run folder, and compare it with the rest.

    Args:
        model: where the dense model is; None takes the path that the run's store has.
        guard: where the model's functions, if it has any, are inlined; None has a process of its own for that.

    Raises:
        InputError: it is no folder, or none of a run.
    """
    path = Path(folder)
    if not path.is_dir():
        what = "is no folder" if path.exists() else "does not exist"
        raise InputError(f"run folder '{path}' {what}; check the path")
    if not any((path / name).exists() for name in OURS):
        raise InputError(f"'{path}' holds no run: there is none of {', '.join(OURS)}; check the path")
    return RunReport(path.resolve().name, tuple(findings(Folder(path, guard or Guard(in_process=False)), model)))


def findings(run: Folder, given: str | Path | None) -> Iterator[Finding]:
    """One after the other: later ones build on what earlier ones have read."""
    yield judged(run, STORE_FILE, look_at_store)
    yield judged(run, PLAN_FILE, look_at_plan)
    path, absent = model_path(run, given)
    if path is None:
        yield Finding("model", "bad", absent)
    else:
        yield from with_model(run, path)
    yield judged(run, PARETO_FILE, look_at_front)
    yield from strays(run)


def model_path(run: Folder, given: str | Path | None) -> tuple[Path | None, str]:
    """Where the dense model is, or why that is not known."""
    known = given or (run.store.settings.get("model") if run.store else None)
    if not known:
        return None, "the run's store does not say where it is; give --model FILE"
    path = Path(known)
    if not path.is_file():
        return None, f"'{path}' is not there; give --model FILE"
    return path, ""


def with_model(run: Folder, path: Path) -> Iterator[Finding]:
    """What is compared with the dense model, while it is open."""
    try:
        with model_at(path, run.guard) as model:
            run.model = model
            yield judged(run, "model", look_at_model, always=True)
            yield judged(run, CHANGES_FILE, look_at_changes)
            yield judged(run, PRUNED_FILE, look_at_pruned)
            yield judged(run, MAP_FILE, look_at_map)
            yield judged(run, MASKS_FILE, look_at_masks)
            yield judged(run, WEIGHTS_FILE, look_at_weights)
    except ModelError as error:
        yield Finding("model", "bad", str(error))
    finally:
        run.model = None


def judged(run: Folder, name: str, look: Callable[[Folder], str], *, always: bool = False) -> Finding:
    """What a look at a file says of it."""
    path = run.path / name
    if not always and not path.exists():
        if run.artefacts.get(name):
            return Finding(name, "bad", "it is not there, and this run wrote it; make it again")
        return Finding(name, "absent", "it is not there")
    try:
        if not always and (path.is_symlink() or not path.is_file()):
            raise PlanError("it is no plain file; this run wrote none of that kind")
        return Finding(name, "ok", look(run))
    except OnnxsensError as error:
        return Finding(name, "bad", str(error))
    except OSError as error:
        return Finding(name, "bad", f"it cannot be read: {error.strerror or error}; check permissions")


def look_at_store(run: Folder) -> str:
    """Sound to SQLite, and every row to its checksum."""
    found = examine(run.path / STORE_FILE)
    run.artefacts = {name: digest for name, digest in found.artefacts.items() if Path(name).name == name}
    if found.schema_version > SCHEMA_VERSION:
        raise InputError(
            f"it has schema {found.schema_version}, and this onnxsens reads {SCHEMA_VERSION}; update onnxsens"
        )
    if not found.rows and found.damage:
        raise InputError(f"it is no run store that can be read: {found.damage}; choose another folder, or run again")
    run.store = found
    if found.damage:
        raise InputError(f"it is damaged: {found.damage}; run the same command again, which keeps what is sound")
    bad = {table: number for table, number in found.bad_rows.items() if number}
    if bad:
        lost = ", ".join(f"{number} of '{table}'" for table, number in bad.items())
        raise InputError(f"rows whose checksum is wrong: {lost}; run the same command again, which measures these anew")
    return f"schema {found.schema_version}, {sum(found.rows.values()):,} rows"


def look_at_plan(run: Folder) -> str:
    """Fits its schema, is as it was written, and was made from what the store was."""
    made = read_plan(run.path / PLAN_FILE)
    run.plan = made
    run.refuse_changed(PLAN_FILE)
    if run.store:
        for what, own in (("model_sha256", made.model.sha256), ("data_sha256", made.data.sha256)):
            theirs = run.store.identity.get(what, own)
            if theirs != own:
                raise PlanError(
                    f"its {what} is {own[:12]}..., and that of the store {theirs[:12]}...; they are of different runs"
                )
    return f"{len(made.weights)} weights, {made.totals.zeros:,} of {made.totals.parameters:,} are zero"


def look_at_model(run: Folder) -> str:
    """Is the one that plan and store were made from, and the plan lists what is in it."""
    assert run.model is not None
    own = run.model.sha256
    theirs = run.store.identity.get("model_sha256", own) if run.store else own
    if theirs != own:
        raise ModelError(f"'{run.model.path.name}' is not the model of this run; give its own with --model FILE")
    if run.plan is None:
        return f"'{run.model.path.name}'"
    if run.plan.model.sha256 != own:
        raise ModelError(f"'{run.model.path.name}' is not the model of the plan; give its own with --model FILE")
    run.inventory = take_inventory(run.model, apart=[weight.name for weight in run.plan.weights])
    if run.inventory.parameters != run.plan.model.parameters:
        raise PlanError(
            f"the plan accounts for {run.plan.model.parameters:,} parameters, and the model has "
            f"{run.inventory.parameters:,}; it was changed after it was made"
        )
    run.changed = planned_weights(run.plan, run.path, run.model, run.inventory, by_name=False)
    digests = {weight.name: weight.sha256 for weight in run.inventory.weights}
    other = next((weight.name for weight in run.plan.weights if digests[weight.name] != weight.sha256), None)
    if other is not None:
        raise PlanError(f"the plan has another SHA-256 for weight '{other}' than the model; it was changed")
    return f"'{run.model.path.name}', as in the plan"


def look_at_changes(run: Folder) -> str:
    """Is what the plan names."""
    plan = needed(run.plan, "a plan that can be read")
    if plan.changes is None or plan.changes.file != CHANGES_FILE:
        raise PlanError("the plan has no such file; it is of an earlier plan, remove it")
    if sha256_of(run.path / CHANGES_FILE) != plan.changes.sha256:
        raise PlanError("it is not the file that the plan was made with; put that one there")
    return f"{len(plan.changed)} tensors, as in the plan"


def look_at_pruned(run: Folder) -> str:
    """Differs from the dense model in what the plan says, and in nothing else."""
    plan = needed(run.plan, "a plan that can be read")
    model = needed(run.model, "the model")
    inventory = needed(run.inventory, "the model of the plan")
    expected = needed(run.changed, "a plan that can be carried out")
    pruned = load_model(run.path / PRUNED_FILE, limits_of(run.guard))
    other = what_else_differs(model, pruned, list(expected))
    if other:
        raise PlanError(
            f"{other}, which the plan does not change; it may be of an earlier plan: write it again with "
            "'onnxsens apply --force'"
        )
    zeros = {}
    for name in expected:
        found = pruned.array(name)
        if values_differ(expected[name], found):
            raise PlanError(
                f"tensor '{name}' has other values than the plan gives it; it may be of an earlier plan: write it "
                "again with 'onnxsens apply --force'"
            )
    for weight in plan.weights:
        zeros[weight.name] = inventory.weight(weight.name).coding.zeros(pruned.array(weight.name))
        if zeros[weight.name] != weight.zeros:
            raise PlanError(
                f"weight '{weight.name}' has {zeros[weight.name]:,} zeros, and {weight.zeros:,} in the plan; write it "
                "again with 'onnxsens apply --force'"
            )
    return (
        f"{sum(zeros.values()):,} zeros, {len(expected)} tensors as the plan says, every other byte is the model's"
        + anew(run, PRUNED_FILE)
    )


def look_at_map(run: Folder) -> str:
    """Is of the model."""
    made = read_map(run.path / MAP_FILE)
    refuse_other_map(made, needed(run.model, "the model"))
    listed = {tensor.name for tensor in made.tensors}
    lost = next((weight.name for weight in (run.plan.weights if run.plan else ()) if weight.name not in listed), None)
    if lost is not None:
        raise PlanError(f"it leaves out weight '{lost}' of the plan; make it again with 'onnxsens map'")
    run.map = made
    return f"{len(made.tensors)} tensors of the model" + anew(run, MAP_FILE)


def look_at_masks(run: Folder) -> str:
    """Are of the plan, and zero what it zeroes under the names of the map."""
    masks = read_masks(run.path / MASKS_FILE)
    refuse_other_plan(run, MASKS_FILE)
    stated = {name: names for name, names in read_aliases(run.path / MASKS_FILE).items() if names}
    known = {layer.parameter: tuple(layer.aliases) for carried in ways_back(run) for layer in carried.layers}
    false = next((name for name, names in stated.items() if known.get(name) != names), None)
    if false is not None:
        raise PlanError(f"'{false}' has other names beside it than in the map; write it again")
    if any(matches(masks, carried.masks) for carried in ways_back(run)):
        return f"{len(masks)} masks, as in plan and map" + anew(run, MASKS_FILE)
    raise PlanError("they are not the zeros of plan and map; write them again with 'onnxsens export --to masks'")


def look_at_weights(run: Folder) -> str:
    """Are of the plan, and have its values under the names of the map."""
    values = read_weights(run.path / WEIGHTS_FILE)
    refuse_other_plan(run, WEIGHTS_FILE)
    if any(matches(values, carried.weights) for carried in ways_back(run)):
        return f"{len(values)} tensors, as in plan and map" + anew(run, WEIGHTS_FILE)
    raise PlanError("they are not the values of plan and map; write them again with 'onnxsens export --to masks'")


def look_at_front(run: Folder) -> str:
    """Can be read, and is as it was written."""
    front = read_front(run.path / PARETO_FILE)
    run.refuse_changed(PARETO_FILE)
    return f"{len(front.points)} plans"


def refuse_other_plan(run: Folder, name: str) -> None:
    """Raises:
    PlanError: the file says that it is of another plan.
    """
    if plan_of(run.path / name) != sha256_of(run.path / PLAN_FILE):
        raise PlanError("it is of another plan; write it again with 'onnxsens export --to masks --force'")


def ways_back(run: Folder) -> Iterator[Carried]:
    """What the plan is in the source's terms: without guesses, and with them."""
    plan, made = needed(run.plan, "a plan that can be read"), needed(run.map, "a map that can be read")
    model, inventory = needed(run.model, "the model"), needed(run.inventory, "the model of the plan")
    changed = needed(run.changed, "a plan that can be carried out")
    for guesses in (False, True):
        yield carry_back(plan, model, inventory, changed, made, guesses=guesses)


def matches(found: Mapping[str, AnyArray], expected: Mapping[str, AnyArray]) -> bool:
    """Whether these are the same arrays by the same names."""
    return found.keys() == expected.keys() and not any(values_differ(expected[name], found[name]) for name in found)


def anew(run: Folder, name: str) -> str:
    """A remark on a file that is right, and not the one that the run wrote."""
    return "; written again since the run" if run.as_written(name) is False else ""


def needed(made: T | None, what: str) -> T:
    """What an earlier look has made.

    Raises:
        PlanError: it could not.
    """
    if made is None:
        raise PlanError(f"it cannot be checked without {what}; see above")
    return made


def strays(run: Folder) -> Iterator[Finding]:
    """Files that a process left behind that was killed while it wrote."""
    found = sorted(path.name for path in run.path.iterdir() if TEMPORARY.fullmatch(path.name))
    if found:
        yield Finding("left behind", "ok", f"{len(found)} unfinished files, which the next run removes: {found[0]}")
