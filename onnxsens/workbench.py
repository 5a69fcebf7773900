"""A model, its samples, its metrics and an engine, opened together and checked against each other.

What `scan`, `plan`, `verify` and `auto` all begin with.
"""

import json
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnxsens.arrays import IntArray, TensorSpec
from onnxsens.data import Dataset, Preprocessing, Split, open_dataset, split
from onnxsens.engine import (
    Evaluator,
    ModelRunner,
    Provider,
    Recipe,
    ReferenceEvaluator,
    SplitName,
    choose_provider,
    default_threads,
    fixed_batch,
    measure_macs,
)
from onnxsens.engine.reference import compare, gather, refuse_unusable
from onnxsens.errors import DataError, InputError, MetricError, ModelError, UsageError
from onnxsens.metrics import Batch, Metric, Outlook, check, look_at, make_metric
from onnxsens.model import Inventory, Model, load_model, take_inventory
from onnxsens.plugins import unknown
from onnxsens.scan import Nobody, Observer, Scanner, Store
from onnxsens.techniques import Technique, make_technique

DEFAULT_BATCH = 32
DEFAULT_SCAN_SAMPLES = 2000


@dataclass(frozen=True)
class Options:
    """Everything that decides what is measured, and how.

    Attributes:
        data: spec of a data source.
        dims: lengths for dynamic axes, by name.
        metrics: asked for beside the goal's; the default one where there are none at all.
        search_metric: what tolerances are on; None lets the outputs decide.
        threads: None takes all cores.
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
    technique: str = "magnitude"
    scan_samples: int = DEFAULT_SCAN_SAMPLES

    def __post_init__(self) -> None:
        for name, value in (("batch-size", self.batch_size), ("scan-samples", self.scan_samples)):
            if value < 1:
                raise UsageError(f"--{name} {value} is not a number of samples; give 1 or more")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"--threads {self.threads} is not a number of threads; give 1 or more")
        if self.seed < 0:
            raise UsageError(f"--seed {self.seed} is negative; give 0 or more")

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Options":
        """Options of an earlier run.

        Raises:
            InputError: they were written by something else.
        """
        try:
            return cls(**dict(settings) | {"metrics": tuple(settings["metrics"])})
        except (TypeError, KeyError) as error:
            raise InputError(f"the run's settings are not ours: {error}; make a new run") from error


def with_dims(specs: tuple[TensorSpec, ...], dims: Mapping[str, int]) -> tuple[TensorSpec, ...]:
    """Dynamic axes given a length by name.

    Raises:
        UsageError: no input has such an axis, or a length is below 1.
    """
    names = sorted({dim for spec in specs for dim in spec.shape if isinstance(dim, str)})
    for name, length in dims.items():
        if name not in names:
            raise UsageError(unknown("dynamic axis", name, names))
        if length < 1:
            raise UsageError(f"--dim {name}={length} is not a length; give 1 or more")
    return tuple(
        replace(spec, shape=tuple(dims.get(dim, dim) if isinstance(dim, str) else dim for dim in spec.shape))
        for spec in specs
    )


class Workbench:
    """Opened and checked; close it, or use it as a context.

    Args:
        goal_metrics: measured besides those in the options.
        observer: who watches.
        whole: take all samples as one, with nothing held out.

    Raises:
        InputError: model, data or metrics cannot be used, alone or together.
        SetupError: the provider is not active.
    """

    def __init__(
        self,
        model_path: str | Path,
        options: Options,
        goal_metrics: tuple[str, ...] = (),
        observer: Observer | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.options = options
        self.observer: Observer = observer or Nobody()
        self._closing = ExitStack()
        self.technique: Technique = make_technique(options.technique)
        wanted = list(dict.fromkeys([*goal_metrics, *options.metrics]))
        asked = [make_metric(spec) for spec in wanted]
        search = make_metric(options.search_metric) if options.search_metric else None
        self.model: Model = load_model(model_path)
        self.inventory: Inventory = take_inventory(self.model)
        preprocessing = Preprocessing.parse(options.scale, options.mean, options.std)
        specs = with_dims(self.model.inputs, options.dims)
        self.dataset: Dataset = open_dataset(options.data, specs, preprocessing, seed=options.seed)
        everything = Split(np.arange(len(self.dataset)), np.arange(0), options.seed)
        self.split: Split = (
            everything if whole or options.holdout == 0 else split(len(self.dataset), options.holdout, options.seed)
        )
        self.provider: Provider = choose_provider(options.provider)
        self.recipe = Recipe(
            self.provider.name,
            options.threads or default_threads(),
            fixed_batch(self.model) or min(options.batch_size, len(self.dataset)),
        )
        try:
            self._runner = ModelRunner(
                self.model, {weight.name for weight in self.inventory.weights}, self.dataset, self.provider, self.recipe
            )
            self._closing.callback(self._runner.close)
            self._read_outputs(asked, search)
        except BaseException:
            self.close()
            raise
        self.evaluator: Evaluator = ReferenceEvaluator(
            self._runner,
            self.inventory,
            self.split,
            list(self.metrics.values()),
            self.binary,
            self.outlook.reading,
        )

    def _read_outputs(self, asked: list[Metric], search: Metric | None) -> None:
        """Run a few samples of the dense model to see what its outputs are, and whether the metrics fit them."""
        chosen = self._telling_samples()
        started = time.perf_counter()
        parts = list(self._runner.outputs({}, chosen))
        self.seconds_per_sample = (time.perf_counter() - started) / len(chosen)
        if not parts[0]:
            raise ModelError(
                f"'{self.model.path.name}' has no output whose first axis is the batch; its samples cannot be compared"
            )
        order = [spec.name for spec in self.model.outputs if spec.name in parts[0]]
        outputs = {name: np.concatenate([part[name] for part in parts]) for name in order}
        labels = self.dataset.labels_at(chosen)
        classes = [*asked, *([search] if search else [])]
        self.outlook: Outlook = look_at(outputs, labels, classes, self.options.output, self.options.class_axis)
        if not asked:
            asked = [make_metric(self.outlook.metric)]
            self.observer.note(f"metric: {self.outlook.metric} ({self.outlook.why})")
        elif self.options.output is None and len(outputs) > 1:
            self.observer.note(f"metrics read output '{self.outlook.reading.output}'; choose another with --output")
        search = search or make_metric(self.outlook.search_metric)
        self.search_metric = search.name
        batch = Batch(
            pruned=gather([outputs], self.outlook.reading), dense=outputs, labels=labels, reading=self.outlook.reading
        )
        self.metrics: dict[str, Metric] = {}
        self.binary: set[str] = set()
        for metric in [*asked, search]:
            check(metric, batch)
            self.metrics[metric.name] = resolved = metric.resolve(batch)
            refuse_unusable(resolved, batch)
            if gives_zero_or_one(resolved, batch):
                self.binary.add(metric.name)

    def _telling_samples(self) -> IntArray:
        """A batch, with the samples that hold the smallest and the largest label, so that every label is checked."""
        first = self.split.search[: self.recipe.batch_size]
        labels = self.dataset.labels
        if labels is None or labels.ndim == 0 or labels.size == 0:
            return first
        rows = labels.reshape(len(labels), -1)
        extremes = np.array([rows.min(axis=1).argmin(), rows.max(axis=1).argmax()], dtype=np.int64)
        return np.concatenate([first, np.setdiff1d(extremes, first)])

    @cached_property
    def macs(self) -> dict[str, int] | None:
        """MACs per sample of every weight; None where an intermediate tensor cannot be had."""
        try:
            return measure_macs(self.model, self.inventory, self._runner.feed(self.split.search[:1]))
        except ModelError as error:
            self.observer.note(f"MACs are unknown: {error}")
            return None

    @property
    def sizes(self) -> dict[SplitName, int]:
        """Samples in each split."""
        return {"search": len(self.split.search), "holdout": len(self.split.holdout)}

    @property
    def identity(self) -> dict[str, str]:
        """What measurements depend on."""
        reading = self.outlook.reading
        return {
            "model_sha256": self.model.sha256,
            "data_sha256": self.dataset.fingerprint(),
            "seed": str(self.options.seed),
            "holdout": str(self.options.holdout),
            "reading": f"{reading.output}:{reading.class_axis}:{reading.kind}",
            "onnxruntime": runtime_version(),
            "onnx": version("onnx"),
            "numpy": np.__version__,
            **{name: str(value) for name, value in self.recipe.as_dict().items()},
        }

    def open_store(self, folder: Path) -> Store:
        """The run folder's store, made by or fitting this workbench."""
        # What was decided here is kept as decided, so that `plan` does the same from elsewhere.
        decided = replace(
            self.options, data=absolute(self.options.data), provider=self.provider.name, threads=self.recipe.threads
        )
        settings = {"model": str(self.model.path.resolve()), **json.loads(json.dumps(asdict(decided)))}
        store = Store(folder, self.identity, settings, f"onnxsens {version('onnxsens')}")
        self._closing.callback(store.close)
        store.claim_metrics({name: metric.source_digest for name, metric in self.metrics.items()})
        return store

    def scanner(self, store: Store) -> Scanner:
        """Points from the store, else from the engine."""
        return Scanner(
            store,
            self.evaluator,
            self.inventory,
            self.technique,
            list(self.metrics),
            self.options.scan_samples,
            self.sizes,
            self.observer,
        )

    def close(self) -> None:
        """Give back sessions, temporary files and the run folder."""
        self._closing.close()

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def gives_zero_or_one(metric: Metric, batch: Batch) -> bool:
    """Whether a metric's per-sample values are 0 and 1 only; it is tried with the outputs of other samples.

    The dense model against itself would not tell: there every divergence is 0.
    """
    others = {name: np.roll(values, 1, axis=0) for name, values in batch.dense.items()}
    try:
        return compare(metric, batch, replace(batch, pruned=others), values=False, binary=True).binary
    except MetricError:
        return False


def absolute(data: str) -> str:
    """A spec of samples that also holds in another folder; code and random numbers are what they are."""
    return str(Path(data).resolve()) if Path(data).exists() else data


def runtime_version() -> str:
    """Of whichever onnxruntime wheel is installed."""
    from onnxsens.engine.runtime import runtime

    return str(runtime().__version__)


def refuse_empty_holdout(bench: Workbench) -> None:
    """A plan has to be checked on something.

    Raises:
        DataError: there is no hold-out split.
    """
    if bench.sizes["holdout"] == 0:
        raise DataError("there are no hold-out samples to check a plan on; give --holdout above 0, and more samples")
