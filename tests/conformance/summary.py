"""Rows of a sweep as text: a table of counts, and every model that did not get through, by reason."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from tests.conformance.stages import OK, STAGES, Row
from tests.conformance.wheels import SOURCE as WHEELS

COLUMNS: Mapping[str, Callable[[Row], bool]] = {
    "files": lambda row: True,
    "inspected": lambda row: row.get("inspected") == OK,
    "stores weights": lambda row: bool(row.get("stores")),
    "nothing to prune": lambda row: row.get("inspected") == OK and not row.get("weights"),
    "prunable": lambda row: bool(row.get("weights")),
    "prunable and runs": lambda row: bool(row.get("weights")) and row.get("runs") == OK,
    "scanned": lambda row: row.get("scanned") == OK,
    "planned": lambda row: row.get("planned") == OK,
    "applied": lambda row: row.get("applied") == OK,
    "reloaded": lambda row: row.get("reloaded") == OK,
    "equals oracle": lambda row: row.get("oracle") == OK,
    "crashes, hangs": lambda row: "lost" in row,
    "trouble": lambda row: bool(row.get("trouble")),
}
SHOWN_NAMES = 8
LONGEST_REASON = 120


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Counts by source, with a line for all."""
    sources = list(dict.fromkeys(row["source"] for row in rows))
    groups = {source: [row for row in rows if row["source"] == source] for source in sources}
    if len(groups) > 1:
        groups["all"] = list(rows)
    header = ["source", *COLUMNS]
    return [header, *([name, *counts(group)] for name, group in groups.items())]


def counts(rows: Sequence[Row]) -> list[str]:
    """One line of the table."""
    return [str(sum(map(holds, rows))) for holds in COLUMNS.values()]


def expected(rows: Sequence[Row]) -> str:
    """How many models give the outputs that came with them."""
    told = [row for row in rows if "matches" in row]
    prunable = [row for row in told if row.get("weights")]
    return (
        f"{sum(row['matches'] for row in told)} of {len(told)} models that run and have expected outputs give them; "
        f"{sum(row['matches'] for row in prunable)} of {len(prunable)} among those with something to prune"
    )


def reasons(rows: Iterable[Row]) -> dict[tuple[str, str], list[str]]:
    """Models that stopped somewhere, by stage and reason, the most frequent first."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in rows:
        stopped = [stage for stage in STAGES if row.get(stage, OK) != OK and counts_as_stop(stage, row)]
        if "lost" in row:
            found["survived", general(row["lost"])].append(row["key"])
        elif stopped:
            found[stopped[0], general(row[stopped[0]])].append(row["key"])
        elif row.get("stores") and not row.get("weights"):
            found["prunable", why_nothing(row)].append(row["key"])
    order = ["survived", "inspected", "prunable", *STAGES[1:]]
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]))))


def why_nothing(row: Row) -> str:
    """Why a model that stores something at a weight's place has no weight for the tool."""
    operators = ", ".join(sorted(set(row["stores"].values())))
    told = sorted({general(row.get("skipped", {}).get(name, "")) for name in row["stores"]} - {""})
    return f"{operators}: {'; '.join(told) or 'nothing is found to prune, and no reason given'}"


def twins(rows: Iterable[Row]) -> list[tuple[list[str], str]]:
    """Models from wheels whose dense outputs are identical, and whether their curves are: one net, encoded differently.

    Weights are compared by size, without those that have no effect.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["source"] == WHEELS and row.get("outputs") and row.get("scanned") == OK:
            groups[row["outputs"]].append(row)
    return [
        ([row["name"] for row in group], relation([effective(row) for row in group]))
        for group in groups.values()
        if len(group) > 1
    ]


def effective(row: Row) -> list[list[float]]:
    """Points of the weights that have an effect, as `[level, zeros, drop]`, in an order that names play no part in."""
    return sorted(line[1:] for line in row["curves"] if line[0] not in row["without_effect"])


def relation(curves: Sequence[list[list[float]]]) -> str:
    """How the points of several models lie to each other."""
    first, *others = curves
    if all(other == first for other in others):
        return "identical"
    if any([line[:2] for line in other] != [line[:2] for line in first] for other in others):
        return "of other weights"
    pairs = [(a[2], b[2]) for other in others for a, b in zip(first, other, strict=True)]
    gap = max(abs(a - b) / max(abs(a), abs(b), 1e-30) for a, b in pairs)
    return f"equal within {gap:.1e}"


def counts_as_stop(stage: str, row: Row) -> bool:
    """Whether a model without anything to prune has to get through this stage, or one with."""
    return stage == "inspected" or bool(row.get("weights"))


def general(reason: str) -> str:
    """A reason without the names and numbers of one model, so that equal ones meet."""
    text = re.sub(r"/\S+/(\S+\.onnx)", r"\1", reason)
    text = re.sub(r"(?<!\w)'[^']*'", "'...'", text)
    return re.sub(r"\[[^\]]*\]|\d[\d,.]*", "#", text)[:220]


def text(rows: Sequence[Row], notes: Sequence[str], seconds: float) -> str:
    """The report for a terminal."""
    cells = table(rows)
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if not column else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    ]
    lines += ["", expected(rows), f"{seconds:.0f} s", *notes]
    for (stage, reason), keys in reasons(rows).items():
        lines += ["", f"not {stage} ({len(keys)}): {reason}", *(f"    {key}" for key in shown(keys))]
    lines += ["", *(f"same outputs: {', '.join(names)}; curves {how}" for names, how in twins(rows))]
    troubled = [(row["key"], trouble) for row in rows for trouble in row.get("trouble", [])]
    if troubled:
        lines += ["", f"TROUBLE ({len(troubled)}):", *(f"    {key}: {trouble}" for key, trouble in troubled)]
    return "\n".join(lines) + "\n"


def markdown(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The generated part of docs/conformance.md."""
    header, *body = table(rows)
    lines = [
        "| " + " | ".join(header) + " |",
        "|---|" + "---:|" * (len(header) - 1),
        *("| " + " | ".join(line) + " |" for line in body),
        "",
        expected(rows) + ".",
        *(f"Encodings with identical outputs: {', '.join(names)}; curves {how}." for names, how in twins(rows)),
        *notes,
        "",
        "| not | models | reason | which |",
        "|---|---:|---|---|",
    ]
    for (stage, reason), keys in reasons(rows).items():
        names = ", ".join(f"`{key.split('/', 1)[1]}`" for key in sorted(keys)[:3])
        names += f" and {len(keys) - 3} more" if len(keys) > 3 else ""
        short = reason if len(reason) <= LONGEST_REASON else reason[:LONGEST_REASON] + "..."
        lines.append(f"| {stage} | {len(keys)} | {short.replace('|', chr(92) + '|')} | {names} |")
    return "\n".join(lines) + "\n"


def shown(keys: Sequence[str]) -> list[str]:
    """The first few, and how many there are more."""
    more = [f"... and {len(keys) - SHOWN_NAMES} more"] if len(keys) > SHOWN_NAMES else []
    return [*sorted(keys)[:SHOWN_NAMES], *more]
