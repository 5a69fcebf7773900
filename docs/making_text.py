"""Pieces of Markdown: tables, and docstrings as prose. Knows nothing of onnxsens."""

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by docs/generate.py from the code; a change here is lost. -->\n\n"
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")


def escaped(text: str) -> str:
    """Prose in which nothing is Markdown or HTML but what stands in backticks."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_\[\]<>|])", r"\\\1", part) for part in parts)


def cell(text: str) -> str:
    """A cell: a bar would end it, in code too."""
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))


def code(text: object) -> str:
    """In backticks."""
    return f"`{text}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its cells Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def first_sentence(thing: object) -> str:
    """Of a docstring."""
    text = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=\.)\s(?=[A-Z`])", text, maxsplit=1)[0]
    return sentence.removesuffix(":") + "." if sentence.endswith(":") else sentence


def prose(docstring: str) -> str:
    """A docstring as Markdown: paragraphs, code that stands indented, and lists for its sections."""
    blocks: list[str] = []
    section = ""
    for part in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = part.splitlines()
        while lines:
            name = lines[0].rstrip(":")
            if lines[0].endswith(":") and name in SECTIONS:
                section, lines = name, lines[1:]
                taken, lines = until_section(lines)
                blocks.append(f"**{section}**\n\n{items(taken)}")
            else:
                taken, lines = until_section(lines)
                blocks.append(paragraph(taken))
    return "\n\n".join(block for block in blocks if block.strip())


def until_section(lines: list[str]) -> tuple[list[str], list[str]]:
    """Lines before the next section, and the rest."""
    for number, line in enumerate(lines):
        if line.endswith(":") and line.rstrip(":") in SECTIONS:
            return lines[:number], lines[number:]
    return lines, []


def paragraph(lines: list[str]) -> str:
    """Code where all of it is indented."""
    if lines and all(line.startswith("    ") for line in lines):
        return "```text\n" + "\n".join(line[4:] for line in lines) + "\n```"
    return escaped("\n".join(lines))


def items(lines: list[str]) -> str:
    """`name: what it is`, one a line, further lines indented deeper; one item where nothing has a name."""
    texts: list[str] = []
    for line in lines:
        deeper = line.startswith(" " * 8)
        if texts and deeper:
            texts[-1] += " " + line.strip()
        else:
            texts.append(line.strip())
    shown = []
    for text in texts:
        name, colon, rest = text.partition(": ")
        if colon and re.fullmatch(r"[\w.*, ]+", name):
            shown.append(f"- `{name}`: {escaped(rest)}")
        else:
            shown.append(f"- {escaped(text)}")
    return "\n".join(shown)
