"""`onnxsens check`."""

from pathlib import Path
from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, guard_options
from onnxsens.cli.shell import Shell, shared


@click.command("check", cls=Grouped, epilog="Example: onnxsens check out/")
@click.argument("run", type=PATH)
@click.option("--model", type=PATH, help="Where the dense model is now, if it moved.")
@guard_options
@shared
def command(shell: Shell, run: Path, model: Path | None, **guarding: Any) -> None:
    """Look whether everything in RUN is as it was left and belongs together; exit with 3 where something is not.

    Store, plan, pruned model, map and masks are compared with each other and with the dense model, value by value.
    Nothing is changed, and no model is run.
    """
    from onnxsens.checking import check_run
    from onnxsens.cli.building import build_guard
    from onnxsens.errors import RunDamagedError
    from onnxsens.report import documents, terminal

    found = check_run(run, model, guard=build_guard(**guarding))
    shell.result(terminal.findings(found), documents.findings(found))
    if not found.sound:
        first = found.bad[0]
        raise RunDamagedError(
            f"{len(found.bad)} of {len(found.findings)} checks of '{run}' failed: {first.name}: {first.text}"
        )
