"""`onnxsens diff`."""

from pathlib import Path

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, STDOUT, result_option
from onnxsens.cli.shell import Shell, shared
from onnxsens.errors import DifferenceError


@click.command("diff", cls=Grouped, epilog="Example: onnxsens diff epoch10/ epoch50/ -o training.md")
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--metric", metavar="METRIC", help="Whose curves are compared.  [default: what both search by]")
@click.option(
    "--format", "form", type=click.Choice(["md", "json", "csv"]), help="Of the output.  [default: by FILE's suffix]"
)
@result_option("Where to write; - is standard output.  [default: tables, there]")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@click.option("--exit-code", is_flag=True, help="End with 6 where anything differs by more than noise.")
@shared
def command(
    shell: Shell,
    a: Path,
    b: Path,
    metric: str | None,
    form: str | None,
    out: Path | None,
    force: bool,
    exit_code: bool,
) -> None:
    """Say what differs between A and B, and whether it is more than noise.

    Each is a run folder, or a plan.json, which has no curves. They may be of two checkpoints of one training, two data
    sets, two settings or two models: weights are matched by name, else by source parameter, else by operator and shape.
    Curves are compared at the same sparsities, by a two-sided z test of the difference that takes their errors for
    independent, corrected by Holm's method over all weights.

    With --exit-code it ends with 6 where a curve or a plan's quality differs by more than noise, or a weight is in one
    of two different models only. Another choice alone does not count.
    """
    from onnxsens.report.differences import WRITERS, document, shown
    from onnxsens.reporting import diff, form_of, leave

    found = diff(a, b, metric=metric)
    if out == STDOUT or (out is None and form is not None and not shell.as_json):
        shell.text(WRITERS[form or "md"](found))
    elif out is None:
        shell.result(shown(found), document(found))
    else:
        leave(out, WRITERS[form_of(out, form, "md", list(WRITERS))](found), [a, b], force=force)
        shell.result(shown(found), document(found))
        shell.wrote([out])
    if exit_code and found.more_than_noise:
        raise DifferenceError(f"{'; '.join(found.reasons)}; without --exit-code that is no failure")
