"""How a command that made a plan ends: the plan shown, and the exit code that it deserves."""

import sys
from collections.abc import Sequence
from pathlib import Path

from onnxsens.cli.shell import Shell
from onnxsens.errors import IncompleteError, VerificationFailedError
from onnxsens.plan.planfile import Plan
from onnxsens.report import documents, terminal
from onnxsens.report.text import inert


def finish_plan(shell: Shell, made: Plan, written: Sequence[Path]) -> None:
    """Show the plan.

    Raises:
        VerificationFailedError: it did not pass its check.
        IncompleteError: some of its weights could not be measured.
    """
    shell.result(terminal.plan(made), documents.plan(made))
    if not shell.as_json and shell.verbosity >= 0:
        sys.stderr.write("\n" + "".join(f"wrote {inert(str(path))}\n" for path in written))
    if made.quality.verified is False:
        raise VerificationFailedError(
            f"the plan failed its verification, {made.quality.looks} of 3 looks at the hold-out split; "
            "allow a larger drop, or give more samples"
        )
    failed = [weight.name for weight in made.weights if weight.failure]
    if failed:
        raise IncompleteError(f"{len(failed)} weights have points that could not be measured; the plan says which")
