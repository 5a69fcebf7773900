"""`onnxsens targets`."""

from pathlib import Path
from typing import Any

import click

from onnxsens.cli.choices import TARGETS
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.options import PATH, guard_options
from onnxsens.cli.shell import Shell, shared


@click.command("targets", cls=Grouped, epilog="Example: onnxsens targets xnnpack models/fashion_cnn.onnx")
@click.argument("name", required=False, shell_complete=TARGETS)
@click.argument("model", required=False, type=PATH)
@guard_options
@shared
def command(shell: Shell, name: str | None, model: Path | None, **guarding: Any) -> None:
    """Show which runtimes gain from zeros, in which weights, patterns and sparsities, and who says so.

    With NAME, one target in detail; with MODEL, also which of its weights are eligible, and why the others are not.
    """
    from onnxsens.api import assess
    from onnxsens.cli.building import build_guard
    from onnxsens.plugins import sound
    from onnxsens.report import targets as report
    from onnxsens.targets import targets

    if name is None:
        found, broken = sound(targets)
        for each in broken:
            shell.note(each)
        every = list(found.values())
        shell.result(report.overview(every), {"targets": [report.record(target) for target in every]})
        return
    target = targets.get(name)
    assessment = assess(target, model, build_guard(**guarding)) if model else None
    shell.result(report.detail(target, assessment), report.document(target, assessment))
