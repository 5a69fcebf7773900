"""What all tables in the terminal look like."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from onnxsens.report.text import harmless_lines

# How a column behaves where there is no room: kept whole, or folded.
LEFT, RIGHT, FOLDED = "left", "right", "folded"


def table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Group:
    """A plain table under its title. Names were capped before; that nothing in a cell controls the terminal is seen to
    here, whatever file it is from.
    """
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name, kind in columns:
        made.add_column(
            Text(harmless_lines(name)),
            justify="right" if kind == RIGHT else "left",
            overflow="fold",
            no_wrap=kind != FOLDED,
        )
    for row in rows:
        made.add_row(*(Text(harmless_lines(cell)) for cell in row))
    return Group(Text(harmless_lines(title), style="bold"), made)


def lines(*texts: str, style: str = "") -> Text:
    """Lines under each other, none of which controls the terminal."""
    return Text("\n".join(map(harmless_lines, texts)), style=style)
