"""`onnxsens auto`."""

from pathlib import Path
from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import (
    checkpoint_option,
    data_option,
    engine_options,
    goal_options,
    limit_options,
    measuring_options,
    model_argument,
    preprocessing_options,
    run_folder_option,
    run_guard_options,
    search_options,
    speed_options,
)
from onnxsens.cli.shell import Shell, shared
from onnxsens.errors import UsageError


@click.command(
    "auto", cls=Grouped, epilog="Example: onnxsens auto model.onnx -d samples.npz --max-drop accuracy=0.01 -o out/"
)
@model_argument
@data_option(required=True)
@run_folder_option()
@goal_options
@limit_options
@search_options
@measuring_options
@preprocessing_options
@engine_options
@speed_options
@checkpoint_option
@click.option("--force", is_flag=True, help="Overwrite a plan or model in RUN that is not part of a run.")
@click.option("--iterative", type=int, metavar="K", help="Let the sparsity rise in K steps, each scanned anew.")
@run_guard_options
@click.option("--dry-run", is_flag=True, help="Say how many evaluations and about how long, and stop.")
@shared
def command(
    shell: Shell,
    model: Path,
    folder: Path,
    pareto: bool,
    step: float,
    resolution: float,
    force: bool,
    dry_run: bool,
    time_limit: float | None,
    iterative: int | None,
    checkpoint: Path | None,
    **options: Any,
) -> None:
    """Scan MODEL, choose a plan, write the pruned model, and verify the plan on samples it was not made on.

    RUN gets scan.db, plan.json, changes.safetensors and pruned.onnx; with a checkpoint of the framework that MODEL came
    from, map.json, masks.safetensors and weights.safetensors under its names too. The same command again goes on where
    it stopped.
    Without a goal, the knee of the front between sparsity and loss is taken.
    """
    from onnxsens.api import auto
    from onnxsens.artefacts import PRUNED_FILE
    from onnxsens.cli.building import build_options, goal_from
    from onnxsens.cli.ending import finish_plan
    from onnxsens.cli.progress import Progress
    from onnxsens.forecast import estimate
    from onnxsens.handover import map_model
    from onnxsens.report import documents, terminal

    if pareto and iterative is not None:
        raise UsageError("--pareto measures the front of one step, and --iterative makes several; give one of them")
    limits = options["max_drop"]
    goal = goal_from(options)
    settings = build_options(**options)
    if dry_run:
        if checkpoint is not None:
            map_model(model, checkpoint)  # refuses what is another model's
        expected = estimate(model, settings, goal, step=step, resolution=resolution)
        shell.result(terminal.estimate(expected), documents.record(expected))
        return
    shell.saved = folder
    with shell.limited(time_limit), Progress(shell) as progress:
        made = auto(
            model,
            settings,
            folder,
            goal,
            progress,
            step=step,
            resolution=resolution,
            force=force,
            pareto=pareto,
            iterative=iterative,
            checkpoint=checkpoint,
        )
    finish_plan(shell, made, folder, [PRUNED_FILE], model, settings, limits, pareto=pareto)
