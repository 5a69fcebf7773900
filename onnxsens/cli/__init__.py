"""The command line: one file a command, no logic. Commands are imported when they are run, so `--help` is quick."""

import json
import sys
from importlib import import_module
from typing import ClassVar, NoReturn

import click

from onnxsens.errors import UsageError
from onnxsens.plugins import unknown

# Command: what the list of commands says of it. The module has the same name.
COMMANDS = {
    "apply": "Write a model with a plan's zeros.",
    "auto": "Scan, plan, apply and verify: from a model to a checked plan.",
    "check": "Look whether a run folder is as it was left, and belongs together.",
    "curves": "Write the points of a run's curves as a table.",
    "diff": "Say what differs between two runs, and whether it is more than noise.",
    "doctor": "Say what is installed and which execution providers start.",
    "export": "Write a plan in another tool's format, under your model's own names.",
    "inspect": "Show what is in a model, and what can be pruned.",
    "map": "Find which parameters of a checkpoint a model's weights are.",
    "plan": "Choose a level for every weight from a run's measurements.",
    "report": "Write a run as one file to look at or pass on: a page, text, a table or a picture.",
    "scan": "Measure how quality falls as each weight gets sparser.",
    "targets": "Show which runtimes gain from zeros, and in which weights.",
    "verify": "Check a plan against limits on given samples, as a gate.",
}


class LazyGroup(click.Group):
    """Imports a command's module when it is needed."""

    texts: ClassVar[dict[str, str]] = COMMANDS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, by name."""
        return sorted(self.texts)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported; an unknown name is answered with the nearest one."""
        if cmd_name not in self.texts:
            raise UsageError(unknown("command", cmd_name, sorted(self.texts)))
        command: click.Command = import_module(f"onnxsens.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.texts[name]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: onnxsens auto model.onnx --data samples.npz --max-drop accuracy=0.01 -o out/",
)
@click.version_option(package_name="onnxsens", message="%(prog)s %(version)s")
def group() -> None:
    """How much can each layer of an ONNX model lose?

    onnxsens measures how a model's quality falls as each weight is made sparser, chooses a sparsity for every weight,
    and checks the choice as a whole on samples it was not made on.
    """


def main() -> None:
    """Entry point: usage errors end here on one line with exit code 2."""
    try:
        group.main(prog_name="onnxsens", standalone_mode=False)
    except (click.UsageError, click.BadParameter) as error:
        context = error.ctx.command_path if error.ctx else "onnxsens"
        text = error.format_message().rstrip(".")
        refuse(f"{text[:1].lower()}{text[1:]}; see '{context} --help'")
    except UsageError as error:
        refuse(str(error))


def refuse(text: str) -> NoReturn:
    """End before any command began; the options were not understood, so `--json` is looked for by hand."""
    from onnxsens.report.text import message

    text = message(text)
    sys.stderr.write(f"error: {text}\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": text, "exit_code": 2}) + "\n")
    sys.exit(2)
