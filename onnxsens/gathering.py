"""What is known of a run, gathered from its folder. Reads plan, front and store, changes nothing, opens no model."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from importlib.metadata import version
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any

from onnxsens.artefacts import PARETO_FILE, PLAN_FILE
from onnxsens.engine.questions import DENSE, Measurement
from onnxsens.errors import InputError
from onnxsens.files import sha256_of
from onnxsens.plan import Plan, read_plan
from onnxsens.plan.front import read_front
from onnxsens.results import BUDGET, CurvePoint, MeasuredCurve, RunRecord
from onnxsens.retelling import command_of
from onnxsens.scan.examining import examine, reading
from onnxsens.scan.ledger import Block, Entry
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.scan.store import measurement
from onnxsens.usercode import without_folder

POINTS = """
SELECT technique, weight, metric, zeros, size, start, samples, total, squares, dense, pruned, extendable, binary
FROM point WHERE base = ? AND failure IS NULL ORDER BY technique, weight, metric, zeros, start
"""
FAILURES = "SELECT weight, failure FROM point WHERE base = ? AND failure IS NOT NULL ORDER BY weight, zeros"
ASKED = "SELECT weight, level_asked FROM point WHERE base = ? AND technique = ? GROUP BY weight, level_asked"
EFFECTS = "SELECT weight, effect FROM effect ORDER BY rowid"
PREDICTIONS = "SELECT weight, zeros, size, relative_error FROM prediction WHERE technique = ? ORDER BY weight, zeros"
UNPREDICTED = "SELECT weight, reason FROM unpredicted WHERE technique = ? ORDER BY weight"
SHOWN_LEVELS = tuple(step / 40 for step in range(41))  # of a predicted curve


def gather(folder: Path) -> RunRecord:
    """What is known of a run.

    Raises:
        InputError: nothing is, or its store is damaged.
    """
    if folder.is_file():
        raise InputError(f"'{folder}' is a file, and a run is a folder; give the folder it is in")
    plan = read_plan(folder / PLAN_FILE) if (folder / PLAN_FILE).exists() else None
    store = folder / STORE_FILE
    if plan is None and not store.exists():
        raise InputError(f"'{folder}' holds no run: there is no {STORE_FILE} and no {PLAN_FILE}; check the path")
    curves: tuple[MeasuredCurve, ...] = ()
    known: dict[str, Any] = {}
    scanned: Sequence[str] | None = None
    failures: dict[str, str] = {}
    settings: Mapping[str, Any] = {}
    artefacts: Mapping[str, str] | None = None
    if store.exists():
        found = examine(store)
        if found.damage or found.bad_rows:
            raise InputError(f"'{store}' is damaged; see 'onnxsens check {folder}', and run the same command again")
        settings, artefacts = found.settings, found.artefacts
        with reading(store) as database:
            measured = list(measurements_in(database.execute(POINTS, (DENSE,))))
            curves = tuple(curves_of(measured))
            failures = dict(database.execute(FAILURES, (DENSE,)))
            technique = technique_of(plan, curves)
            metric = metric_of(plan, settings, curves)
            searched = [each for each in curves if (each.technique, each.metric) == (technique, metric)]
            scanned = scan_of(database.execute(ASKED, (DENSE, technique)), curves)
            shapes = dict(shapes_in(database.execute(PREDICTIONS, (technique,))))
            known = {
                "effects": dict(database.execute(EFFECTS)),
                "dense": dense_of(measured),
                "technique": technique,
                "search_metric": metric,
                "unpredicted": dict(database.execute(UNPREDICTED, (technique,))),
                "predicted": dict(predicted_of(shapes, searched)),
                "foretold": dict(foretold_of(shapes, searched)),
            }
    model = plan.model.file if plan else Path(str(settings.get("model", ""))).name
    front = read_front(folder / PARETO_FILE) if is_own(folder / PARETO_FILE, artefacts) else None
    return RunRecord(
        model,
        f"onnxsens {version('onnxsens')}",
        plan,
        curves,
        failures,
        tuple(places_of(folder, settings)),
        front=front,
        doubts=tuple(doubts_of(folder, plan, artefacts)),
        command=command_of(settings, plan, model, front=front is not None, scan=scanned),
        budget_command=command_of(settings, plan, model, goal=("--sparsity", BUDGET)) if plan else (),
        **known,
    )


def is_own(path: Path, artefacts: Mapping[str, str] | None) -> bool:
    """Whether a file is there and is what the run wrote; of a folder without a store, whether it is there."""
    if not path.is_file():
        return False
    return artefacts is None or artefacts.get(path.name) == sha256_of(path)


def scan_of(rows: Iterable[tuple[str, float]], curves: Sequence[MeasuredCurve]) -> list[str] | None:
    """Options of the scan that asked for these levels; None where a search chose them, each weight's own."""
    asked: dict[str, set[float]] = {}
    for weight, level in rows:
        asked.setdefault(weight, set()).add(level)
    if len({frozenset(levels) for levels in asked.values()}) != 1:
        return None
    levels = ",".join(f"{level:g}" for level in sorted(next(iter(asked.values()))))
    return [
        "--levels",
        levels,
        *(["--control"] if any(curve.technique.startswith("random") for curve in curves) else []),
    ]


