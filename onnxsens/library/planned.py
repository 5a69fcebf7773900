"""A plan in hand: what it says, and what can be done with it."""

import contextlib
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from onnxsens.api import apply as carry_out
from onnxsens.api import verify as run_beside
from onnxsens.arrays import BoolArray
from onnxsens.artefacts import PLAN_FILE
from onnxsens.errors import PlanError, UsageError
from onnxsens.files import TemporaryFolder, linked_or_copied, same_place, sha256_of
from onnxsens.frameworks.exporters import Mode
from onnxsens.frameworks.exporting import MAP_FILE, Exported
from onnxsens.handover import export as hand_over
from onnxsens.library.arguments import Levels, number, pairs
from onnxsens.library.curves import pandas
from onnxsens.library.keeping import Named, model_of
from onnxsens.library.progress import Listener, observing
from onnxsens.library.samples import Data, spec_for_now
from onnxsens.library.words import worded
from onnxsens.model import take_inventory
from onnxsens.native import model_at
from onnxsens.options import Options
from onnxsens.plan import planned_weights
from onnxsens.plan.planfile import Plan as PlanRecord
from onnxsens.plan.planfile import Quality, size_of
from onnxsens.results import Applied, Verification
from onnxsens.scan.store import FILE as STORE_FILE

if TYPE_CHECKING:
    from pandas import DataFrame

    from onnxsens.library.run import Run


