"""The command line: one file a command, no logic. Commands are imported when they are run, so `--help` is quick."""

import difflib
import json
import os
import sys
from importlib import import_module
from typing import ClassVar, NoReturn

import click
from click.shell_completion import CompletionItem

from onnxsens.cli.streams import ready_streams
from onnxsens.errors import UsageError
from onnxsens.plugins import unknown

WITHOUT_DATA = (
    "there are no samples; give -d FILE.npz with one array an input and labels, a folder of images, or "
    "FILE.py:FUNCTION; without any, -d random:256 compares the pruned model with the dense one on noise"
)
COMPLETING = "_ONNXSENS_COMPLETE"  # what shells set that ask for completions

# Command: what the list of commands says of it. The module has the same name.
COMMANDS = {
    "apply": "Write a model with a plan's zeros.",
    "auto": "Scan, plan, apply and verify: from a model to a checked plan.",
    "check": "Look whether a run folder is as it was left, and belongs together.",
    "completion": "Print a script that lets a shell complete commands, options and names.",
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

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands, without importing any; else options."""
        found = [CompletionItem(name, help=text) for name, text in self.texts.items() if name.startswith(incomplete)]
        return found or click.Command.shell_complete(self, ctx, incomplete)

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
    ready_streams()
    try:
        group.main(prog_name="onnxsens", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        sys.stdout.write(f"{error.ctx.get_help() if error.ctx else ''}\n")
        sys.exit(2)
    except (click.UsageError, click.BadParameter) as error:
        context = error.ctx.command_path if error.ctx else "onnxsens"
        text = error.format_message().rstrip(".")
        if isinstance(error, click.NoSuchOption):
            text = no_option(error)
        if isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "data":
            text = WITHOUT_DATA
        refuse(f"{text[:1].lower()}{text[1:]}; see '{context} --help'")
    except UsageError as error:
        refuse(str(error))


def no_option(error: click.NoSuchOption) -> str:
    """The nearest option, of the command that was called."""
    command = error.ctx.command if error.ctx else group
    known = [name for param in command.params if isinstance(param, click.Option) for name in param.opts]
    near = difflib.get_close_matches(error.option_name, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "check its name"
    return f"no such option '{error.option_name}'; {hint}"


def refuse(text: str) -> NoReturn:
    """End before any command began; the options were not understood, so `--json` is looked for by hand."""
    if COMPLETING in os.environ:
        sys.exit(0)  # a word that is not finished is no mistake, and what we said would be between the user's words
    from onnxsens.report.text import message

    text = message(text)
    sys.stderr.write(f"error: {text}\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": text, "exit_code": 2}) + "\n")
    sys.exit(2)