def doubts_of(folder: Path, plan: Plan | None, artefacts: Mapping[str, str] | None) -> Iterator[str]:
    """What speaks against what lies there."""
    if plan is not None and artefacts is not None and not is_own(folder / PLAN_FILE, artefacts):
        yield f"{PLAN_FILE} is not as this run wrote it; 'onnxsens check' says more"


def measurements_in(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, str, str, float, Measurement]]:
    """Technique, weight, metric, sparsity, and what was measured there, each from all of its blocks."""
    for (technique, weight, metric), points in groupby(rows, key=lambda row: row[:3]):
        for (zeros, size), blocks in groupby(points, key=lambda row: row[3:5]):
            entry = Entry.of((metric, block_of(row[5:])) for row in blocks)
            known = entry.blocks.get(metric)
            if known:
                measured = reduce(Measurement.extended, [block.measured for block in known])
                yield technique, weight, without_folder(metric), zeros / size, measured


def curves_of(measured: Iterable[tuple[str, str, str, float, Measurement]]) -> Iterator[MeasuredCurve]:
    """One for each technique, weight and metric."""
    for (technique, weight, metric), points in groupby(measured, key=lambda row: row[:3]):
        yield MeasuredCurve(weight, technique, metric, tuple(point_of(row[3], row[4]) for row in points))


def dense_of(measured: Iterable[tuple[str, str, str, float, Measurement]]) -> dict[str, float]:
    """What each metric is of the dense model, on as many samples as any point was measured on."""
    best: dict[str, Measurement] = {}
    for _, _, metric, _, found in measured:
        if isfinite(found.dense) and (metric not in best or found.samples > best[metric].samples):
            best[metric] = found
    return {metric: found.dense for metric, found in best.items()}


def technique_of(plan: Plan | None, curves: Sequence[MeasuredCurve]) -> str | None:
    """By which the curves are that a plan was chosen by, or the first that were measured.

    A store may hold several: of a plan with updates its name is longer, and random pruning is one too.
    """
    names = list(dict.fromkeys(curve.technique for curve in curves if not curve.technique.startswith("random")))
    names = names or list(dict.fromkeys(curve.technique for curve in curves))
    wanted = [name for name in names if plan and name.partition("+")[0] == plan.technique.partition("+")[0]]
    return next(iter(wanted or names), None)


def metric_of(plan: Plan | None, settings: Mapping[str, Any], curves: Sequence[MeasuredCurve]) -> str | None:
    """What searches look at."""
    if plan is not None:
        return plan.objective.search_metric
    named = settings.get("search_metric")
    names = list(dict.fromkeys(curve.metric for curve in curves))
    if isinstance(named, str) and without_folder(named) in names:
        return without_folder(named)
    return next((name for name in ("kl", "dense-mse") if name in names), next(iter(names), None))


def shapes_in(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, PredictedCurve]]:
    """Predicted curves of weights, not yet scaled by anything measured."""
    for weight, found in groupby(rows, key=lambda row: row[0]):
        shape = list(found)
        yield (
            weight,
            PredictedCurve(weight, shape[0][2], tuple(row[1] for row in shape), tuple(row[3] for row in shape)),
        )


def predicted_of(
    shapes: Mapping[str, PredictedCurve], curves: Sequence[MeasuredCurve]
) -> Iterator[tuple[str, tuple[tuple[float, float], ...]]]:
    """Predicted curves of weights, each through the points that were measured of it."""
    measured = {curve.weight: pairs_of(curve) for curve in curves}
    for weight, shape in shapes.items():
        scaled = shape.scaled(measured.get(weight, []))
        if scaled is not None:
            yield weight, tuple((level, scaled.drop_at(level)) for level in SHOWN_LEVELS)


def foretold_of(
    shapes: Mapping[str, PredictedCurve], curves: Sequence[MeasuredCurve]
) -> Iterator[tuple[str, tuple[tuple[float, float, float], ...]]]:
    """How well measured points are predicted by the others of the same weight."""
    for curve in curves:
        points = pairs_of(curve)
        if curve.weight not in shapes or len(points) < 2:
            continue
        said = [shapes[curve.weight].scaled(points[:place] + points[place + 1 :]) for place in range(len(points))]
        pairs = zip(points, said, strict=True)
        found = tuple((level, scaled.drop_at(level), drop) for (level, drop), scaled in pairs if scaled is not None)
        if found:
            yield curve.weight, found


def pairs_of(curve: MeasuredCurve) -> list[tuple[float, float]]:
    """Levels and drops."""
    return [(point.sparsity, point.drop) for point in curve.points]


def block_of(row: tuple[Any, ...]) -> Block:
    """Columns from `start` on."""
    start, *measured = row
    return Block(start, measurement([*measured, None]))


def point_of(sparsity: float, measured: Measurement) -> CurvePoint:
    """A point as it is drawn."""
    drop, error = measured.drop, 2 * measured.standard_error
    return CurvePoint(sparsity, drop, drop - error, drop + error, measured.samples)


def places_of(folder: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    """Folders that messages in plan and store may name."""
    files = [settings.get("model"), settings.get("data"), *(settings.get("metrics") or [])]
    named = [Path(str(text)).parent for text in files if text]
    with contextlib.suppress(OSError):  # a folder that is gone
        named.append(Path.cwd())
    for path in (folder, Path(os.path.realpath(folder)), *named, Path.home(), Path(tempfile.gettempdir())):
        if path.is_absolute() and path != Path(path.anchor):
            yield str(path)
