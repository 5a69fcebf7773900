"""A scan as tables: each weight's curve, beside random pruning where asked, and what the searches picked."""

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from onnxsens.report.sparklines import Scale
from onnxsens.report.tables import CURVE, FOLDED, NAME, RIGHT, table
from onnxsens.report.text import count, inert, percent
from onnxsens.results import ScanResult
from onnxsens.scan import Point

SHOWN_LEVELS = 9  # columns of curves that fit beside a name
REMARKS = {
    "effective": "",
    "other outputs": "changes only outputs that no metric reads",
    "no effect": "no effect on the outputs",
    "not executed": "not executed on these samples",
    "not measured": "not measured",
}


def scan(result: ScanResult) -> RenderableType:
    """Curves, picks, and how much was left alone."""
    parts: list[RenderableType] = [curves(result), Text()]
    picking = {name: picks for name, picks in result.picks.items() if result.tolerance is not None or name != "grid"}
    if picking:
        goal = "the knee" if result.tolerance is None else f"at most {result.tolerance:g}"
        parts += [
            table(
                f"picks by {inert(result.search_metric)}: {goal}",
                [("weight", NAME), *((name, RIGHT) for name in picking)],
                [
                    [inert(weight), *(percent(picks[weight].level) for picks in picking.values())]
                    for weight, effect in result.effects.items()
                    if effect == "effective"
                ],
            ),
            Text(),
        ]
    if result.skipped:
        left_alone = sum(row.parameters for row in result.skipped)
        parts += [Text(f"{count(left_alone)} parameters are left alone; 'onnxsens inspect' says which and why"), Text()]
    return Group(*parts[:-1])


def curves(result: ScanResult) -> RenderableType:
    """Drop of the search metric by level asked, for the levels that most weights were asked at.

    A weight that changes no output has no curve. It would look like the most robust of all, and nothing is known of it.
    """
    found: dict[str, dict[float, str]] = {weight: {} for weight in result.effects}
    random: dict[str, dict[float, str]] = {weight: {} for weight in result.effects}
    for rows_of, points in ((found, result.points), (random, result.control)):
        for point in points:
            rows_of[point.weight][point.asked] = cell(point, result.search_metric)
    asked = Counter(level for levels in found.values() for level in levels)
    shown = sorted(level for level, _ in asked.most_common(SHOWN_LEVELS))
    rows = []
    points_of = drops_by_sparsity(result.points, result.search_metric)
    chances_of = drops_by_sparsity(result.control, result.search_metric)
    scale = Scale.of([*points_of.values(), *chances_of.values()])
    for weight, levels in found.items():
        curve = scale.line(points_of[weight]) if scale and weight in points_of else ""
        rows.append([inert(weight), *(levels.get(level, "") for level in shown), curve, remark(result, weight)])
        if random[weight]:
            chance = "random costs no more: the criterion says nothing here"
            last = chance if weight in result.no_better_than_random else ""
            curve = scale.line(chances_of[weight]) if scale else ""
            rows.append(["  at random", *(random[weight].get(level, "") for level in shown), curve, last])
        if weight in result.predicted:
            drops = (f"{result.predicted[weight].drop_at(level):.3g}" for level in shown)
            rows.append(["  predicted", *drops, "", "from one of these points and the layer's own error"])
        elif weight in result.unpredicted:
            rows.append(["  predicted", *("" for _ in shown), "", f"nothing: {inert(result.unpredicted[weight])}"])
    left_out = "" if len(shown) == len(asked) else f" ({len(shown)} of {len(asked)} levels; all with --json)"
    otherwise = any(map(differs, result.points))
    return table(
        f"drop in {inert(result.search_metric)} at each sparsity, one weight at a time{left_out}"
        + ("; @ the sparsity it comes to, where that is not what was asked for" if otherwise else ""),
        [
            ("weight", NAME),
            *((percent(level), RIGHT, 1 + at % 2) for at, level in enumerate(shown)),
            ("curve", CURVE),
            ("", FOLDED),
        ],
        rows,
        scale.legend(inert(result.search_metric)) if scale else "",
    )


def drops_by_sparsity(points: Sequence[Point], metric: str) -> dict[str, list[tuple[float, float]]]:
    """What each weight loses, at each sparsity that was measured of it."""
    found: dict[str, dict[float, float]] = {}
    for point in points:
        found.setdefault(point.weight, {})[point.sparsity] = point.observed(metric).drop
    return {weight: sorted(drops.items()) for weight, drops in found.items()}


def cell(point: Point, metric: str) -> str:
    """A drop in a table of many: three digits, a question mark where it failed; and what the level comes to."""
    drop = point.observed(metric).drop
    text = "?" if math.isnan(drop) else f"{drop:.3g}"
    return f"{text} @{percent(point.sparsity)}" if differs(point) else text


def differs(point: Point) -> bool:
    """Whether a level comes to another number of zeros than was asked for, by more than the rounding."""
    return abs(point.zeros - point.asked * point.size) > 1


def remark(result: ScanResult, weight: str) -> str:
    """What is special about a weight."""
    failure = result.failures.get(weight, "")
    return inert(failure) if failure else REMARKS[result.effects[weight]]
