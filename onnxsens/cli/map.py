"""`onnxsens map`."""

from pathlib import Path
from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import TARGET, checkpoint_option, guard_options, model_argument
from onnxsens.cli.shell import Shell, shared


@click.command("map", cls=Grouped, epilog="Example: onnxsens map model.onnx --checkpoint checkpoint.pt -o map.json")
@model_argument
@checkpoint_option
@click.option("-o", "--out", type=TARGET, metavar="FILE", help="Where to write the map, for 'onnxsens export'.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@guard_options
@shared
def command(shell: Shell, model: Path, checkpoint: Path | None, out: Path | None, force: bool, **guarding: Any) -> None:
    """Find which parameters of the source framework the weights of MODEL are: by their numbers, then by their names.

    Exporters rename weights, transpose them, fold a BatchNorm into them and reorder gates; the map undoes that. Without
    a checkpoint, what the file itself says has to do.
    """
    from onnxsens.cli.building import build_guard
    from onnxsens.handover import map_model
    from onnxsens.report import sources

    made = map_model(model, checkpoint, out, force=force, guard=build_guard(**guarding))
    for note in made.notes:
        shell.note(note)
    shell.result(sources.mapped(made), sources.document(made))
    if out is not None:
        shell.wrote([out])
