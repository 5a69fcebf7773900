"""`onnxsens report`."""

from pathlib import Path

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, STDOUT, result_option
from onnxsens.cli.shell import Shell, shared


@click.command("report", cls=Grouped, epilog="Example: onnxsens report out/ -o report.html")
@click.argument("run", type=PATH)
@result_option("The report; - is standard output.  [default: RUN/report.html]")
@click.option(
    "--format", "form", metavar="FORMAT", help="html, md, csv, json, png or svg.  [default: by FILE's suffix, or html]"
)
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@shared
def command(shell: Shell, run: Path, out: Path | None, form: str | None, force: bool) -> None:
    """Write the run in RUN as one file: the answer, the plan, and a curve for each weight.

    It needs no other file and no network, and names no folder of this machine. html is a page for a browser, md the
    same to read as text, csv a row for each weight, json all of it for programs; png and svg are pictures, which
    need matplotlib: pip install 'onnxsens[plot]'.
    """
    from onnxsens.report import documents, terminal
    from onnxsens.reporting import rendered, report, target_of

    if out == STDOUT:
        record, content = rendered(run, form)
        for doubt in record.doubts:
            shell.note(doubt)
        shell.text(content)
        return
    written = report(run, out, force=force, format=form)
    for doubt in written.doubts:
        shell.note(doubt)
    shell.result(terminal.page(written), documents.page(written))
    shell.wrote([target_of(run, out, form)[0]])
