"""Pages of the command line: every command with its options, and what options are called elsewhere."""

from importlib import import_module

import click
from making_text import GENERATED, code, escaped, table

from onnxsens.cli import COMMANDS
from onnxsens.cli import config as settings_of


def command_of(name: str) -> click.Command:
    """The command, imported."""
    found: click.Command = import_module(f"onnxsens.cli.{name}").command
    return found


def page() -> str:
    """Every command: what it is for, its usage, an example, and its options."""
    text = GENERATED + (
        "# Command line\n\n"
        "Every command takes `--help`. What each ends with is in [exit codes and errors](errors.md); options can also "
        "come from [a file or the environment](settings.md).\n\n"
    )
    text += table(
        ["command", "what it does"],
        [[f"[`{name}`](#{name})", escaped(said)] for name, said in sorted(COMMANDS.items())],
    )
    return text + "\n" + "\n".join(section(name) for name in sorted(COMMANDS))


def section(name: str) -> str:
    """One command."""
    command = command_of(name)
    context = click.Context(
        command, info_name=name, parent=click.Context(click.Group("onnxsens"), info_name="onnxsens")
    )
    usage = " ".join(context.get_usage().removeprefix("Usage:").split())
    help_text = "\n\n".join(escaped(part) for part in (command.help or "").replace("\b", "").split("\n\n"))
    example = " ".join((command.epilog or "").removeprefix("Example:").split())
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    rows = []
    for option in options:
        record = option.get_help_record(context)
        if record:
            rows.append([code(record[0]), escaped(record[1])])
    return f"## {name}\n\n```text\n{usage}\n```\n\n{help_text}\n\nExample:\n\n```text\n{example}\n```\n\n" + table(
        ["option", "what it says"], rows
    )


def settings() -> str:
    """Keys of `--config` files and names of variables, by option."""
    commands: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for name in sorted(COMMANDS):
        for key, option in settings_of.options_of(name).items():
            commands.setdefault(key, []).append(name)
            several = ", or a list" if option.multiple else ""
            kinds.setdefault(key, settings_of.TAKES[settings_of.kind_of(option)] + several)
    rows = []
    for key in sorted(commands):
        variable = settings_of.variables_of("", key)[1]
        everywhere = len(commands[key]) == len(COMMANDS)
        taken = "a path, on the command line only: it is code" if key == settings_of.LIBRARIES else kinds[key]
        rows.append([code(key), code(variable), taken, "all" if everywhere else ", ".join(commands[key])])
    return (
        GENERATED
        + "# Settings files and environment variables\n\n"
        + "A key stands in a `--config` file, above all tables or in a table named after a command. A variable counts "
        "for every command that has the option; with the command's name in it, such as `ONNXSENS_SCAN_SEED`, for that "
        "one only. [How to use them](../how-to/settings.md).\n\n"
        + table(["key", "variable", "takes", "commands"], rows)
        + "\nBesides, `NO_COLOR` turns colours off.\n"
    )
