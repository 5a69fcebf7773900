"""`onnxsens curves`."""

from collections.abc import Sequence
from pathlib import Path

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, STDOUT, result_option
from onnxsens.cli.shell import Shell, shared


@click.command("curves", cls=Grouped, epilog="Example: onnxsens curves out/ --metric kl -o curves.csv")
@click.argument("run", type=PATH)
@click.option("--metric", metavar="METRIC", help="Only this one.  [default: all]")
@click.option("--technique", metavar="SPEC", help="Only points of this one.  [default: all]")
@click.option("--weights", multiple=True, metavar="PATTERN", help="Only these, such as 'conv*'. Repeatable.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "json"]), help="Of the output.  [default: by FILE's suffix, or csv]"
)
@result_option("Where to write; - is standard output.  [default: -]")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@shared
def command(
    shell: Shell,
    run: Path,
    metric: str | None,
    technique: str | None,
    weights: Sequence[str],
    form: str | None,
    out: Path | None,
    force: bool,
) -> None:
    """Write the points of the curves in RUN as a table, for spreadsheets and notebooks.

    A row for each point: weight, technique, metric, kind (measured or predicted), sparsity, drop (positive: quality
    was lost), low and high (two standard errors away), samples, and monotone, which pickers take for the drop.
    """
    from onnxsens.report.rows import WRITERS, document, summary
    from onnxsens.reporting import curves, form_of, leave

    rows = curves(run, metric=metric, technique=technique, weights=weights)
    to_stdout = out in (None, STDOUT)
    content = WRITERS[form_of(None if to_stdout else out, form, "csv", list(WRITERS))](rows)
    if out is not None and not to_stdout:
        leave(out, content, [run], force=force)
        shell.result(summary(rows), document(rows))
        shell.wrote([out])
    elif out is None and shell.as_json:
        shell.result("", document(rows))
    else:
        shell.text(content)
