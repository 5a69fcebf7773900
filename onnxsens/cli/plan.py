"""`onnxsens plan`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import (
    PATH,
    checkpoint_option,
    custom_op_option,
    data_option,
    goal_options,
    limit_options,
    parse_bytes,
    run_guard_options,
    search_options,
    speed_options,
)
from onnxsens.cli.shell import Shell, shared


@click.command("plan", cls=Grouped, epilog="Example: onnxsens plan out/ --sparsity 0.6")
@click.argument("run", type=PATH)
@click.option("--model", type=PATH, help="Where the model is now, if it moved.")
@data_option(required=False)
@goal_options
@limit_options
@search_options
@speed_options
@checkpoint_option
@custom_op_option
@run_guard_options
@shared
def command(
    shell: Shell,
    run: Path,
    model: Path | None,
    data: str | None,
    pareto: bool,
    step: float,
    resolution: float,
    exact: bool,
    jobs: int | None,
    cache_memory: str | None,
    custom_op_libs: Sequence[str],
    checkpoint: Path | None,
    time_limit: float | None,
    **rest: Any,
) -> None:
    """Choose a level for every weight from the measurements in RUN, and write RUN/plan.json.

    Model, data and settings are those of the run; what the goal still asks for is measured. Code of your own is
    only run where you name it: give --data again for a run on FILE.py:FUNCTION, and --custom-op-lib for a run
    that had it.
    """
    from onnxsens.api import plan
    from onnxsens.artefacts import PRUNED_FILE
    from onnxsens.cli.building import goal_from, guard_from
    from onnxsens.cli.ending import finish_plan
    from onnxsens.cli.progress import Progress
    from onnxsens.runs import resumed_options

    limits = rest["max_drop"]
    goal, guard = goal_from(rest), guard_from(rest)
    path, options = resumed_options(run, model, data, tuple(goal.max_drop), tuple(custom_op_libs))
    memory = None if cache_memory is None else parse_bytes(cache_memory, "--cache-memory")
    options = replace(options, exact=exact or options.exact, jobs=jobs, cache_memory=memory, guard=guard)
    shell.saved = run
    with shell.limited(time_limit), Progress(shell) as progress:
        made = plan(
            path,
            options,
            run,
            goal,
            progress,
            step=step,
            resolution=resolution,
            pareto=pareto,
            checkpoint=checkpoint,
        )
    if (run / PRUNED_FILE).exists():
        shell.note(f"{run / PRUNED_FILE} is of an earlier plan; write it again with 'onnxsens apply --force'")
    finish_plan(shell, made, run, [], path, options, limits, pareto=pareto)
