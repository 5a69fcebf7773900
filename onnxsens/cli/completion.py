"""`onnxsens completion`."""

import sys

import click
from click.shell_completion import get_completion_class

from onnxsens.cli.choices import OneOf
from onnxsens.cli.grouped import Grouped
from onnxsens.cli.shell import Shell, shared

VARIABLE = "_ONNXSENS_COMPLETE"
WHERE = {
    "bash": 'put it into ~/.bashrc: eval "$(onnxsens completion bash)"',
    "zsh": 'put it into ~/.zshrc: eval "$(onnxsens completion zsh)"',
    "fish": "put it into a file: onnxsens completion fish > ~/.config/fish/completions/onnxsens.fish",
}


@click.command(
    "completion", cls=Grouped, epilog="Example: onnxsens completion bash > onnxsens.bash && source onnxsens.bash"
)
@click.argument("for_shell", metavar="bash|zsh|fish", type=OneOf(list(WHERE)))
@shared
def command(shell: Shell, for_shell: str) -> None:
    """Print a script that lets a shell complete commands, options, and names: metrics, targets, techniques, formats.

    Nothing is installed; say where your shell reads it from.
    """
    kind = get_completion_class(for_shell)
    assert kind is not None
    parent = click.get_current_context().find_root().command
    made = kind(parent, {}, "onnxsens", VARIABLE)
    script = made.source_template % made.source_vars()
    if shell.as_json:
        shell.result("", {"shell": for_shell, "script": script})
        return
    sys.stdout.write(script)  # as it is, also where it is asked to be quiet: it is for a shell
    if sys.stdout.isatty():
        shell.note(WHERE[for_shell])
