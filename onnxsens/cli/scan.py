"""`onnxsens scan`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from onnxsens.cli.choices import LIMITS, SEARCHES
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import (
    data_option,
    engine_options,
    measuring_options,
    model_argument,
    parse_levels,
    preprocessing_options,
    run_folder_option,
    run_guard_options,
    search_options,
    speed_options,
)
from onnxsens.cli.shell import Shell, shared


@click.command(
    "scan", cls=Grouped, epilog="Example: onnxsens scan model.onnx -d samples.npz --levels 0.5,0.7,0.9 -o run/"
)
@model_argument
@data_option(required=True)
@run_folder_option()
@click.option(
    "--search",
    "searches",
    multiple=True,
    metavar="NAME",
    shell_complete=SEARCHES,
    help="grid, top-down or sweet-spotter. Repeatable.  [default: grid]",
)
@click.option("--levels", metavar="S[,S...]", help="Levels of the grid.  [default: 0.1 to 0.9]")
@click.option(
    "--tolerance",
    multiple=True,
    metavar="METRIC=X",
    shell_complete=LIMITS,
    help="What one weight may lose; searches look for it.",
)
@click.option("--control", is_flag=True, help="Measure random pruning at the same levels too.")
@click.option("--predict", is_flag=True, help="Show what one calibration pass predicts at the same levels too.")
@click.option("--weights", multiple=True, metavar="PATTERN", help="Scan only weights of such names (* is anything).")
@search_options
@measuring_options
@preprocessing_options
@engine_options
@speed_options
@run_guard_options
@click.option("--dry-run", is_flag=True, help="Say how many evaluations and about how long, and stop.")
@shared
def command(
    shell: Shell,
    model: Path,
    folder: Path,
    searches: Sequence[str],
    levels: str | None,
    tolerance: Sequence[str],
    control: bool,
    predict: bool,
    step: float,
    resolution: float,
    weights: Sequence[str],
    dry_run: bool,
    time_limit: float | None,
    **options: Any,
) -> None:
    """Measure how the quality of MODEL falls as each weight gets sparser; points go to RUN/scan.db.

    The same command again goes on where it stopped, and measures no point twice.
    """
    from onnxsens.api import scan
    from onnxsens.cli.building import build_options
    from onnxsens.cli.next_steps import after_scan
    from onnxsens.cli.progress import Progress
    from onnxsens.errors import IncompleteError
    from onnxsens.forecast import estimate
    from onnxsens.plan.goal import parse_limits
    from onnxsens.report import curves, documents, terminal
    from onnxsens.scan.searches import chosen_searches

    chosen = chosen_searches(searches, parse_levels(levels) if levels else None, step, resolution)
    settings = build_options(**options)
    limits = parse_limits(tolerance, "--tolerance")
    if dry_run:
        most = sum(search.most for search in chosen.values())
        expected = estimate(model, settings, levels=2 * most if control else most, weights=weights)
        shell.result(terminal.estimate(expected), documents.record(expected))
        return
    shell.saved = folder
    with shell.limited(time_limit), Progress(shell) as progress:
        result = scan(
            model, settings, folder, chosen, limits, progress, control=control, predict=predict, weights=weights
        )
    shell.result(curves.scan(result), documents.scan(result))
    whole = settings.holdout > 0 and not weights and "+" not in settings.technique
    shell.next(after_scan(folder, settings, plannable=whole and not result.failures))
    if result.failures:
        raise IncompleteError(f"{len(result.failures)} weights have points that could not be measured; see the table")
