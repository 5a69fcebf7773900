"""How a command that made a plan ends: the plan shown, and the exit code that it deserves."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.text import Text

from onnxsens.artefacts import PARETO_FILE, PLAN_FILE, REPORT_FILE
from onnxsens.cli.shell import Shell
from onnxsens.errors import IncompleteError, VerificationFailedError
from onnxsens.frameworks.exporting import SOURCE_FILES, masks_are_of
from onnxsens.plan.front import read_front
from onnxsens.plan.planfile import Plan
from onnxsens.report import documents, terminal


def finish_plan(shell: Shell, made: Plan, folder: Path, besides: Sequence[str], *, pareto: bool) -> None:
    """Show the plan.

    Args:
        folder: of the run.
        besides: files that were written there besides the plan's own.
        pareto: whether the front was measured too; what lies there else may be of another goal or technique.
    Raises:
        VerificationFailedError: it did not pass its check.
        IncompleteError: some of its weights could not be measured.
    """
    shown = [terminal.plan(made)]
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
    written = [folder / name for name in (PLAN_FILE, *changes, *front, *besides, *sources, REPORT_FILE)]
    shell.wrote(written)
    if made.quality.verified is False:
        raise VerificationFailedError(
            f"the plan failed its verification, {made.quality.looks} of 3 looks at the hold-out split; "
            "allow a larger drop, or give more samples"
        )
    failed = [weight.name for weight in made.weights if weight.failure]
    if failed:
        raise IncompleteError(f"{len(failed)} weights have points that could not be measured; the plan says which")
