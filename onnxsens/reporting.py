"""`report`: a run gathered for one page. Reads plan and store, changes nothing, opens no model.

The page is for passing on, so that it names no folder of this machine.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

from onnxsens.engine.questions import DENSE, Measurement
from onnxsens.errors import InputError
from onnxsens.files import claim, write_atomically
from onnxsens.plan import read_plan
from onnxsens.planning import OURS, PLAN_FILE
from onnxsens.report.page import page
from onnxsens.results import CurvePoint, MeasuredCurve, RunPage
from onnxsens.scan.examining import examine, reading
from onnxsens.scan.ledger import Block, Entry
from onnxsens.scan.lock import FILE as LOCK_FILE
from onnxsens.scan.store import FILE as STORE_FILE
from onnxsens.scan.store import measurement
from onnxsens.usercode import without_folder

POINTS = """
SELECT technique, weight, metric, zeros, size, start, samples, total, squares, dense, pruned, extendable, binary
FROM point WHERE base = ? AND failure IS NULL ORDER BY technique, weight, metric, zeros, start
"""
FAILURES = "SELECT weight, failure FROM point WHERE base = ? AND failure IS NOT NULL ORDER BY weight, zeros"


def report(folder: str | Path, out: str | Path, *, force: bool = False) -> RunPage:
    """Write a run as one HTML page that needs nothing else.

    Args:
        folder: of the run; without a plan, the page shows what was measured.
        out: the page.
        force: overwrite what is there.

    Returns:
        What is on it.
    Raises:
        InputError: there is no run, or its store is damaged.
        PlanError: its plan cannot be read.
        StorageError: `out` exists or cannot be written.
    """
    folder, out = Path(folder), Path(out)
    gathered = gather(folder)
    model = examine(folder / STORE_FILE).settings.get("model") if (folder / STORE_FILE).exists() else None
    refuse_own(out, folder, model)
    claim(out, force=force)
    write_atomically(out, [page(gathered).encode("utf-8", "backslashreplace")])
    return gathered


def refuse_own(out: Path, folder: Path, model: object) -> None:
    """A page does not take the place of what a run is made of, nor of its model.

    Raises:
        InputError: it would.
    """
    own = [
        folder / name for name in (*OURS, LOCK_FILE, f"{STORE_FILE}-wal", f"{STORE_FILE}-shm", f"{STORE_FILE}-journal")
    ]
    own += [Path(model)] if isinstance(model, str) else []
    if any(out.resolve() == each.resolve() or (out.exists() and each.exists() and out.samefile(each)) for each in own):
        raise InputError(f"'{out}' is part of the run, or its model; choose another name for the page")


def gather(folder: Path) -> RunPage:
    """What is known of a run.

    Raises:
        InputError: nothing is, or its store is damaged.
    """
    plan = read_plan(folder / PLAN_FILE) if (folder / PLAN_FILE).exists() else None
    store = folder / STORE_FILE
    if plan is None and not store.exists():
        raise InputError(f"'{folder}' holds no run: there is no {STORE_FILE} and no {PLAN_FILE}; check the path")
    curves: tuple[MeasuredCurve, ...] = ()
    failures: dict[str, str] = {}
    settings: Mapping[str, Any] = {}
    if store.exists():
        found = examine(store)
        if found.damage or found.bad_rows:
            raise InputError(f"'{store}' is damaged; see 'onnxsens check {folder}', and run the same command again")
        settings = found.settings
        with reading(store) as database:
            curves = tuple(curves_in(database.execute(POINTS, (DENSE,))))
            failures = dict(database.execute(FAILURES, (DENSE,)))
    model = plan.model.file if plan else Path(str(settings.get("model", ""))).name
    places = tuple(places_of(folder, settings))
    return RunPage(model, f"onnxsens {version('onnxsens')}", plan, curves, failures, places)


def curves_in(rows: Iterable[tuple[Any, ...]]) -> Iterator[MeasuredCurve]:
    """Points of the store, each from all of its blocks."""
    for (technique, weight, metric), points in groupby(rows, key=lambda row: row[:3]):
        made = []
        for (zeros, size), blocks in groupby(points, key=lambda row: row[3:5]):
            entry = Entry.of((metric, block_of(row[5:])) for row in blocks)
            known = entry.blocks.get(metric)
            if known:
                made.append(point_of(zeros / size, reduce(Measurement.extended, [block.measured for block in known])))
        if made:
            yield MeasuredCurve(weight, technique, without_folder(metric), tuple(made))


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
    for path in (folder, folder.resolve(), *named, Path.cwd(), Path.home(), Path(tempfile.gettempdir())):
        if path.is_absolute() and path != Path(path.anchor):
            yield str(path)
