"""A model, its samples, its metrics and an engine, opened together and checked against each other.

What `scan`, `plan`, `verify` and `auto` all begin with.
"""

import json
import time
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.data import Dataset, Preprocessing, Split, open_dataset, split, with_dims
from onnxsens.engine import (
    Evaluator,
    ModelRunner,
    Provider,
    Recipe,
    SplitName,
    SuffixEvaluator,
    choose_provider,
    default_threads,
    measure_macs,
)
from onnxsens.engine.carrying import RunCarrier
from onnxsens.engine.comparing import gather, joined, refuse_unusable
from onnxsens.engine.crew import Crew
from onnxsens.engine.devices import device_of
from onnxsens.engine.input_moments import InputMoments
from onnxsens.engine.memory import default_cache_bytes
from onnxsens.engine.questions import Routes
from onnxsens.engine.runner import Outputs
from onnxsens.errors import ModelError
from onnxsens.files import sha256_of
from onnxsens.metrics import Batch, Metric, Outlook, WholeSetMetric, check, look_at, make_metric
from onnxsens.model import Inventory, Model, load_model, refuse_empty, take_inventory
from onnxsens.model.interface import feedable
from onnxsens.model.shifts import Shifts
from onnxsens.opened import RunRoutes, absolute, gives_zero_or_one, refuse_fed_weights, runtime_version
from onnxsens.options import Options
from onnxsens.scan import Nobody, Observer, Sampling, Scanner, Store
from onnxsens.techniques import Technique
from onnxsens.ways import choose_way


