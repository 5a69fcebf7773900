"""`report`: a run as one file that can be passed on, so that it names no folder of this machine."""

from pathlib import Path

from onnxsens.artefacts import OURS, REPORT_FILE
from onnxsens.errors import InputError
from onnxsens.files import claim, write_atomically
from onnxsens.gathering import gather
from onnxsens.report.page import HEAD, MARK, page
from onnxsens.results import RunRecord
from onnxsens.scan.examining import examine
from onnxsens.scan.lock import FILE as LOCK_FILE
from onnxsens.scan.store import FILE as STORE_FILE


def report(folder: str | Path, out: str | Path | None = None, *, force: bool = False) -> RunRecord:
    """Write a run as one HTML page that needs nothing else.

    Args:
        folder: of the run; without a plan, the page shows what was measured.
        out: the page; None puts it into the run folder.
        force: overwrite what is there. An older page of ours is overwritten in any case.

    Returns:
        What is on it.
    Raises:
        InputError: there is no run, or its store is damaged.
        PlanError: its plan cannot be read.
        StorageError: `out` exists or cannot be written.
    """
    folder = Path(folder)
    out = folder / REPORT_FILE if out is None else Path(out)
    gathered = gather(folder)
    model = examine(folder / STORE_FILE).settings.get("model") if (folder / STORE_FILE).exists() else None
    refuse_own(out, folder, model)
    claim_page(out, force=force)
    write_atomically(out, [page(gathered).encode("utf-8", "backslashreplace")])
    return gathered


def claim_page(out: Path, *, force: bool) -> None:
    """Do not overwrite what is no page of ours.

    Raises:
        StorageError: it is there, and `force` is off.
    """
    try:
        with out.open("rb") as file:
            own = not out.is_symlink() and MARK in file.read(HEAD)
    except OSError:
        own = False
    if not own:
        claim(out, force=force)


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
