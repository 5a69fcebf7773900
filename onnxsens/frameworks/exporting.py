"""A plan handed over to another tool: masks, updated values, and the tool's own file beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from onnxsens.arrays import AnyArray
from onnxsens.errors import PlanError, StorageError, UsageError
from onnxsens.files import claim, prepare_directory, same_place, sha256_of, write_atomically
from onnxsens.frameworks.exporters import Export, Exporter, Mode, exporters
from onnxsens.frameworks.mapfile import Map, refuse_other_tensors
from onnxsens.frameworks.masks import MASKS_FILE, WEIGHTS_FILE, Carried, carry_back, write_masks, write_weights
from onnxsens.frameworks.sparse_files import plan_of
from onnxsens.model import Inventory, Model
from onnxsens.plan.planfile import Plan

MAP_FILE = "map.json"
SOURCE_FILES = (MAP_FILE, MASKS_FILE, WEIGHTS_FILE)  # what a plan made with a checkpoint leaves beside it


@dataclass(frozen=True)
class Exported:
    """What was written, and what was not carried over.

    Attributes:
        format, mode: of the export.
        ran_with: what the format was run with by its makers; None for never.
        paths: files, in the order in which they were written.
        parameters, elements, zeros: of the source that get zeros.
        left_out: planned weights without a parameter, and why.
        matched_by: what the map is of: a checkpoint's file name; empty where the ONNX file's own names had to do.
        not_updated: tensors whose updated values could not be carried back, and why.
    """

    format: str
    mode: Mode
    ran_with: str | None
    paths: tuple[Path, ...]
    parameters: int
    elements: int
    zeros: int
    left_out: tuple[tuple[str, str], ...]
    matched_by: str
    not_updated: tuple[tuple[str, str], ...] = field(default=())


def choose_mode(exporter: Exporter, mode: Mode | None) -> Mode:
    """The mode asked for, or the format's own: masks where it can carry them.

    Raises:
        UsageError: the format has no such mode.
    """
    if mode is None:
        return "mask" if "mask" in exporter.modes else "ratio"
    if mode not in exporter.modes:
        raise UsageError(f"--to {exporter.name} has no --mode {mode}; it has: {', '.join(exporter.modes)}")
    return mode


def export_plan(
    plan: Plan,
    plan_path: Path,
    model: Model,
    inventory: Inventory,
    changed: Mapping[str, AnyArray],
    made: Map,
    to: str,
    folder: Path,
    *,
    mode: Mode | None = None,
    packed: bool = False,
    guesses: bool = False,
    force: bool = False,
) -> Exported:
    """Write a plan in a tool's format to a folder.

    Args:
        plan_path: where the plan was read from.
        changed: the plan's tensors.
        mode: None takes the format's own.
        packed: masks a bit an element.
        guesses: carry guessed and ambiguous matches over too.
        force: overwrite what is there.
    Raises:
        PlanError: the map is of another model, or nothing can be carried over.
        UsageError: there is no such format or mode, or the plan is none for it.
        StorageError: a file exists, or cannot be written.
    """
    exporter = exporters.get(to)
    chosen = choose_mode(exporter, mode)
    refuse_other_levels(plan)
    if packed and chosen == "ratio":
        raise UsageError("--packed is about masks, and mode 'ratio' writes none; leave one of them out")
    refuse_other_map(made, model)
    carried = carry_back(plan, model, inventory, changed, made, guesses=guesses)
    if not carried.layers:
        reason = carried.left_out[0] if carried.left_out else ("", "the plan zeroes nothing")
        raise PlanError(
            f"nothing of the plan can be carried over: {len(carried.left_out)} of {len(plan.weights)} weights have no "
            f"certain parameter, such as '{reason[0]}': {reason[1]}"
        )
    has_weights = chosen == "mask" and bool(carried.weights)
    files = exporter.files(
        Export(
            plan,
            chosen,
            carried.layers,
            carried.left_out,
            MASKS_FILE,
            WEIGHTS_FILE if has_weights else None,
            version("onnxsens"),
        )
    )
    names = [*files, *([MASKS_FILE] if chosen == "mask" else []), *([WEIGHTS_FILE] if has_weights else [])]
    prepare_directory(folder)
    inputs = (plan_path, model.path, *model.external_files)
    # Values of another plan would be put on these masks.
    stale = [WEIGHTS_FILE] if chosen == "mask" and not has_weights else []
    for name in [*names, *stale]:
        if any(same_place(folder / name, path) for path in inputs):
            raise StorageError(f"the export would overwrite '{folder / name}', which it is made from; give another -o")
        claim(folder / name, force=force)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    digest = sha256_of(plan_path)
    if chosen == "mask":
        write_masks(folder / MASKS_FILE, carried, made, digest, packed=packed)
    if has_weights:
        write_weights(folder / WEIGHTS_FILE, carried, made, digest)
    for name, text in files.items():
        write_atomically(folder / name, [text.encode("utf-8", "backslashreplace")])
    return Exported(
        to,
        chosen,
        exporter.ran_with,
        tuple(folder / name for name in names),
        len(carried.layers),
        sum(layer.size for layer in carried.layers),
        sum(layer.zeros for layer in carried.layers),
        carried.left_out,
        made.checkpoint.file if made.checkpoint else "",
        carried.not_updated if has_weights or plan.update != "none" else (),
    )


def refuse_other_levels(plan: Plan) -> None:
    """Stop where a plan's levels are no sparsities.

    Raises:
        UsageError: zeros are not what it changes.
    """
    if plan.level_kind != "sparsity":
        raise UsageError(
            f"the plan's levels are {plan.level_kind}, and zeros are what goes back to a framework; plan sparsities"
        )


def refuse_other_map(made: Map, model: Model) -> None:
    """Stop where a map is not that of the model.

    Raises:
        PlanError: it was made of another file.
    """
    if made.model.sha256 != model.sha256:
        raise PlanError(
            f"the map is of another model: '{made.model.file}' with SHA-256 {made.model.sha256[:12]}..., and "
            f"'{model.path.name}' has {model.sha256[:12]}...; make it again with 'onnxsens map'"
        )
    refuse_other_tensors(made, {name: stored.shape for name, stored in model.stored.items()})


def leave_masks(plan_path: Path, folder: Path, made: Map, carried: Carried) -> list[Path]:
    """Masks, and updated values where there are any, beside a plan.

    Returns:
        What was written.
    """
    digest = sha256_of(plan_path)
    written = [folder / MASKS_FILE]
    write_masks(written[0], carried, made, digest, packed=False)
    (folder / WEIGHTS_FILE).unlink(missing_ok=True)
    if carried.weights:
        written.append(folder / WEIGHTS_FILE)
        write_weights(written[1], carried, made, digest)
    return written


def masks_are_of(plan_path: Path, folder: Path) -> bool:
    """Whether the masks in a folder are those of a plan."""
    path = folder / MASKS_FILE
    return path.is_file() and plan_of(path) == sha256_of(plan_path)
