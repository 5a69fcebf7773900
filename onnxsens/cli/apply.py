"""`onnxsens apply`."""

from pathlib import Path
from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, TARGET, guard_options, model_argument
from onnxsens.cli.shell import Shell, shared


@click.command("apply", cls=Grouped, epilog="Example: onnxsens apply model.onnx out/plan.json -o pruned.onnx")
@model_argument
@click.argument("plan", type=PATH)
@click.option("-o", "--out", required=True, type=TARGET, metavar="FILE", help="The pruned model.")
@click.option("--by-name", is_flag=True, help="Accept another model with the same weights by name and shape.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@guard_options
@shared
def command(shell: Shell, model: Path, plan: Path, out: Path, by_name: bool, force: bool, **guarding: Any) -> None:
    """Write MODEL with the zeros of PLAN to FILE. Nothing else in the model changes."""
    from onnxsens.api import apply
    from onnxsens.cli.building import build_guard
    from onnxsens.report import documents, terminal

    result = apply(model, plan, out, by_name=by_name, force=force, guard=build_guard(**guarding))
    shell.result(terminal.applied(result), documents.record(result))
