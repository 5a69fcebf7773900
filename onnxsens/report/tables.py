"""What all tables in the terminal look like, and how they fit into one that is narrow.

Where there is no terminal nothing is shortened: whoever reads a log wants whole names. In a terminal long names lose
their middle, remarks are folded, and columns of least importance go, which is said below the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from onnxsens.report.sparklines import ASCII, BLOCKS
from onnxsens.report.text import harmless_lines

# How a column behaves where there is no room: kept whole, or folded; a name loses its middle, if it is in a terminal.
LEFT, RIGHT, FOLDED, NAME = "left", "right", "folded", "name"
FOLDED_RIGHT = "folded right"
CURVE = "curve"  # of `sparklines`
GAP = 2  # columns between two columns
LEAST_NAME, LEAST_FOLDED = 16, 14
NARROWEST = 6
CUTS = (0.5, 0.35, 0.2, 0.65, 0.8, 0.0)  # of what is kept of a name, the share before the dots


@dataclass(frozen=True)
class Column:
    """One of a table.

    Attributes:
        spare: how readily it is given up where there is no room; of equals the last one first. The first column of a
            table never is.
    """

    name: str
    kind: str = LEFT
    spare: int = 0


@dataclass(frozen=True)
class FittedTable:
    """A table that knows what to do with the width it gets."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    legend: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The title, the table, and what was left out of it."""
        look = Look.of(console, options)
        yield Text(look.text(self.title), style="bold")
        columns = [Column(look.text(each.name), each.kind, each.spare) for each in self.columns]
        cells = [[look.cell(cell, each.kind) for cell, each in zip(row, columns, strict=True)] for row in self.rows]
        natural = [width_of(column.name, [row[at] for row in cells]) for at, column in enumerate(columns)]
        kept = [at for at, wide in enumerate(natural) if wide]
        widths: list[int | None] = [None] * len(columns)
        if not console.is_terminal and sum(natural[at] + GAP for at in kept) - GAP > options.max_width:
            kept = [at for at in kept if columns[at].kind != CURVE]  # a picture of numbers; those stay
        elif console.is_terminal:
            kept = kept_columns(columns, natural, kept, options.max_width)
            widths = shared_out([columns[at] for at in kept], [natural[at] for at in kept], options.max_width)
        shown = [[row[at] for row in cells] for at in kept]
        for place, (at, width) in enumerate(zip(kept, widths, strict=False)):
            if columns[at].kind == NAME and width is not None:
                shown[place] = shortened(shown[place], width, look.dots)
        yield drawn([columns[at] for at in kept], list(zip(*shown, strict=True)), widths[: len(kept)])
        gone = [column.name or "remarks" for at, column in enumerate(columns) if natural[at] and at not in kept]
        if gone:
            yield Text(f"no room for: {', '.join(gone)}; widen the terminal, or see --json", style="dim")
        if self.legend and any(columns[at].kind == CURVE for at in kept):
            yield Text(look.cell(self.legend, CURVE), style="dim")


@dataclass(frozen=True)
class Look:
    """What the stream can show.

    Attributes:
        encoding: of the stream.
        plain: whether it gets ASCII only.
    """

    encoding: str
    plain: bool

    @classmethod
    def of(cls, console: Console, options: ConsoleOptions) -> "Look":
        """Of a console; a dumb terminal says nothing of what it can."""
        return cls(options.encoding, options.ascii_only or console.is_dumb_terminal)

    @property
    def dots(self) -> str:
        """In place of what was cut out."""
        return "..." if self.plain else "\u2026"

    def text(self, text: str) -> str:
        """As it will be shown, and so as wide as it looks: what the encoding lacks is escaped."""
        return harmless_lines(text).encode(self.encoding, "backslashreplace").decode(self.encoding)

    def cell(self, text: str, kind: str) -> str:
        """The same of a cell; curves have signs for each kind of stream."""
        return self.text(text.translate(str.maketrans(BLOCKS, ASCII)) if kind == CURVE and self.plain else text)


def table(
    title: str,
    columns: Sequence[tuple[str, str] | tuple[str, str, int]],
    rows: Sequence[Sequence[str]],
    legend: str = "",
) -> Group:
    """A plain table under its title. Names were capped before; that nothing in a cell controls the terminal is seen to
    here, whatever file it is from.

    Args:
        columns: name, kind, and how readily each is given up in a narrow terminal; an empty one without name is not
            drawn.
        legend: of curves, shown where they are.
    """
    return Group(FittedTable(title, [Column(*each) for each in columns], rows, legend))


def drawn(columns: Sequence[Column], rows: Sequence[Sequence[str]], widths: Sequence[int | None]) -> Table:
    """The table itself."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        made.add_column(
            Text(column.name),
            justify="right" if column.kind in (RIGHT, FOLDED_RIGHT) else "left",
            overflow="fold",
            no_wrap=column.kind in (LEFT, RIGHT, CURVE),
            width=width,
        )
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def width_of(name: str, cells: Sequence[str]) -> int:
    """Columns of the longest line."""
    return max((cell_len(line) for text in (name, *cells) for line in text.split("\n")), default=0)


def least(column: Column, natural: int) -> int:
    """Columns below which a column makes no sense."""
    floors = {NAME: LEAST_NAME, FOLDED: LEAST_FOLDED, FOLDED_RIGHT: LEAST_FOLDED}
    return min(natural, max(floors.get(column.kind, natural), cell_len(column.name)))


def kept_columns(columns: Sequence[Column], natural: Sequence[int], among: Sequence[int], width: int) -> list[int]:
    """Places of the columns that there is room for."""
    kept = list(among)
    while len(kept) > 1 and sum(least(columns[at], natural[at]) + GAP for at in kept) - GAP > width:
        kept.remove(max(kept[1:], key=lambda at: (columns[at].spare, at)))
    return kept


def shared_out(columns: Sequence[Column], natural: Sequence[int], width: int) -> list[int | None]:
    """How wide each column is: what cannot shrink is whole, names come next, and remarks get what is left."""
    widths = [least(column, wide) for column, wide in zip(columns, natural, strict=True)]
    left = width - sum(widths) - GAP * (len(columns) - 1)
    if left < 0:
        widths[0] = max(widths[0] + left, NARROWEST)
    for kind in (NAME, FOLDED_RIGHT, FOLDED):
        for at, column in enumerate(columns):
            if column.kind == kind and left > 0:
                more = min(natural[at] - widths[at], left)
                widths[at] += more
                left -= more
    return [*widths]


def shortened(names: Sequence[str], width: int, dots: str) -> list[str]:
    """Names of at most `width` columns, without their middle; those that differ still do, or they stay whole and fold.

    Exporters number layers in the middle of names, or at either end, so several places are tried for the dots.
    """
    whole = len(set(names))
    room = width - len(dots)
    for share in CUTS if room >= 2 else ():
        short = [cut(name, width, round(room * share), dots) for name in names]
        if len(set(short)) == whole:
            return short
    return list(names)


def cut(name: str, width: int, head: int, dots: str) -> str:
    """So many columns of its beginning, dots, and its end."""
    if cell_len(name) <= width:
        return name
    tail = width - head - len(dots)
    return set_cell_size(name, head).rstrip() + dots + set_cell_size(name[::-1], tail).rstrip()[::-1]


def lines(*texts: str, style: str = "") -> Text:
    """Lines under each other, none of which controls the terminal."""
    return Text("\n".join(map(harmless_lines, texts)), style=style)
