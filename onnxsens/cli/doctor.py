"""`onnxsens doctor`."""

from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import guard_options
from onnxsens.cli.shell import Shell, shared


@click.command("doctor", cls=Grouped, epilog="Example: onnxsens doctor --json")
@guard_options
@shared
def command(shell: Shell, **guarding: Any) -> None:
    """Say which versions are installed, whether they conflict, and which execution providers really start."""
    from onnxsens.cli.building import build_guard
    from onnxsens.diagnosis import diagnose
    from onnxsens.errors import SetupError
    from onnxsens.report import documents, terminal

    result = diagnose(build_guard(**guarding))
    shell.result(terminal.diagnosis(result), documents.record(result))
    if result.problems:
        raise SetupError(result.problems[0])
