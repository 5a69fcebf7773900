"""The page of the Python interface: every public name with its signature and its docstring."""

import inspect
import re
import typing
from collections.abc import Iterator

from making_text import GENERATED, escaped, first_sentence, prose, table

import onnxsens

ADDRESS = re.compile(r"<(?:\w+ )?([\w.]+)(?: object)? at 0x[0-9a-f]+>")  # of an object in memory: another one each time
HOMES = re.compile(r"\b(?:[a-z_]+\.)+(?=[A-Za-z_])")  # modules in front of names


def page() -> str:
    """All of `onnxsens.__all__`."""
    names = sorted(onnxsens.__all__, key=str.lower)
    text = GENERATED + "# Python\n\n" + prose(onnxsens.__doc__ or "") + "\n\n"
    text += (
        "Errors are subclasses of `OnnxsensError`, with a message of one line; [which there are](errors.md). "
        "[How to use it as a library](../how-to/library.md).\n\n"
    )
    rows = [[f"[`{name}`](#{anchor(name)})", escaped(first_sentence(getattr(onnxsens, name)))] for name in names]
    text += table(["name", "what it is"], rows) + "\n"
    text += "\n".join(section(name) for name in names)
    return text


def anchor(name: str) -> str:
    """Of the section; `Plan` and `plan` are two."""
    thing = getattr(onnxsens, name)
    return f"{name.lower()}-{'class' if inspect.isclass(thing) else 'function'}"


def section(name: str) -> str:
    """One name."""
    thing = getattr(onnxsens, name)
    kind = "class" if inspect.isclass(thing) else "function"
    shown = f"## `{name}` ({kind})\n\n"
    if not inspect.isclass(thing):
        return shown + signature(name, thing) + prose(thing.__doc__ or "") + "\n"
    if not issubclass(thing, BaseException):
        shown += signature(name, thing)
    shown += prose(inspect.getdoc(thing) or "") + "\n"
    return shown + "".join(members(name, thing))


def members(name: str, thing: type) -> Iterator[str]:
    """Public properties and methods of a class that are its own, with docstrings."""
    for key, member in vars(thing).items():
        if key.startswith("_"):
            continue
        if isinstance(member, property) and member.__doc__:
            yield f"\n### `{name}.{key}`\n\n{prose(member.__doc__)}\n"
        elif inspect.isfunction(member) and member.__doc__:
            yield f"\n### `{name}.{key}()`\n\n{signature(key, member)}{prose(member.__doc__)}\n"


def signature(name: str, thing: typing.Any) -> str:
    """As it would be written, a line for each parameter where it is long."""
    found = inspect.signature(thing)
    text = f"{name}{found}"
    if len(text) > 100:
        lines, star = [], False
        for parameter in found.parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY and not star:
                lines.append("    *,")
                star = True
            lines.append(f"    {parameter},")
        returns = found.return_annotation
        arrow = "" if returns is found.empty else f" -> {inspect.formatannotation(returns)}"
        text = "\n".join([f"{name}(", *lines, f"){arrow}"])
    text = HOMES.sub("", ADDRESS.sub(r"\1", text))
    return f"```text\n{text}\n```\n\n"
