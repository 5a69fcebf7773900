"""`onnxsens verify`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from onnxsens.cli.choices import LIMITS
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import (
    PATH,
    data_option,
    engine_options,
    guard_options,
    model_argument,
    parse_confidence,
    preprocessing_options,
)
from onnxsens.cli.shell import Shell, shared


@click.command(
    "verify",
    cls=Grouped,
    epilog="Example: onnxsens verify model.onnx out/plan.json -d samples.npz --max-drop accuracy=0.01",
)
@model_argument
@click.argument("plan", type=PATH)
@data_option(required=True)
@click.option(
    "--max-drop",
    multiple=True,
    metavar="METRIC=X",
    shell_complete=LIMITS,
    help="Limit. Repeatable.  [default: the plan's goal]",
)
@click.option("--confidence", default="0.95", show_default=True, metavar="C", help="Of the bound; none: the estimate.")
@preprocessing_options
@engine_options
@guard_options
@shared
def command(shell: Shell, model: Path, plan: Path, max_drop: Sequence[str], confidence: str, **options: Any) -> None:
    """Run MODEL with the zeros of PLAN beside the dense MODEL; exit with 6 where a limit is exceeded.

    Where DATA is what the plan was made with, only its hold-out split is used.
    """
    from onnxsens.api import verify
    from onnxsens.cli.building import build_options
    from onnxsens.cli.next_steps import after_verification
    from onnxsens.cli.progress import Progress
    from onnxsens.errors import LimitExceededError
    from onnxsens.plan import parse_limits
    from onnxsens.report import documents, terminal

    limits = parse_limits(max_drop) or None
    settings = build_options(**options)
    with Progress(shell) as progress:
        result = verify(model, plan, settings, limits, parse_confidence(confidence), progress)
    shell.result(terminal.verification(result), documents.verification(result))
    if not result.holds:
        shell.next(after_verification(result, plan, model, settings))
        broken = [*result.failures, *(name for name, verdict in result.verdicts.items() if not verdict.holds)]
        raise LimitExceededError(f"the plan exceeds its limit in {', '.join(broken)}; prune less, or allow more")
