"""`onnxsens inspect`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from onnxsens.cli.choices import OneOf
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import custom_op_option, dim_option, guard_options, model_argument, parse_dims
from onnxsens.cli.shell import Shell, shared


@click.command("inspect", cls=Grouped, epilog="Example: onnxsens inspect models/fashion_cnn.onnx --sort macs")
@model_argument
@dim_option
@custom_op_option
@click.option(
    "--sort",
    type=OneOf(["graph", "name", "size", "macs", "sparsity"]),
    default="graph",
    show_default=True,
    help="Order of the rows; the largest first.",
)
@guard_options
@shared
def command(
    shell: Shell, model: Path, dims: Sequence[str], custom_op_libs: Sequence[str], sort: str, **guarding: Any
) -> None:
    """Show which weights of MODEL can be pruned, what is left alone and why, and that nothing is missing."""
    from onnxsens.api import inspect
    from onnxsens.cli.building import build_guard
    from onnxsens.report import documents, inventory

    result = inspect(model, parse_dims(dims), custom_op_libs, build_guard(**guarding))
    shell.result(inventory.inspection(result, sort), documents.inspection(result))