class Workbench:
    """Opened and checked; close it, or use it as a context.

    Args:
        goal_metrics: measured besides those in the options.
        observer: who watches.
        whole: take all samples as one, with nothing held out.
        routes: where the evaluator keeps how it runs what; the run's store, once there is one, where none is given.
        update: what the options' `auto` means here.
        lanes: batches to run side by side, as another process chose; found out without.
        moments_at: a run folder with moments of inputs, where another process keeps them.
        apart: weights that are taken for no copies of others.

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
        routes: Routes | None = None,
        update: str = "none",
        moments_at: Path | None = None,
        lanes: int | None = None,
        apart: Collection[str] = (),
    ) -> None:
        self.goal_metrics = goal_metrics
        self.routes: Routes = routes or RunRoutes()
        self._spill: Path | None = None
        self._moments_at = moments_at
        self._lanes = lanes
        self.observer: Observer = observer or Nobody()
        self.closing = ExitStack()
        self.given: dict[str, Mapping[str, AnyArray]] = {}
        wanted = list(dict.fromkeys([*goal_metrics, *options.metrics]))
        asked = [make_metric(spec) for spec in wanted]
        search = make_metric(options.search_metric) if options.search_metric else None
        self.model: Model = load_model(model_path)
        self.inventory: Inventory = take_inventory(self.model, apart)
        refuse_empty(self.model, self.inventory)
        for note in self.inventory.notes:
            self.observer.note(note)
        self.way = choose_way(options, update, self.model, self.inventory)
        self.options = options = replace(options, technique=self.way.masks.name, update=self.way.update)
        self.technique: Technique = self.way.scanned
        self.shifts = Shifts(self.model, self.inventory)
        preprocessing = Preprocessing.parse(options.scale, options.mean, options.std)
        specs = with_dims(feedable(self.model.proto.graph), options.dims)
        self.dataset: Dataset = open_dataset(options.data, specs, preprocessing, seed=options.seed)
        refuse_fed_weights(self.dataset, self.inventory)
        everything = Split(np.arange(len(self.dataset)), np.arange(0), options.seed)
        self.split: Split = (
            everything if whole or options.holdout == 0 else split(len(self.dataset), options.holdout, options.seed)
        )
        self.provider: Provider = choose_provider(options.provider)
        self.recipe = Recipe(
            self.provider.name,
            options.threads or default_threads(),
            self.dataset.run_size or min(options.batch_size, len(self.dataset)),
        )
        try:
            self.runner = ModelRunner(
                self.model,
                self.inventory,
                self.dataset,
                self.provider,
                self.recipe,
                options.custom_op_libs,
                self.observer.note,
                self.shifts.names,
            )
            self.closing.callback(self.runner.close)
            self._read_outputs(asked, search)
        except BaseException:
            self.close()
            raise

    @cached_property
    def evaluator(self) -> Evaluator:
        """What answers in this process; made when it is first asked for, so that it knows the run folder by then."""
        return SuffixEvaluator(
            self.runner,
            self.inventory,
            self.split,
            list(self.metrics.values()),
            self.binary,
            self.outlook.reading,
            routes=self.routes,
            cache_bytes=self.cache_bytes,
            spill=self._spill,
            say=self.observer.detail,
            moments=self.moments.of,
            bases=self.base,
        )

    @cached_property
    def moments(self) -> InputMoments:
        """Of the inputs of all weights; gathered when they are first asked for."""
        return InputMoments(
            self.runner,
            self.split.search,
            self.cache_bytes,
            self.options.seed,
            self._moments_at or self._spill,
            lambda: self.observer.stage("calibration", 1),
        )

    @cached_property
    def carrier(self) -> RunCarrier:
        """Carries plans out."""
        return RunCarrier(
            self.runner,
            self.moments,
            self.shifts,
            self.split.search,
            self._spill,
            self.cache_bytes,
            self.options.seed,
            self.observer.detail,
        )

    @property
    def moments_folder(self) -> Path | None:
        """The run folder, where it has moments by now that workers need."""
        if not self.technique.needs_moments:
            return None
        _ = self.moments.without
        return self._spill

    def base(self, name: str) -> Mapping[str, AnyArray]:
        """Stored tensors of a variant that was given, or carried out here."""
        return self.given[name] if name in self.given else self.carrier.values(name)

    def _read_outputs(self, asked: list[Metric], search: Metric | None) -> None:
        """Run a few samples of the dense model to see what its outputs are, and whether the metrics fit them."""
        chosen = self._telling_samples()
        started = time.perf_counter()
        parts = self.runner.fitting.fitted(lambda: self._timed_outputs(chosen))
        self.seconds_per_sample = (time.perf_counter() - started) / len(chosen)
        found = joined(parts)
        order = [spec.name for spec in self.model.outputs if spec.name in found]
        varying = [name for name in parts[0] if name not in found and all(name in part for part in parts)]
        if varying:
            shapes = sorted({part[varying[0]].shape[1:] for part in parts})
            self.observer.note(
                f"output '{varying[0]}' is left out: it is {list(shapes[0])} for some samples, {list(shapes[1])} for "
                "others, and metrics compare equal shapes"
            )
        if not order:
            raise ModelError(
                f"'{self.model.path.name}' has no output whose first axis is the batch; its samples cannot be compared"
            )
        outputs = {name: found[name] for name in order}
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

    def _timed_outputs(self, chosen: IntArray) -> list[Outputs]:
        """Batch by batch; what the first one takes says whether batches are to be run side by side."""
        batches = self.runner.run(self.runner.session({}), chosen)
        started = time.perf_counter()
        first = next(batches)
        lanes = self._lanes or self.runner.lanes_for(time.perf_counter() - started)
        found = [first, *batches]
        self.runner.run_side_by_side(min(lanes, self.recipe.threads))
        return found

    def _telling_samples(self) -> IntArray:
        """A batch, with the samples that hold the smallest and the largest label, so that every label is checked."""
        first = self.split.search[: self.options.batch_size]
        labels = self.dataset.labels
        if labels is None or labels.ndim == 0 or labels.size == 0:
            return first
        rows = labels.reshape(len(labels), -1)
        extremes = np.array([rows.min(axis=1).argmin(), rows.max(axis=1).argmax()], dtype=np.int64)
        return np.concatenate([first, np.setdiff1d(extremes, first)])

    @cached_property
    def macs(self) -> dict[str, int] | None:
        """MACs per sample of every weight; None where the model does not run unoptimised on the CPU."""
        try:
            return measure_macs(self.runner, self.split.search[:1])
        except ModelError as error:
            self.observer.note(f"MACs are unknown: {error}")
            return None

    @cached_property
    def cache_bytes(self) -> int:
        """For tensors kept inside the model."""
        given = self.options.cache_memory
        return default_cache_bytes(device_of(self.provider)) if given is None else given

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
            **self._libraries,
            **({"copies": str(len(self.inventory.copies))} if self.inventory.copies else {}),
        }

    @cached_property
    def _libraries(self) -> dict[str, str]:
        """The libraries of custom operators by what is in them; nothing where there are none."""
        digests = ",".join(sha256_of(Path(library)) for library in self.options.custom_op_libs)
        return {"custom_op_libs": digests} if digests else {}

    def open_store(self, folder: Path) -> Store:
        """The run folder's store, made by or fitting this workbench."""
        # What was decided here is kept as decided, so that `plan` does the same from elsewhere.
        decided = replace(
            self.options, data=absolute(self.options.data), provider=self.provider.name, threads=self.recipe.threads
        )
        settings = {"model": str(self.model.path.resolve()), **json.loads(json.dumps(asdict(decided)))}
        store = Store(folder, self.identity, settings, f"onnxsens {version('onnxsens')}")
        self.closing.callback(store.close)
        self._spill = folder
        # Like routes, a choice made by measuring, which a resumed run repeats.
        self.runner.run_side_by_side(store.lanes(self.runner.lanes.count))
        if isinstance(self.routes, RunRoutes):
            self.routes.store = store
        store.claim_metrics({name: metric.source_digest for name, metric in self.metrics.items()})
        return store

    def scanner(self, store: Store, technique: Technique | None = None, crew: Crew | None = None) -> Scanner:
        """Points from the store, else from the engine; of the technique in the options, or of another one.

        Args:
            crew: who measures points, if not this process.
        """
        sampling = Sampling(
            self.options.scan_samples,
            self.options.exact,
            frozenset(name for name, metric in self.metrics.items() if metric.unit == "fraction"),
            frozenset(name for name, metric in self.metrics.items() if isinstance(metric, WholeSetMetric)),
        )
        return Scanner(
            store,
            self.evaluator,
            self.inventory,
            technique or self.technique,
            list(self.metrics),
            sampling,
            self.sizes,
            self.observer,
            crew,
            self.moments.without if (technique or self.technique).needs_moments else (),
        )

    def close(self) -> None:
        """Give back sessions, temporary files and the run folder."""
        self.closing.close()

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
