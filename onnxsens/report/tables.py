"""What all tables in the terminal look like."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

# How a column behaves where there is no room: kept whole, or folded.
LEFT, RIGHT, FOLDED = "left", "right", "folded"


def table(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> Group:
    """A plain table under its title; text from files has been made inert before."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for name, kind in columns:
        made.add_column(name, justify="right" if kind == RIGHT else "left", overflow="fold", no_wrap=kind != FOLDED)
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    return Group(Text(title, style="bold"), made)
