"""What the script of a page draws, as short JSON: names once, then indices, and numbers as exact as they are shown."""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import Any

from onnxsens.plan.planfile import Plan, PlannedWeight, size_of
from onnxsens.report.page.shown import Shown
from onnxsens.report.page.words import level_noun, metrics_of, source_of
from onnxsens.report.text import inert
from onnxsens.results import BUDGET, MeasuredCurve, RunRecord

# In a script block a browser looks for these, in any text; JSON can write them in another way.
UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029", "\x7f": "\\u007f"}
LEVEL_DIGITS = 4
DIGITS = 4  # significant ones, of a drop
CommandLine = Callable[[Sequence[str], Shown], str]


def in_script(data: Any) -> str:
    """JSON that no browser takes for anything else."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return "".join(UNSAFE.get(character, character) for character in text)


def drawn(run: RunRecord, shown: Shown, command_line: CommandLine) -> dict[str, Any]:
    """All of it; weights in the order of the run, everything else by its place in a list.

    `lines` of a weight: metric, technique, levels, drops, half intervals, samples. `predicted`: the grid of levels that
    it is on, and drops of the search metric. `front.command`: what comes before the sparsity, and after it.
    """
    metrics, plan = metrics_of(run), run.plan
    planned = {weight.name: weight for weight in plan.weights} if plan else {}
    techniques = list(dict.fromkeys(curve.technique for curve in run.curves))
    pickers = [each.picker for each in plan.choice.proposals] if plan else []
    grids = list(dict.fromkeys(tuple(level for level, _ in points) for points in run.predicted.values()))
    lines = lines_of(run.curves, metrics, techniques)
    operators = by_size(planned.values())
    return {
        "kind": level_noun(plan),
        "metrics": [metric_of(name, plan, shown) for name in metrics],
        "search": metrics.index(run.search_metric) if run.search_metric in metrics else None,
        "techniques": [shown(inert(name)) for name in techniques],
        "technique": techniques.index(run.technique) if run.technique in techniques else 0,
        "operators": [shown(inert(name)) for name in operators],
        "pickers": [{"name": shown(inert(each.picker)), "baseline": each.baseline} for each in plan.choice.proposals]
        if plan
        else [],
        "grids": [[short(level) for level in grid] for grid in grids],
        "weights": [
            {
                "name": shown(inert(name)),
                **(facts(planned[name], plan, operators, pickers, shown) if plan and name in planned else {}),
                "lines": lines.get(name, []),
                **({"predicted": predicted(run.predicted[name], grids)} if name in run.predicted else {}),
                **({"foretold": [foretold(each) for each in run.foretold[name]]} if name in run.foretold else {}),
            }
            for name in run.weights
        ],
        "wholes": wholes(run, metrics, shown),
        "front": front_of(run, metrics, shown, command_line),
    }


def metric_of(name: str, plan: Plan | None, shown: Shown) -> dict[str, Any]:
    """Name, unit, and limit of the goal."""
    known = plan.quality.metrics.get(name) if plan else None
    unit = "" if known is None or known.unit == "fraction" else shown(inert(known.unit))
    return {"name": shown(inert(name)), "unit": unit, "limit": plan.objective.max_drop.get(name) if plan else None}


def by_size(weights: Any) -> list[str]:
    """Operators, that with most parameters first, so that the clearest colours go to what matters."""
    sizes: dict[str, int] = {}
    for weight in weights:
        sizes[weight.op] = sizes.get(weight.op, 0) + size_of(weight)
    return sorted(sizes, key=lambda op: (-sizes[op], op))


def facts(
    weight: PlannedWeight, plan: Plan, operators: Sequence[str], pickers: Sequence[str], shown: Shown
) -> dict[str, Any]:
    """What a plan says of a weight."""
    source = source_of(weight)
    return {
        "op": operators.index(weight.op),
        "size": size_of(weight),
        "zeros": weight.zeros,
        "level": short(weight.sparsity if plan.level_kind == "sparsity" else weight.level),
        "picks": [short(weight.picks[name]) if name in weight.picks else None for name in pickers],
        **({"source": shown(source)} if source else {}),
    }


def lines_of(
    curves: Sequence[MeasuredCurve], metrics: Sequence[str], techniques: Sequence[str]
) -> dict[str, list[list[Any]]]:
    """Measured curves by weight."""
    found: dict[str, list[list[Any]]] = {}
    for curve in curves:
        points = [
            point for point in curve.points if isfinite(point.drop) and isfinite(point.low) and isfinite(point.high)
        ]
        found.setdefault(curve.weight, []).append(
            [
                metrics.index(curve.metric),
                techniques.index(curve.technique),
                [short(point.sparsity) for point in points],
                [rounded(point.drop) for point in points],
                [rounded((point.high - point.low) / 2) for point in points],
                same([point.samples for point in points]),
            ]
        )
    return found


def predicted(points: Sequence[tuple[float, float]], grids: Sequence[tuple[float, ...]]) -> list[Any]:
    """A predicted curve."""
    return [grids.index(tuple(level for level, _ in points)), [rounded(drop, 3) for _, drop in points]]


def foretold(each: tuple[float, float, float]) -> list[float]:
    """A point, what the others said of it, and what it was."""
    level, said, measured = each
    return [short(level), rounded(said), rounded(measured)]


def wholes(run: RunRecord, metrics: Sequence[str], shown: Shown) -> list[dict[str, Any]]:
    """Plans that were measured as a whole on the search split, other than those of the front: name, levels, drops."""
    if run.plan is None:
        return []
    found = [
        {
            "name": shown(inert(each.picker)),
            "baseline": each.baseline,
            "chosen": each.picker == run.plan.choice.picker,
            "level": short(each.sparsity),
            "drops": drops_of(each.drops, metrics),
        }
        for each in run.plan.choice.proposals
    ]
    return found


def front_of(run: RunRecord, metrics: Sequence[str], shown: Shown, command_line: CommandLine) -> dict[str, Any] | None:
    """The front, with the command that makes any plan of it."""
    if run.front is None or not run.front.points:
        return None
    parts = [
        command_line(list(words), shown)
        for is_gap, words in groupby(run.budget_command, key=lambda word: word == BUDGET)
        if not is_gap
    ]
    return {
        "metric": metrics.index(run.front.metric) if run.front.metric in metrics else 0,
        "command": parts if len(parts) == 2 else None,
        "points": [
            {
                "picker": shown(inert(point.picker)),
                "level": short(point.sparsity),
                "samples": point.samples,
                "on": point.on_front,
                "drops": drops_of(point.drops, metrics),
                "levels": [short(point.levels.get(name, 0.0)) for name in run.weights],
            }
            for point in run.front.points
        ],
    }


def drops_of(drops: Mapping[str, float], metrics: Sequence[str]) -> list[float | None]:
    """By the place of the metric."""
    return [rounded(drops[name]) if name in drops and isfinite(drops[name]) else None for name in metrics]


def same(values: Sequence[int]) -> Any:
    """One number where they are all the same."""
    return values[0] if len(set(values)) == 1 else list(values)


def short(level: float) -> float | int:
    """A level as exact as it is shown."""
    return whole(round(level, LEVEL_DIGITS))


def rounded(value: float, digits: int = DIGITS) -> float | int:
    """To so many significant digits."""
    return whole(float(f"{value:.{digits}g}"))


def whole(value: float) -> float | int:
    """Without a point where it needs none."""
    return int(value) if value == int(value) and abs(value) < 1e9 else value
