"""`onnxsens report`."""

from pathlib import Path

import click

from onnxsens.cli.options import PATH
from onnxsens.cli.shell import Shell, shared


@click.command("report", epilog="Example: onnxsens report out/ -o report.html")
@click.argument("run", type=PATH)
@click.option("-o", "out", type=PATH, metavar="FILE", help="The page.  [default: RUN/report.html]")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@shared
def command(shell: Shell, run: Path, out: Path | None, force: bool) -> None:
    """Write the run in RUN as one page for a browser: the answer, the plan, and a curve for each weight.

    The page needs no other file and no network, and names no folder of this machine.
    """
    from onnxsens.artefacts import REPORT_FILE
    from onnxsens.report import documents, terminal
    from onnxsens.reporting import report

    written = report(run, out, force=force)
    shell.result(terminal.page(written), documents.page(written))
    shell.wrote([out or run / REPORT_FILE])
