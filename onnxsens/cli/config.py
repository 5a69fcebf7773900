"""Options from a TOML file and from variables of the environment; what is in effect, written as such a file.

The command line wins over the environment, and that over the file. Keys are the long names of options. What would run
code of the user's is taken from the command line only: a file may come with a project that somebody else wrote.
"""

import difflib
import os
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import click

from onnxsens.errors import StorageError, UsageError
from onnxsens.plugins import unknown
from onnxsens.usercode import is_code

PREFIX = "ONNXSENS_"
MOST_BYTES = 1 << 20  # of a file of options
OWN = frozenset({"config", "save-config", "help"})  # options about options
# Options whose value may name a Python file, which is then run; anything with a colon is one to some of them.
MAY_NAME_CODE = frozenset({"metric", "search-metric", "max-drop", "tolerance"})
LIBRARIES = "custom-op-lib"
YES, NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
# What options take, in words and as Python has it. A number may stand for a text, such as a mean.
TAKES = {"switch": "true or false", "int": "a whole number", "float": "a number", "text": "a text"}
KINDS: dict[str, tuple[type, ...]] = {
    "switch": (bool,),
    "int": (int,),
    "float": (int, float),
    "text": (str, int, float),
}
GOALS = ("max-drop", "sparsity", "size", "macs")  # which exclude each other
TYPED = "onnxsens.typed"  # where a command's context keeps the words of the command line
NOTES = "onnxsens.notes"  # where a command's context keeps what is to be said once output may begin


