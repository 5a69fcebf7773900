"""`onnxsens doctor`."""

import click

from onnxsens.cli.shell import Shell, shared


@click.command("doctor", epilog="Example: onnxsens doctor --json")
@shared
def command(shell: Shell) -> None:
    """Say which versions are installed, whether they conflict, and which execution providers really start."""
    from onnxsens.diagnosis import diagnose
    from onnxsens.errors import SetupError
    from onnxsens.report import documents, terminal

    result = diagnose()
    shell.result(terminal.diagnosis(result), documents.record(result))
    if result.problems:
        raise SetupError(result.problems[0])
