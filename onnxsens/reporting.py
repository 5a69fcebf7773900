"""`report`, `curves` and `diff`: runs as files that can be passed on, so that they name no folder of this machine."""

import contextlib
import os
import stat
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from onnxsens.artefacts import OURS, REPORT_FILE
from onnxsens.contrast import Side, contrast
from onnxsens.differences import RunDifference
from onnxsens.errors import InputError, UsageError
from onnxsens.files import claim, same_place, write_atomically
from onnxsens.gathering import gather
from onnxsens.listing import rows_of
from onnxsens.plan.planfile import read_plan
from onnxsens.plugins import unknown
from onnxsens.report.formats import Format, format_of
from onnxsens.report.page import HEAD, MARK
from onnxsens.results import CurveRow, RunRecord
from onnxsens.scan.examining import examine
from onnxsens.scan.lock import FILE as LOCK_FILE
from onnxsens.scan.store import FILE as STORE_FILE


def report(
    folder: str | os.PathLike[str],
    out: str | Path | None = None,
    *,
    force: bool = False,
    format: str | None = None,  # noqa: A002  (the same word as on the command line)
) -> RunRecord:
    """Write a run as one file that needs nothing else.

    Args:
        folder: of the run; without a plan, the report shows what was measured.
        out: the file; None puts it into the run folder.
        force: overwrite what is there. An older page of ours is overwritten by a page in any case.
        format: html, md, csv, json, png, svg or a plug-in's; None takes that of the suffix of `out`, or html.

    Returns:
        What is in it.
    Raises:
        UsageError: there is no such format.
        InputError: there is no run, or its store is damaged.
        PlanError: its plan cannot be read.
        MissingPackageError: the format needs a package that is not installed.
        StorageError: `out` exists or cannot be written.
    """
    folder = Path(folder)
    gathered = gather(folder)
    out, chosen = target_of(folder, out, format)
    claim_page(out, force=force) if chosen.name == "html" else claim(out, force=force)
    write_atomically(out, [chosen.content(gathered)])
    return gathered


def rendered(folder: str | os.PathLike[str], name: str | None) -> tuple[RunRecord, bytes]:
    """What `report` would write, and what is in it.

    Raises:
        UsageError: there is no such format.
        InputError: there is no run, or its store is damaged.
        PlanError: its plan cannot be read.
        MissingPackageError: the format needs a package that is not installed.
    """
    gathered = gather(Path(folder))
    return gathered, format_of("", name).content(gathered)


def target_of(folder: Path, out: str | Path | None, name: str | None) -> tuple[Path, Format]:
    """Where a report goes and in what format.

    Raises:
        UsageError: there is no such format.
        InputError: it would take the place of a part of the run, or of its model.
    """
    if out is None:
        chosen = format_of("", name)
        return folder / f"{Path(REPORT_FILE).stem}{chosen.suffixes[0]}", chosen
    refuse_part_of(folder, Path(out))
    return Path(out), format_of(Path(out).suffix, name)


def curves(
    folder: str | os.PathLike[str],
    *,
    metric: str | None = None,
    technique: str | None = None,
    weights: Sequence[str] = (),
) -> list[CurveRow]:
    """The points of a run's curves, as rows of a table.

    Args:
        metric, technique: only these; None takes all.
        weights: only those whose name matches one of these patterns, such as `conv*`; none takes all.

    Returns:
        By weight in the run's order, technique, metric; measured points first, then predicted ones; by sparsity.
    Raises:
        UsageError: no curve is of that metric or technique, or no weight's name matches.
        InputError: there is no run, or its store is damaged.
        PlanError: its plan cannot be read.
    """
    gathered = gather(Path(folder))
    rows = rows_of(gathered)
    for noun, wanted, known in (
        ("metric", metric, [row.metric for row in rows]),
        ("technique", technique, [row.technique for row in rows]),
    ):
        if wanted is not None and wanted not in known:
            raise UsageError(unknown(noun, wanted, sorted(set(known)) or ["none"]))
    for pattern in weights:
        if not any(fnmatchcase(name, pattern) for name in gathered.weights):
            raise UsageError(unknown("weight", pattern, gathered.weights or ["none"]))
    return [
        row
        for row in rows
        if metric in (None, row.metric)
        and technique in (None, row.technique)
        and (not weights or any(fnmatchcase(row.weight, pattern) for pattern in weights))
    ]


def diff(a: str | os.PathLike[str], b: str | os.PathLike[str], *, metric: str | None = None) -> RunDifference:
    """What differs between two runs, and whether it is more than noise.

    Args:
        a, b: run folders, or plans, which have no curves.
        metric: whose curves are compared; None takes what both search by, else the first that both have.

    Raises:
        UsageError: there are no curves of that metric in both.
        InputError: there is no run, or its store is damaged.
        PlanError: a plan cannot be read.
    """
    return contrast(side_of(Path(a)), side_of(Path(b)), metric)


def side_of(path: Path) -> Side:
    """A run folder or a plan, as one that is compared.

    Raises:
        InputError: it is none, or its store is damaged.
        PlanError: the plan cannot be read.
    """
    if not path.is_dir():
        plan = read_plan(path)
        metric = plan.objective.search_metric
        made_by = f"{plan.generator.name} {plan.generator.version}"
        return Side(RunRecord(plan.model.file, made_by, plan, (), {}, (), search_metric=metric), alone=True)
    run = gather(path)
    if not (path / STORE_FILE).exists():
        return Side(run)
    found = examine(path / STORE_FILE)
    return Side(run, found.identity, found.settings)


def claim_page(out: Path, *, force: bool) -> None:
    """Do not overwrite what is no page of ours.

    Raises:
        StorageError: it is there, and `force` is off.
    """
    own = False
    with contextlib.suppress(OSError):
        if stat.S_ISREG(out.lstat().st_mode):  # a pipe would be waited for
            with out.open("rb") as file:
                own = MARK in file.read(HEAD)
    if not own:
        claim(out, force=force)


def refuse_part_of(folder: Path, out: Path) -> None:
    """Nothing that is made of a run takes the place of what it is made of, nor of its model.

    Args:
        folder: of the run, or a plan in one.
    Raises:
        InputError: it would.
    """
    named, folder = folder, folder if folder.is_dir() else folder.parent
    store = folder / STORE_FILE
    model = examine(store).settings.get("model") if store.exists() else None
    own = [named, *(folder / name for name in (*OURS, LOCK_FILE))]
    own += [folder / f"{STORE_FILE}-{ending}" for ending in ("wal", "shm", "journal")]
    own += [Path(model)] if isinstance(model, str) else []
    if any(same_place(out, each) for each in own if not each.is_dir()):
        raise InputError(f"'{out}' is part of the run, or its model; choose another name")


def form_of(out: Path | None, name: str | None, usual: str, known: Sequence[str]) -> str:
    """The format of a table that goes to `out`, or to standard output.

    Raises:
        UsageError: there is no such format.
    """
    if name is None:
        name = usual if out is None or not out.suffix else out.suffix.lower().lstrip(".")
    if name not in known:
        raise UsageError(f"{unknown('format', name, list(known))}; or say --format")
    return name


def leave(out: Path, content: bytes, made_of: Sequence[Path], *, force: bool) -> None:
    """Write a file that was made of runs or plans.

    Raises:
        InputError: it would take the place of a part of one of them.
        StorageError: it exists and `force` is off, or it cannot be written.
    """
    for source in made_of:
        refuse_part_of(source, out)
    claim(out, force=force)
    write_atomically(out, [content])
