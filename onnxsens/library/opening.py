"""Runs and plans that were made earlier, here or on the command line."""

from pathlib import Path

from onnxsens.artefacts import PLAN_FILE
from onnxsens.errors import InputError
from onnxsens.library.arguments import Names, Size, guard_from, names
from onnxsens.library.keeping import Named
from onnxsens.library.planned import Plan
from onnxsens.library.run import Run
from onnxsens.library.words import worded
from onnxsens.opened import absolute
from onnxsens.plan import read_plan


@worded
def open_run(
    folder: str | Path,
    *,
    model: str | Path | None = None,
    data: str | None = None,
    metrics: Names = (),
    custom_op_libs: Names = (),
    isolated: bool = False,
    patience: float = 60.0,
    worker_memory: Size | None = None,
    max_model_bytes: Size | None = None,
    max_data_bytes: Size | None = None,
    strict_links: bool = False,
    accept_changed: Names = (),
) -> Run:
    """Open a run that was made earlier, here or on the command line.

    Code is only run where you name it: a run on samples, a metric or operators of your own needs them here again.

    Args:
        folder: of the run.
        model: where the dense model is (default: where it was).
        data: samples of the run, where they moved or come from code, `FILE.py:FUNCTION` (default: where they were).
        metrics: of the run that are code, `FILE.py:FUNCTION` (default none).
        custom_op_libs: libraries of custom operators; they are run (default none).
        isolated: as of `scan` (default False); so are `patience` in seconds (default 60.0), `worker_memory` (default
            None), `max_model_bytes` (default None), `max_data_bytes` (default None), `strict_links` (default False)
            and `accept_changed` (default none).

    Raises:
        InputError: there is no run, or its store is damaged.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(
            f"run folder '{place}' {'is no folder' if place.exists() else 'does not exist'}; check the path"
        )
    guard = guard_from(
        isolated=isolated,
        patience=patience,
        worker_memory=worker_memory,
        max_model_bytes=max_model_bytes,
        max_data_bytes=max_data_bytes,
        strict_links=strict_links,
        accept_changed=accept_changed,
    )
    named = Named(
        None if model is None else Path(model).absolute(),
        None if data is None else absolute(data),
        names(metrics, "metrics"),
        names(custom_op_libs, "custom_op_libs"),
        guard,
    )
    return Run(place, named)


@worded
def open_plan(path: str | Path, model: str | Path | None = None) -> Plan:
    """Open a plan that was made earlier.

    Args:
        path: of `plan.json`, or of a folder that has one.
        model: where the dense model is (default: where it was, if the run's store is beside the plan).

    Raises:
        PlanError: it is missing, or no plan.
    """
    path = Path(path)
    path = path / PLAN_FILE if path.is_dir() else path
    return Plan(read_plan(path), path.absolute(), Named(model=None if model is None else Path(model).absolute()))
