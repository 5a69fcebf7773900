"""`onnxsens inspect`."""

from collections.abc import Sequence
from pathlib import Path

import click

from onnxsens.cli.options import model_argument, parse_dims
from onnxsens.cli.shell import Shell, shared


@click.command("inspect", epilog="Example: onnxsens inspect models/fashion_cnn.onnx --sort macs")
@model_argument
@click.option("--dim", "dims", multiple=True, metavar="NAME=N", help="Length of a dynamic axis. Repeatable.")
@click.option(
    "--sort",
    type=click.Choice(["graph", "name", "size", "macs"]),
    default="graph",
    show_default=True,
    help="Order of the weights.",
)
@shared
def command(shell: Shell, model: Path, dims: Sequence[str], sort: str) -> None:
    """Show which weights of MODEL can be pruned, what is left alone and why, and that nothing is missing."""
    from onnxsens.api import inspect
    from onnxsens.report import documents, terminal

    result = inspect(model, parse_dims(dims))
    shell.result(terminal.inspection(result, sort), documents.inspection(result))