class Plan:
    """A sparsity for every weight, with the evidence. Made by `Run.plan` and `auto`, or opened with `open_plan`.

    It is that of its file: where another plan takes the file's place from this process, this one keeps a copy of what
    it needs, and where it does so from elsewhere, this one refuses to go on. Use it from one thread at a time.
    """

    def __init__(self, record: PlanRecord, path: Path, named: Named, limits: Mapping[str, float] | None = None) -> None:
        """Not for callers; see `open_plan`.

        Args:
            limits: that it was made for, with code as the caller named it; None where the file has to say.
        """
        self._record = record
        self._path = path
        self._named = named
        self._limits = limits
        self._digest = sha256_of(path)
        self._kept: TemporaryFolder | None = None
        _living.add(self)

    @property
    def record(self) -> PlanRecord:
        """All that the file says: objective, totals, quality, choice, weights, what was skipped."""
        return self._record

    @property
    def path(self) -> Path:
        """Of `plan.json`."""
        return self._path

    @property
    def model(self) -> Path | None:
        """Where the dense model is; None where nobody says so."""
        with contextlib.suppress(UsageError):
            return model_of(self._named, self._path.parent, None)
        return None

    @property
    def levels(self) -> dict[str, float]:
        """Weight to its sparsity, in [0, 1], in graph order."""
        return {weight.name: weight.sparsity for weight in self._record.weights}

    @property
    def sparsity(self) -> float:
        """Zeros over elements of all planned weights, in [0, 1]."""
        return self._record.totals.sparsity

    @property
    def quality(self) -> Quality:
        """The check on the hold-out samples: dense, pruned, drop and its interval by metric."""
        return self._record.quality

    @property
    def verified(self) -> bool | None:
        """Whether the limits hold on the hold-out samples, at the confidence asked for; None without a limit."""
        return self._record.quality.verified

    @property
    def run(self) -> "Run | None":
        """The run it is of; None where there is no store beside it."""
        from onnxsens.library.run import Run

        folder = self._path.parent
        return Run(folder, self._named) if (folder / STORE_FILE).exists() else None

    @worded
    def apply(
        self, out: str | Path, *, model: str | Path | None = None, by_name: bool = False, force: bool = False
    ) -> Applied:
        """Write the model with the plan's zeros and values; nothing else in it changes.

        Args:
            out: the pruned model.
            model: the dense one, where it moved (default: where it was).
            by_name: accept another model with the same weights by name and shape (default False); only for plans
                that update nothing.
            force: overwrite `out` (default False).

        Returns:
            What was written: `path`, `changed`, `zeros`, `parameters`.
        Raises:
            PlanError: the plan is for another model, or its file was overwritten.
            StorageError: `out` exists, or cannot be written.
        """
        path = self.intact()
        dense = model_of(self._named, self._path.parent, model)
        return carry_out(dense, path, Path(out), by_name=by_name, force=force, guard=self._named.guard)

    @worded
    def verify(
        self,
        data: Data | None = None,
        max_drop: Levels | None = None,
        *,
        confidence: float | None = 0.95,
        model: str | Path | None = None,
        progress: bool | Listener | None = None,
    ) -> Verification:
        """Run the plan beside the dense model. For other settings than the run's see `onnxsens.verify`.

        Args:
            data: samples, as of `scan`; prepared as those of the run were. None (default) takes those of the run, of
                which only the hold-out ones are used.
            max_drop: metric to the largest drop, absolute (default: what the plan was made for).
            confidence: that a limit holds (default 0.95); None takes the point estimate.
            model: the dense model, where it moved (default: where it was).
            progress: as of `scan` (default None).

        Returns:
            `holds` says whether every limit is kept, `verdicts` has the drops.
        Raises:
            UsageError: there is no limit, or there are no samples.
        """
        path, folder = self.intact(), self._path.parent
        limits = self._limits if max_drop is None else pairs(max_drop, "max_drop", "{'accuracy': 0.01}")
        sure = None if confidence is None else number(confidence, "confidence")
        with contextlib.ExitStack() as stack:
            spec = None if data is None else stack.enter_context(spec_for_now(data))
            if (folder / STORE_FILE).exists():
                named = self._named if spec is None else replace(self._named, data=spec)
                options = named.options_for_others(folder)
            elif spec is None:
                raise UsageError("there is no run beside the plan, so it has no samples of its own; give data")
            else:
                options = Options(spec, guard=self._named.guard)
            observer = stack.enter_context(observing(progress))
            dense = model_of(self._named, folder, model)
            return run_beside(dense, path, options, limits or None, sure, observer)

    @worded
    def export(
        self,
        to: str,
        out: str | Path | None = None,
        *,
        map: str | Path | None = None,  # noqa: A002 - the command line's word
        mode: Mode | None = None,
        packed: bool = False,
        accept_guesses: bool = False,
        force: bool = False,
        model: str | Path | None = None,
    ) -> Exported:
        """Write the plan in the format of another tool, under the names of the framework that the model came from.

        Args:
            to: a format, such as `torch`, `keras`, `jax`, `masks` or `json`.
            out: a folder (default: that of the plan).
            map: `map.json` of `map_model` (default: the one beside the plan; without, the ONNX file's own names).
            mode: `mask` hands over which elements are zero, `ratio` how many (default: `mask` where the format can).
            packed: masks a bit an element instead of a byte (default False).
            accept_guesses: also weights whose parameter is a guess (default False).
            force: overwrite files (default False).
            model: the dense model, where it moved (default: where it was).

        Raises:
            PlanError: nothing can be carried over, or plan, model and map do not belong together.
            StorageError: a file exists, or cannot be written.
        """
        path = self.intact()
        return hand_over(
            path,
            model_of(self._named, self._path.parent, model),
            map,
            to,
            self._path.parent if out is None else Path(out),
            mode=mode,
            packed=packed,
            accept_guesses=accept_guesses,
            force=force,
            guard=self._named.guard,
        )

    @worded
    def masks(self, *, model: str | Path | None = None) -> dict[str, BoolArray]:
        """Weight to its mask, in the shape that it has in the ONNX file: True where it is not zero.

        Zeros that the dense weight has already are zero here too, so that a mask has as many as the plan says.

        Args:
            model: the dense model, where it moved (default: where it was).

        Raises:
            UsageError: the plan's levels are no sparsities.
        """
        record = self._record
        if record.level_kind != "sparsity":
            raise UsageError(f"the plan's levels are {record.level_kind}, and masks are of zeros; plan sparsities")
        folder = self.intact().parent
        with model_at(model_of(self._named, self._path.parent, model), self._named.guard) as opened:
            inventory = take_inventory(opened, apart=[weight.name for weight in record.weights])
            changed = planned_weights(record, folder, opened, inventory, by_name=False)
            found = {}
            for weight in record.weights:
                stored = changed[weight.name] if weight.name in changed else opened.array(weight.name)
                found[weight.name] = inventory.weight(weight.name).coding.decode(stored) != 0
            return found

    @worded
    def to_pandas(self) -> "DataFrame":
        """One row a weight, in graph order, under its name: operator, shape, elements, level, zeros, MACs, ...

        Raises:
            MissingPackageError: pandas is not installed.
        """
        rows = self._record.weights
        columns: dict[str, list[Any]] = {
            "op": [weight.op for weight in rows],
            "shape": [tuple(weight.shape) for weight in rows],
            "parameters": [size_of(weight) for weight in rows],
            "level": [weight.level for weight in rows],
            "sparsity": [weight.sparsity for weight in rows],
            "zeros": [weight.zeros for weight in rows],
            "macs": [weight.macs for weight in rows],
            "effect": [weight.effect for weight in rows],
            "limited": [weight.limited for weight in rows],
            "failure": [weight.failure for weight in rows],
        }
        package = pandas()
        frame: DataFrame = package.DataFrame(columns, index=package.Index(list(self.levels), name="weight"))
        return frame

    def __fspath__(self) -> str:
        """The file that has it, so that whatever takes a plan file takes a plan; see `intact`.

        Raises:
            PlanError: it was overwritten, or is gone.
        """
        return str(self.intact())

    def __copy__(self) -> Self:
        return self  # nothing in it changes

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        _living.add(self)

    def __repr__(self) -> str:
        from onnxsens.library.notebook import plan_text

        return plan_text(self._record)

    def _repr_html_(self) -> str:
        from onnxsens.library.notebook import plan_html

        return plan_html(self._record)

    def intact(self) -> Path:
        """Where the plan's file is as it was, with what was beside it.

        Raises:
            PlanError: they were overwritten, or are gone.
        """
        if self._kept is not None:
            return self._kept.path / PLAN_FILE
        if not self._path.exists():
            raise PlanError(f"'{self._path}' is gone, and this plan with it; make it again")
        if not self._is_as_read():
            raise PlanError(f"'{self._path}' was written again since this plan was made or opened; open it anew")
        return self._path

    def _is_as_read(self) -> bool:
        try:
            return sha256_of(self._path) == self._digest
        except OSError:
            return False

    def keep(self) -> None:
        """Have a copy of all that is needed, since the files are about to be written anew."""
        if self._kept is not None or not self._is_as_read():
            return
        kept = TemporaryFolder()
        changes = self._record.changes
        beside = [changes.file] if changes and Path(changes.file).name == changes.file else []
        for name, kept_as in ((self._path.name, PLAN_FILE), *((each, each) for each in (*beside, MAP_FILE))):
            source = self._path.parent / name
            if source.is_file():
                linked_or_copied(source, kept.path / kept_as)
        self._kept = kept


_living: "weakref.WeakSet[Plan]" = weakref.WeakSet()


def keep_living(folder: Path) -> None:
    """Let the plans of a folder keep what they need: another one is about to take its place there."""
    for plan in list(_living):
        if same_place(plan.path.parent, folder):
            plan.keep()
