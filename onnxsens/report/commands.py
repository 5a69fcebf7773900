"""What can be done next, as lines that can be copied into a shell."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence

from onnxsens.report.text import harmless

INDENT = "    "


def shown_steps(steps: Sequence[tuple[str, str | Sequence[str]]], width: int) -> str:
    """Each step under what it is for.

    Args:
        steps: what for, and a text, or the words of a command.
        width: columns; a command that is longer is broken where a shell reads on.
    """
    shown = ["", "next steps"]
    for purpose, step in steps:
        shown += textwrap.wrap(f"{purpose}:", max(width, 20), initial_indent="  ", subsequent_indent="  ")
        if isinstance(step, str):
            shown += textwrap.wrap(
                harmless(step),
                max(width, 20),
                initial_indent=INDENT,
                subsequent_indent=INDENT,
                break_long_words=False,
                break_on_hyphens=False,
            )
        else:
            shown += broken([shlex.quote(harmless(word)) for word in step], width)
    return "\n".join(shown) + "\n"


def broken(words: Sequence[str], width: int) -> Iterator[str]:
    """A command on lines of at most `width` columns, as far as its words allow; an option stays with its value."""
    pairs: list[str] = []
    for word in words:
        if pairs and pairs[-1].startswith("-") and " " not in pairs[-1] and not word.startswith("-"):
            pairs[-1] += f" {word}"
        else:
            pairs.append(word)
    line = INDENT + pairs[0]
    for pair in pairs[1:]:
        if len(line) + len(pair) + 3 > width:  # a space before it, and a space and a backslash behind
            yield line + " \\"
            line = f"{INDENT}  {pair}"
        else:
            line += f" {pair}"
    yield line