def configured(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    """Let options that are not on the command line be what the environment or the file says; a click callback.

    Raises:
        UsageError: a key or table is unknown, a value has the wrong type, or would run code.
    """
    if ctx.resilient_parsing:  # completion looks at options only
        return
    name = ctx.info_name or ""
    options = keyed(ctx.command)
    found = {} if value is None else from_file(value, name, options, known_commands(ctx))
    found = without_rivals(found, from_environment(name, options))
    found = without_rivals(found, dict.fromkeys(key for key in GOALS if key in options and is_typed(ctx, options[key])))
    ctx.default_map = {options[key].name or key: taken for key, taken in found.items()}
    ctx.meta[NOTES] = misspelt(ctx)


def without_rivals(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where a goal of the stronger one takes the place of another goal, not only of the same."""
    given = any(key in stronger for key in GOALS)
    left = {key: value for key, value in weaker.items() if not (given and key in GOALS)}
    return left | {key: value for key, value in stronger.items() if value is not None}


def is_typed(ctx: click.Context, option: click.Option) -> bool:
    """Whether an option is on the command line. Eager callbacks come before the others are looked at."""
    words = ctx.meta.get(TYPED, ())
    return any(word == name or word.startswith(f"{name}=") for word in words for name in option.opts)


def keyed(command: click.Command) -> dict[str, click.Option]:
    """The options of a command by their keys, the long names without dashes."""
    named = {key_of(param): param for param in command.params if isinstance(param, click.Option)}
    return {key: param for key, param in named.items() if key not in OWN}


def key_of(option: click.Option) -> str:
    """`scan-samples`."""
    long = [name for name in option.opts if name.startswith("--")]
    return long[0].removeprefix("--") if long else (option.name or "").replace("_", "-")


def known_commands(ctx: click.Context) -> list[str]:
    """Names of all commands; just this one where it was called without the group."""
    group = ctx.parent.command if ctx.parent else None
    return group.list_commands(ctx) if isinstance(group, click.Group) else [ctx.info_name or ""]


def options_of(name: str) -> dict[str, click.Option]:
    """The options of a command by its name, by their keys."""
    return keyed(import_module(f"onnxsens.cli.{name}").command)


def from_file(path: Path, name: str, options: Mapping[str, click.Option], commands: Sequence[str]) -> dict[str, Any]:
    """What a file says of a command: its own table, and before that what stands above all tables.

    Raises:
        UsageError: it cannot be read, or holds what no command knows.
    """
    where = f"'{path}'"
    content = read_toml(path)
    above: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict) and key in commands:
            known = options if key == name else options_of(key)
            for each, inner in value.items():
                if each not in known:
                    raise UsageError(f"{where}, table [{key}]: {unknown('option', each, sorted(known))}")
                taken = typed(known[each], each, inner, f"{where}, [{key}]")
                if key == name:
                    own[each] = taken
        elif isinstance(value, dict):
            raise UsageError(f"{where}: {unknown('table', key, sorted(commands))}")
        elif key in options:
            above[key] = typed(options[key], key, value, where)
        else:
            elsewhere = {each: option for other in commands for each, option in options_of(other).items()}
            if key not in elsewhere:
                raise UsageError(f"{where}: {unknown('option', key, sorted(elsewhere))}")
            typed(elsewhere[key], key, value, where)
    return above | own


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file.

    Raises:
        UsageError: it is none that can be read.
    """
    try:
        if path.is_dir():
            raise UsageError(f"--config '{path}' is a folder; name a TOML file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"--config '{path}' cannot be read: {reason}; check the path") from error
    if len(content) > MOST_BYTES:
        raise UsageError(f"--config '{path}' is larger than {MOST_BYTES:,} bytes; name a file of options")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(f"--config '{path}' is no TOML: {why}; write for example: seed = 1") from error


def from_environment(name: str, options: Mapping[str, click.Option]) -> dict[str, Any]:
    """What variables say: `ONNXSENS_<COMMAND>_<OPTION>`, or `ONNXSENS_<OPTION>` for all commands.

    Several values of one option are words as a shell reads them: `ONNXSENS_MAX_DROP='accuracy=0.01 kl=0.1'`.

    Raises:
        UsageError: a value has the wrong type, or would run code.
    """
    found = {}
    for key, option in options.items():
        for variable in variables_of(name, key):
            text = os.environ.get(variable, "")
            if text:
                found[key] = typed(option, key, read_variable(option, text, variable), variable)
                break
    return found


def variables_of(command: str, key: str) -> tuple[str, str]:
    """Names of an option's variables, the one that counts more first."""
    return f"{PREFIX}{command}_{key}".upper().replace("-", "_"), f"{PREFIX}{key}".upper().replace("-", "_")


def read_variable(option: click.Option, text: str, variable: str) -> Any:
    """A text as what a TOML file would have there.

    Raises:
        UsageError: it is none of the option's kind.
    """
    kind = kind_of(option)
    if option.multiple:
        try:
            return shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{variable}={text!r} cannot be split into words: {error}; close the quotes") from error
    if kind == "switch":
        if text.lower() not in YES + NO:
            raise UsageError(f"{variable}={text!r} is neither yes nor no; give 1 or 0")
        return text.lower() in YES
    try:
        return {"int": int, "float": float, "text": str}[kind](text)
    except ValueError:
        raise UsageError(f"{variable}={text!r} is not what the option takes; give {TAKES[kind]}") from None


def kind_of(option: click.Option) -> Literal["switch", "int", "float", "text"]:
    """What an option takes."""
    if option.is_flag and not option.count:
        return "switch"
    if isinstance(option.type, type(click.INT)):
        return "int"
    return "float" if isinstance(option.type, type(click.FLOAT)) else "text"


def typed(option: click.Option, key: str, value: Any, where: str) -> Any:
    """A value as click takes it. Nothing is read as what it is not: `3.7` is no whole number, `"no"` no switch.

    Raises:
        UsageError: it is of the wrong type, or would run code.
    """
    kind = kind_of(option)
    values = value if isinstance(value, list) else [value]
    wrong = [each for each in values if type(each) not in KINDS[kind]]
    if wrong or (isinstance(value, list) and not option.multiple):
        shown = repr(wrong[0] if wrong else value)[:60]
        more = ", or a list of them" if option.multiple else ""
        raise UsageError(f"{where}: '{key}' is {shown}; give {TAKES[kind]}{more}")
    if kind == "text":
        values = [each if isinstance(each, str) else repr(each) for each in values]
        refuse_code(key, values, where)
    for each in values:
        try:
            option.type.convert(each, option, None)
        except click.BadParameter as error:
            raise UsageError(f"{where}: '{key}': {error.message.rstrip('.')}") from error
    return values if option.multiple else values[0]


def refuse_code(key: str, values: Sequence[str], where: str) -> None:
    """Code is run only where the user names it on the command line.

    Raises:
        UsageError: a value names some.
    """
    for text in values:
        if runs_code(key, text):
            raise UsageError(
                f"{where}: '{key}' names code, '{text}', which is run only where the command line names it; "
                f"give it there, with --{key}"
            )


def runs_code(key: str, text: str) -> bool:
    """Whether a value names code of the user's."""
    name = text.rpartition("=")[0] or text
    return (
        key == LIBRARIES
        or (key == "data" and is_code(text))
        or (key in MAY_NAME_CODE and (is_code(name) or is_code(text) or ":" in name))
    )


def misspelt(ctx: click.Context) -> list[str]:
    """Notes on variables that are nearly those of an option, of any command."""
    commands = known_commands(ctx)
    ours = [name for name in os.environ if name.startswith(PREFIX)]
    own = {variable for key in keyed(ctx.command) for variable in variables_of(ctx.info_name or "", key)}
    strange = [name for name in ours if name not in own and name != f"{PREFIX}CONFIG"]
    if not strange:
        return []
    every = own | {name for each in commands for key in options_of(each) for name in variables_of(each, key)}
    notes = []
    for name in strange:
        near = [] if name in every else difflib.get_close_matches(name, sorted(every), n=1, cutoff=0.9)
        notes += [f"the environment has {name}, which is no option; did you mean {near[0]}?"] if near else []
    return notes


def save_config(ctx: click.Context, path: Path, *, force: bool) -> list[str]:
    """Write the options in effect that are not their defaults, as a file that `--config` reads.

    A file that says the same already is left as it is, so that the same command can be given again.

    Returns:
        Notes on what is not in it: code of the user's has to be named again.

    Raises:
        StorageError: the file exists (unless `force`), or cannot be written.
    """
    import tomli_w

    from onnxsens.files import claim, prepare_directory, storage_errors, write_atomically

    table, left_out = {}, []
    for key, value in in_effect(ctx):
        texts = [str(each) for each in value] if isinstance(value, list) else [str(value)]
        if any(runs_code(key, text) for text in texts):
            left_out.append(f"--{key} is code, and not in '{path}'; give it on the command line again")
        else:
            table[key] = value
    try:
        content = tomli_w.dumps({ctx.info_name or "": table}).encode()
    except UnicodeEncodeError as error:
        raise StorageError(f"cannot write '{path}': an option is not UTF-8, which TOML has to be; rename it") from error
    with storage_errors(path):
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return left_out
    folder = ctx.params.get("folder")
    if isinstance(folder, Path) and path.parent == folder:
        prepare_directory(folder)  # which the run would make a moment later
    claim(path, force=force)
    write_atomically(path, [content])
    return left_out


def in_effect(ctx: click.Context) -> Iterator[tuple[str, Any]]:
    """Keys and values of options that are not what they are where nothing is said, as TOML has them."""
    plain = ctx.command.make_context(ctx.info_name, [], resilient_parsing=True).params
    for key, option in sorted(keyed(ctx.command).items()):
        value = ctx.params.get(option.name or "")
        if value is None or value == plain.get(option.name or ""):
            continue
        if option.multiple:
            yield key, [plainly(each) for each in value]
        else:
            yield key, plainly(value)


def plainly(value: Any) -> Any:
    """Numbers, switches and texts as they are; a path as its text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
