"""Errors of the stages, which speak of options, in the words of the library: `--max-drop` is `max_drop` here."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onnxsens.errors import OnnxsensError, about_path

P = ParamSpec("P")
T = TypeVar("T")

# Options whose keyword is not the same word.
KEYWORDS = {
    "--accept-changed": "accept_changed=[...]",
    "--custom-op-lib": "custom_op_libs",
    "--dim": "dims",
    "--force": "force=True",
    "--in-process": "isolated=False",
    "--iterative": "iterative",
    "--max": "maximum",
    "--metric": "metrics",
    "--min": "minimum",
    "--picker": "pickers",
    "-d": "data",
    "-o": "out",
}
# What is quoted is a name, a path or a command, and stays as it is.
WORD = re.compile(
    r"""'[^']*'|(?<![\w-])(?P<option>--[a-z][a-z-]*|-[do])(?![\w-])"""
    r"""(?:\ (?P<name>[\w./:*-]+)=(?P<number>[\w.]+)|\ (?P<value>cpu|mask|none|first,last)\b)?"""
)


def in_keywords(text: str) -> str:
    """A message with keywords in place of options; `--max-drop accuracy=0.01` becomes `max_drop={'accuracy': 0.01}`."""

    def replaced(found: re.Match[str]) -> str:
        option, value = found["option"], found["value"]
        if not option:
            return found.group()
        word = KEYWORDS.get(option, option.lstrip("-").replace("-", "_"))
        if found["name"]:
            return f"{word}={{'{found['name']}': {found['number']}}}"
        return f"{word}={'None' if value == 'none' else repr(value)}" if value else word

    return WORD.sub(replaced, text)


def worded(function: Callable[P, T]) -> Callable[P, T]:
    """A function whose errors speak of keywords."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except OnnxsensError as error:
            # The same error, so that its cause and whatever it carries stay with it.
            error.args = tuple(in_keywords(each) if isinstance(each, str) else each for each in error.args)
            raise
        except (OSError, ValueError) as error:
            if (reached := about_path(error)) is None:
                raise
            raise reached from error

    return wrapper
