"""A run in hand: its curves, and the plans that can be made from it."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxsens.api import plan as plan_from
from onnxsens.artefacts import PARETO_FILE, PLAN_FILE
from onnxsens.checking import check_run
from onnxsens.engine import Effect
from onnxsens.errors import UsageError
from onnxsens.gathering import gather
from onnxsens.library.arguments import Levels, Names, Size, goal_from, number, size, whole
from onnxsens.library.curves import Curve, frame_of, table_of
from onnxsens.library.keeping import Named, model_of
from onnxsens.library.planned import Plan, keep_living
from onnxsens.library.progress import Listener, observing
from onnxsens.library.words import worded
from onnxsens.reporting import report as write_report
from onnxsens.reporting import target_of
from onnxsens.results import RunRecord, RunReport, ScanResult
from onnxsens.scan.store import FILE as STORE_FILE

if TYPE_CHECKING:
    from pandas import DataFrame


class Run:
    """What was measured of a model. Made by `scan`, or opened with `open_run`. Use it from one thread at a time."""

    def __init__(self, folder: Path, named: Named, result: ScanResult | None = None) -> None:
        """Not for callers; see `open_run`.

        Raises:
            InputError: there is no run in the folder.
        """
        self._folder = folder.absolute()
        self._named = named
        self._result = result
        self._files = self._files_now()
        self._record: RunRecord | None = gather(self._folder)

    @property
    def folder(self) -> Path:
        """Of the run. A temporary one goes with the last `Run` and `Plan` that are of it."""
        return self._folder

    @property
    def model(self) -> Path | None:
        """Where the dense model is; None where nobody says so."""
        try:
            return model_of(self._named, self._folder, None)
        except UsageError:
            return None

    @property
    def record(self) -> RunRecord:
        """All that is known of the run from its files, predicted curves and the current plan among it.

        Read again where the files changed, by this run or by another one of the folder; a deleted folder is not.
        """
        now = self._files_now()
        if self._record is None or (now and now != self._files):
            self._files = now  # from before they are read: what changes meanwhile is seen next time
            self._record = gather(self._folder)
        return self._record

    def _files_now(self) -> list[tuple[str, int, int, int]]:
        """What tells a record's files from older ones, of those that are there."""
        found = []
        for name in (STORE_FILE, f"{STORE_FILE}-wal", PLAN_FILE, PARETO_FILE):
            with contextlib.suppress(OSError):
                seen = (self._folder / name).stat()
                found.append((name, seen.st_ino, seen.st_size, seen.st_mtime_ns))
        return found

    @property
    def result(self) -> ScanResult | None:
        """What `scan` asked and each search picked; None for a run that was opened."""
        return self._result

    @property
    def weights(self) -> list[str]:
        """Names of the weights that can be pruned; in graph order where there is a plan."""
        return self.record.weights

    @property
    def metrics(self) -> list[str]:
        """Names of all that was measured."""
        return list(dict.fromkeys(curve.metric for curve in self.record.curves))

    @property
    def search_metric(self) -> str | None:
        """What searches look at, and curves are of unless another metric is named."""
        return self.record.search_metric

    @property
    def dense(self) -> Mapping[str, float]:
        """Metric to its value for the dense model, on the samples of the point that has most."""
        return MappingProxyType(dict(self.record.dense))

    @property
    def effects(self) -> Mapping[str, Effect]:
        """Weight to what zeroing all of it does: `effective`, `other outputs`, `no effect` or `not executed`."""
        return MappingProxyType(dict(self.record.effects))

    @property
    def failures(self) -> Mapping[str, str]:
        """Weights with a point that could not be measured, and why."""
        return MappingProxyType(dict(self.record.failures))

    @property
    def curves(self) -> Mapping[str, Curve]:
        """Weight to its curve of the search metric; weights without a measured point are not in it.

        It is empty where nothing was measured by that metric, as in a run that was made in steps.
        """
        return self.curves_of()

    def curves_of(self, metric: str | None = None) -> Mapping[str, Curve]:
        """The same of any metric.

        Args:
            metric: one of `metrics` (default: the search metric).

        Raises:
            UsageError: a metric was named, and was not measured.
        """
        record = self.record
        if metric is None:
            metric = record.search_metric
        elif metric not in self.metrics:
            raise UsageError(f"metric '{metric}' was not measured; there are {', '.join(self.metrics) or 'none'}")
        own = {
            each.weight: each for each in record.curves if (each.technique, each.metric) == (record.technique, metric)
        }
        return MappingProxyType({name: Curve.of(own[name]) for name in record.weights if name in own})

    def to_numpy(self, metric: str | None = None) -> NDArray[np.void]:
        """A structured array, one row a measured point, by weight and then sparsity.

        Fields: `weight` (text), `sparsity` (in [0, 1]), `drop`, `low`, `high` (in the metric's unit), `samples`. Points
        of different weights are seldom at the same sparsity, since each weight has its own number of elements.

        Args:
            metric: one of `metrics` (default: the search metric).
        """
        return table_of(self.curves_of(metric))

    @worded
    def to_pandas(self, metric: str | None = None) -> "DataFrame":
        """The same as a `pandas.DataFrame`.

        Args:
            metric: one of `metrics` (default: the search metric).

        Raises:
            MissingPackageError: pandas is not installed.
        """
        return frame_of(self.curves_of(metric))

    @worded
    def plan(
        self,
        *,
        max_drop: Levels | None = None,
        sparsity: float | None = None,
        size: Size | None = None,
        macs: float | None = None,
        target: str | None = None,
        minimum: Levels | None = None,
        maximum: Levels | None = None,
        pin: Levels | None = None,
        freeze: Names = (),
        skip: Names = (),
        pickers: Names = (),
        confidence: float | None = 0.95,
        pareto: bool = False,
        checkpoint: str | Path | None = None,
        technique: str | None = None,
        update: str | None = None,
        step: float = 0.05,
        resolution: float = 0.01,
        exact: bool = False,
        jobs: int | None = None,
        cache_memory: Size | None = None,
        force: bool = False,
        progress: bool | Listener | None = None,
    ) -> Plan:
        """Choose a sparsity for every weight, check the choice as a whole, and write `plan.json` into the folder.

        Model, samples and settings are those of the run; what the goal still asks for is measured. At most one goal is
        given; without one, the knee between sparsity and loss is taken. A plan that fails its check is returned all
        the same: see `Plan.verified`.

        Args:
            max_drop: metric to the largest drop allowed, absolute, in the metric's unit: `{"accuracy": 0.01}`
                (default None).
            sparsity: share of zeros wanted over all prunable weights, in (0, 1) (default None).
            size: what the weights may take, compressed by zlib: bytes, or `"2MB"` (default None).
            macs: MACs that may be left: a share up to 1, else a number (default None).
            target: what the model is for; `onnxsens targets` lists them (default None).
            minimum: pattern of names to the least sparsity, in [0, 1]: `{"conv*": 0.5}` (default None).
            maximum: pattern to the most (default None).
            pin: pattern to the only one (default None).
            freeze: patterns of weights that keep every bit (default none).
            skip: `"first"`, `"last"`, an operator, or `"<N"` for fewer elements than N (default none).
            pickers: that choose a plan beside the usual ones, by name: `"greedy"`, or a plug-in\'s (default none).
            confidence: that a verified limit holds, in [0.5, 1) (default 0.95); None takes the point estimate.
            pareto: measure the whole front too, and leave it in `pareto.json` (default False).
            checkpoint: file of the source framework's parameters; leaves masks and values under their names
                (default None).
            technique: which elements go, as of `scan` (default: that of the run, as on the command line).
            update: what is done to the others, as of `scan` (default: that of the run; `scan` measures with `none`
                unless told otherwise, and `"reconstruct"` loses far less).
            step: Top-Down's steps, in sparsity (default 0.05).
            resolution: how finely levels are looked for, in sparsity (default 0.01).
            exact: all samples for everything, and no predictions (default False).
            jobs: processes that share the work (default None: what is faster).
            cache_memory: for tensors kept inside the model: bytes, or `"500MB"` (default None: a quarter of what is
                free).
            force: overwrite a plan in the folder that this run did not write (default False).
            progress: as of `scan` (default None).

        Raises:
            GoalError: the goal cannot be met, or not be decided with these samples.
            UsageError: goals exclude each other, or the run is on code that was not named again; see `open_run`.
            StorageError: the folder cannot be written, or has a plan of somebody else.
        """
        goal = goal_from(
            max_drop=max_drop,
            sparsity=sparsity,
            size_limit=size,
            macs=macs,
            target=target,
            minimum=minimum,
            maximum=maximum,
            pin=pin,
            freeze=freeze,
            skip=skip,
            pickers=pickers,
            confidence=confidence,
        )
        path, options = self._named.options(self._folder, tuple(goal.max_drop))
        options = replace(
            options,
            technique=options.technique if technique is None else technique,
            update=options.update if update is None else update,
            exact=bool(exact) or options.exact,
            jobs=None if jobs is None else whole(jobs, "jobs"),
            cache_memory=None if cache_memory is None else bytes_of(cache_memory),
        )
        keep_living(self._folder)
        try:
            with observing(progress) as observer:
                made = plan_from(
                    path,
                    options,
                    self._folder,
                    goal,
                    observer,
                    step=number(step, "step"),
                    resolution=number(resolution, "resolution"),
                    force=force,
                    pareto=pareto,
                    checkpoint=None if checkpoint is None else Path(checkpoint),
                )
        finally:
            self._record = None  # also of a plan that failed: points were measured for it
        return Plan(made, self._folder / PLAN_FILE, self._named, goal.max_drop or None)

    @worded
    def report(
        self,
        path: str | Path | None = None,
        *,
        format: str | None = None,  # noqa: A002 - the command line's word
        force: bool = False,
    ) -> Path:
        """Write the run as one file: a page for a browser, or another format.

        Args:
            path: the file (default: `report.html`, or with the suffix of `format`, in the run folder).
            format: `html`, `md`, `csv`, `json`, `png` or `svg` (default: that of the suffix of `path`, or `html`).
            force: overwrite what is there (default False); an older page of ours is overwritten in any case.

        Returns:
            Where it is.
        Raises:
            UsageError: there is no such format.
            MissingPackageError: the format needs a package that is not installed.
            StorageError: it exists, or cannot be written.
        """
        out, _ = target_of(self._folder, path, format)
        write_report(self._folder, out, force=force, format=format)
        return out

    @worded
    def check(self) -> RunReport:
        """Look whether everything in the folder is as it was left and belongs together; nothing is changed or run.

        Returns:
            `sound` says whether it is, `bad` has what is not.
        """
        return check_run(self._folder, self._named.model, guard=self._named.guard)

    def __fspath__(self) -> str:
        """Its folder, so that whatever takes a run folder takes a run."""
        return str(self._folder)

    def __repr__(self) -> str:
        from onnxsens.library.notebook import run_text

        return run_text(self.record)

    def _repr_html_(self) -> str:
        from onnxsens.library.notebook import run_html

        return run_html(self.record)


def bytes_of(value: Size) -> int:
    """Of `cache_memory`; a name of its own beside the parameter `size`."""
    return size(value, "cache_memory")
