"""Everything that decides what a run measures, and how: one record, kept in the run's store."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from onnxsens.errors import InputError, UsageError

DEFAULT_BATCH = 32
LEAST_MEMORY = 256 * 2**20  # bytes, with which a process can import what it needs
DEFAULT_SCAN_SAMPLES = 2000


@dataclass(frozen=True)
class Guard:
    """How what is opened is kept from doing harm. Decides nothing that is measured.

    Attributes:
        in_process: run native code and the user's own in this process, which may then die of it; the command line
            runs them in others.
        patience: seconds in which an evaluation must come to an end, or 20 times what it usually takes.
        worker_memory: bytes of its own that a process may have; None takes nearly all that is free.
        max_model_bytes: of a model file and what it says to lie in data files; None is the reader's own limit.
        strict_links: refuse data files that are links, or have several names.
        max_data_bytes: of samples, as they are once they are unpacked; None is the reader's own limit.
        accept_changed: names of fields, such as `onnxruntime`, in which a run folder may have been made with another
            value.
    """

    in_process: bool = True
    patience: float = 60.0
    worker_memory: int | None = None
    max_model_bytes: int | None = None
    strict_links: bool = False
    max_data_bytes: int | None = None
    accept_changed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.patience > 0:
            raise UsageError(f"--patience {self.patience:g} is no time; give a number of seconds above 0")
        if self.worker_memory is not None and not LEAST_MEMORY <= self.worker_memory < 2**60:
            raise UsageError(
                f"--worker-memory {self.worker_memory} is no memory for a process; give {LEAST_MEMORY} bytes or more"
            )
        for name in ("worker_memory", "max_model_bytes", "max_data_bytes"):
            if getattr(self, name) == 0:
                raise UsageError(f"--{name.replace('_', '-')} 0 allows nothing; give a number of bytes above 0")


@dataclass(frozen=True)
class Options:
    """Everything that decides what is measured, and how.

    Attributes:
        data: spec of a data source.
        dims: lengths for dynamic axes, by name, or by `INPUT:AXIS` where they have none.
        metrics: asked for beside the goal's; the default one where there are none at all.
        search_metric: what tolerances are on; None lets the outputs decide.
        threads: of all processes together; None takes all cores.
        technique: spec; `auto` is `obs` where kept elements are updated, and `magnitude` where they are not.
        update: of the elements that are kept; `auto` is `reconstruct` for a plan, and `none` for a scan.
        exact: all samples for every measurement, also where fewer decide, and no prediction of where to look.
        jobs: processes that measure points; None lets a few runs decide.
        cache_memory: bytes for tensors kept inside the model, in all processes together; None takes a quarter of what
            is free.
        custom_op_libs: libraries of custom operators that sessions need. Native code: never taken from a store.
        guard: what is done to survive it all; never taken from a store either.
    """

    data: str
    scale: float | None = None
    mean: str | None = None
    std: str | None = None
    dims: Mapping[str, int] = field(default_factory=dict)
    holdout: float = 0.5
    seed: int = 0
    metrics: tuple[str, ...] = ()
    search_metric: str | None = None
    output: str | None = None
    class_axis: int | None = None
    provider: str = "auto"
    batch_size: int = DEFAULT_BATCH
    threads: int | None = None
    technique: str = "auto"
    update: str = "auto"
    scan_samples: int = DEFAULT_SCAN_SAMPLES
    custom_op_libs: tuple[str, ...] = ()
    exact: bool = False
    jobs: int | None = None
    cache_memory: int | None = None
    guard: Guard = field(default=Guard(), compare=False)

    def __post_init__(self) -> None:
        for name, value in (("batch-size", self.batch_size), ("scan-samples", self.scan_samples)):
            if value < 1:
                raise UsageError(f"--{name} {value} is not a number of samples; give 1 or more")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads} is not a number of threads; give 1 or more")
        if self.jobs is not None and self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs} is not a number of processes; give 1 or more")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative; give 0 or more")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Options":
        """Options of an earlier run.

        Raises:
            InputError: they were written by something else.
        """
        unknown = sorted(settings.keys() - {each.name for each in fields(cls) if each.name != "guard"})
        if unknown:
            raise InputError(f"the run's settings are not ours: there is '{unknown[0]}' among them; make a new run")
        try:
            return msgspec.convert(dict(settings), type=cls)
        except (msgspec.ValidationError, TypeError) as error:
            raise InputError(f"the run's settings are not ours: {error}; make a new run") from error
