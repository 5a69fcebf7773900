"""Back to the framework that a model came from: the map, and the plan in another tool's format."""

from pathlib import Path

from onnxsens.errors import StorageError
from onnxsens.files import claim, same_place
from onnxsens.frameworks.exporters import Mode
from onnxsens.frameworks.exporting import MAP_FILE, Exported, export_plan
from onnxsens.frameworks.mapfile import Map, read_map, write_map
from onnxsens.frameworks.mapping import make_map
from onnxsens.model import refuse_empty, take_inventory
from onnxsens.native import model_at
from onnxsens.options import Guard
from onnxsens.plan import planned_weights, read_plan


def map_model(
    model_path: str | Path,
    checkpoint: str | Path | None = None,
    out: str | Path | None = None,
    *,
    force: bool = False,
    guard: Guard | None = None,
) -> Map:
    """Find which source parameters the weights and vectors of a model are.

    Args:
        checkpoint: of the source's parameters; without one, the file's own metadata and names have to do.
        out: where to write the map; nowhere without.
        force: overwrite what is there.

    Raises:
        ModelError: it is no ONNX model, or there is nothing to prune.
        CheckpointError: it cannot be read, or is that of another model.
        MissingPackageError: an optional package is needed to read it.
        StorageError: `out` exists, or cannot be written.
    """
    out = None if out is None else Path(out)
    if out is not None:
        for used in (model_path, *([] if checkpoint is None else [checkpoint])):
            if same_place(out, used):
                raise StorageError(f"'{out}' is what the map is made from; choose another name for it")
        claim(out, force=force)
    with model_at(model_path, guard or Guard()) as model:
        inventory = take_inventory(model)
        refuse_empty(model, inventory)
        made = make_map(model, inventory, checkpoint)
    if out is not None:
        write_map(made, out)
    return made


def export(
    plan_path: str | Path,
    model_path: str | Path,
    map_path: str | Path | None,
    to: str,
    folder: str | Path,
    *,
    mode: Mode | None = None,
    packed: bool = False,
    accept_guesses: bool = False,
    force: bool = False,
    guard: Guard | None = None,
) -> Exported:
    """Write a plan in the format of another tool, under the names of the source, to `folder`.

    Args:
        map_path: None takes `map.json` beside the plan; where there is none, the ONNX file's own metadata and names.
        to: a format, such as `torch`.
        mode: `mask` carries the tested zeros, `ratio` only how many; None takes masks where the format can.
        packed: masks a bit an element instead of a byte.
        accept_guesses: carry guessed and ambiguous matches over too.
        force: overwrite what is there.

    Raises:
        UsageError: there is no such format or mode, or this plan is none for it.
        PlanError: plan, model and map do not belong together, or nothing can be carried over.
        StorageError: a file exists, or cannot be written.
    """
    made = read_plan(plan_path)
    with model_at(model_path, guard or Guard()) as model:
        inventory = take_inventory(model, apart=[weight.name for weight in made.weights])
        changed = planned_weights(made, Path(plan_path).parent, model, inventory, by_name=False)
        beside = Path(plan_path).parent / MAP_FILE
        if map_path is None and beside.exists():
            map_path = beside
        mapped = make_map(model, inventory, None) if map_path is None else read_map(map_path)
        return export_plan(
            made,
            Path(plan_path),
            model,
            inventory,
            changed,
            mapped,
            to,
            Path(folder),
            mode=mode,
            packed=packed,
            guesses=accept_guesses,
            force=force,
        )
