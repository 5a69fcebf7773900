"""`onnxsens export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxsens.cli.choices import EXPORTERS, OneOf
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, TARGET, guard_options
from onnxsens.cli.shell import Shell, shared

if TYPE_CHECKING:
    from onnxsens.frameworks.exporters import Mode


@click.command(
    "export", cls=Grouped, epilog="Example: onnxsens export out/plan.json --model model.onnx --to torch -o out/"
)
@click.argument("plan", type=PATH)
@click.option("--model", required=True, type=PATH, metavar="FILE", help="The model that the plan is for.")
@click.option(
    "--map", "map_file", type=PATH, metavar="FILE", help="Of 'onnxsens map'.  [default: map.json beside PLAN]"
)
@click.option(
    "--to",
    required=True,
    metavar="FORMAT",
    shell_complete=EXPORTERS,
    help="Such as torch, keras, jax, masks, json; see docs/exports.md.",
)
@click.option("--mode", type=OneOf(["ratio", "mask"]), help="Hand over how many zeros, or which.  [default: mask]")
@click.option(
    "-o", "--out", "folder", type=TARGET, metavar="DIR", help="Where to write.  [default: the folder of PLAN]"
)
@click.option("--packed", is_flag=True, help="Masks a bit an element instead of a byte.")
@click.option("--accept-guesses", is_flag=True, help="Also weights whose parameter is a guess, or one of several.")
@click.option("--force", is_flag=True, help="Overwrite files.")
@guard_options
@shared
def command(
    shell: Shell,
    plan: Path,
    model: Path,
    map_file: Path | None,
    to: str,
    mode: "Mode | None",
    folder: Path | None,
    packed: bool,
    accept_guesses: bool,
    force: bool,
    **guarding: Any,
) -> None:
    """Write PLAN in another tool's format, under the names of the framework that the model came from.

    A mask carries the tested zeros exactly. A ratio ranks weights again where it is applied, and may choose others.
    """
    from onnxsens.cli.building import build_guard
    from onnxsens.handover import export
    from onnxsens.report import documents, sources

    done = export(
        plan,
        model,
        map_file,
        to,
        folder or plan.parent,
        mode=mode,
        packed=packed,
        accept_guesses=accept_guesses,
        force=force,
        guard=build_guard(**guarding),
    )
    shell.result(sources.exported(done), documents.record(done))
    shell.wrote(list(done.paths))
