"""How a command that made a plan ends: the plan shown, and the exit code that it deserves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Group
from rich.text import Text

from onnxsens.artefacts import PARETO_FILE, PLAN_FILE, PRUNED_FILE, REPORT_FILE
from onnxsens.cli.next_steps import after_plan
from onnxsens.cli.shell import Shell
from onnxsens.errors import IncompleteError, VerificationFailedError
from onnxsens.frameworks.exporting import SOURCE_FILES, masks_are_of
from onnxsens.gathering import gather
from onnxsens.options import Options
from onnxsens.plan.front import read_front
from onnxsens.plan.planfile import Plan
from onnxsens.report import documents, terminal
from onnxsens.report.sparklines import Points


def finish_plan(
    shell: Shell,
    made: Plan,
    folder: Path,
    besides: Sequence[str],
    model: Path,
    options: Options,
    limits: Sequence[str],
    *,
    pareto: bool,
) -> None:
    """Show the plan.

    Args:
        folder: of the run.
        besides: files that were written there besides the plan's own.
        model, options: that it was made with.
        limits: as they were given, `METRIC=X`.
        pareto: whether the front was measured too; what lies there else may be of another goal or technique.
    Raises:
        VerificationFailedError: it did not pass its check.
        IncompleteError: some of its weights could not be measured.
    """
    shown = [terminal.plan(made, curves_in(folder))]
    if pareto:
        shown += [Text(), terminal.front(read_front(folder / PARETO_FILE))]
    shell.result(Group(*shown), documents.plan(made))
    changes = [made.changes.file] if made.changes else []
    front = [PARETO_FILE] if pareto else []
    sources = [name for name in SOURCE_FILES if (folder / name).exists()]
    if sources and not masks_are_of(folder / PLAN_FILE, folder):
        command = f"onnxsens export {folder / PLAN_FILE} --model {made.model.file} --to masks --force"
        shell.note(f"{', '.join(sources)} in {folder} are of another plan; write them again with '{command}'")
        sources = []
    page = [REPORT_FILE] if (folder / REPORT_FILE).exists() else []
    written = [folder / name for name in (PLAN_FILE, *changes, *front, *besides, *sources, *page)]
    shell.wrote(written)
    pruned = PRUNED_FILE in besides
    shell.next(after_plan(made, folder, model, options, limits, masks=bool(sources), pruned=pruned))
    if made.quality.verified is False:
        raise VerificationFailedError(
            f"the plan failed its verification, {made.quality.looks} of 3 looks at the hold-out split; "
            "allow a larger drop, or give more samples"
        )
    failed = [weight.name for weight in made.weights if weight.failure]
    if failed:
        raise IncompleteError(f"{len(failed)} weights have points that could not be measured; the plan says which")


def curves_in(folder: Path) -> Mapping[str, Points]:
    """What each weight of a run loses by sparsity, as predicted through what was measured; else as it was measured."""
    known = gather(folder)
    found: dict[str, Points] = {}
    for weight in known.weights:
        curve = known.curve(weight)
        if weight in known.predicted:
            found[weight] = known.predicted[weight]
        elif curve is not None:
            found[weight] = [(point.sparsity, point.drop) for point in curve.points]
    return found
