"""A model, its samples, its metrics and an engine, opened together and checked against each other.

All native code and all code of the user's runs here, so it can be had in a process that may die. What comes out are
small records; tensors leave it as files.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.data import Dataset, Preprocessing, Split, open_dataset, split, with_dims
from onnxsens.engine import (
    Evaluator,
    ModelRunner,
    Provider,
    Recipe,
    SuffixEvaluator,
    choose_provider,
    default_threads,
    measure_macs,
)
from onnxsens.engine.calibration import Sampling
from onnxsens.engine.carrying import RunCarrier
from onnxsens.engine.comparing import gather, refuse_unusable
from onnxsens.engine.devices import device_of
from onnxsens.engine.input_moments import InputMoments
from onnxsens.engine.memory import CACHE_SHARE, default_cache_bytes
from onnxsens.engine.prediction import Prediction, Unpredicted, predict, predict_from
from onnxsens.engine.questions import Routes
from onnxsens.engine.serving import Doing
from onnxsens.engine.sharing import Sharing, choose_workers
from onnxsens.engine.tensor_file import names_in, read_tensors
from onnxsens.facts import Facts, refuse_changed
from onnxsens.files import sha256_of
from onnxsens.firsts import FirstRun, comparable, first_run, telling_samples
from onnxsens.metrics import Batch, Metric, Outlook, check, declared, look_at, make_metric
from onnxsens.model import Inventory, Model, load_model, refuse_empty, take_inventory
from onnxsens.model.features import input_sources
from onnxsens.model.inlining import inline_here
from onnxsens.model.interface import feedable
from onnxsens.model.shifts import Shifts
from onnxsens.opened import RunRoutes, gives_zero_or_one, limits_of, refuse_fed_weights, runtime_version, size_of
from onnxsens.options import Options
from onnxsens.scan import Nobody, Observer
from onnxsens.techniques import Technique, make_technique
from onnxsens.ways import choose_way

# What opening may well take, to tell slow from stuck.
READ_A_SECOND = 2e8  # bytes
NODE_SECONDS = 2e-4
PARAMETERS_A_SECOND = 1e8  # of one sample, at the least
SAMPLES_SECONDS = 30.0

CALIBRATION_SAMPLES = 256
CALIBRATION_ROWS = 512


class Station:
    """Opened and checked; close it, or use it as a context.

    Args:
        goal_metrics: measured besides those in the options.
        observer: who watches.
        whole: take all samples as one, with nothing held out.
        routes: where the evaluator keeps how it runs what.
        update: what the options' `auto` means here.
        apart: weights that are taken for no copies of others.
        begin: told what is begun next.

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
        apart: Collection[str] = (),
        begin: Callable[[Doing], None] = lambda doing: None,
    ) -> None:
        self.routes: Routes = routes or RunRoutes()
        self._folder: Path | None = None
        self._begin = begin
        self.observer: Observer = observer or Nobody()
        self.closing = ExitStack()
        self.given: dict[str, Mapping[str, AnyArray]] = {}
        wanted = list(dict.fromkeys([*goal_metrics, *options.metrics]))
        begin(Doing("read the metrics"))
        asked = [make_metric(spec) for spec in wanted]
        search = make_metric(options.search_metric) if options.search_metric else None
        begin(Doing("opened the model", size_of(model_path) / READ_A_SECOND))
        self.model: Model = load_model(model_path, limits_of(options.guard))
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
        begin(Doing("opened the samples", SAMPLES_SECONDS))
        self.dataset: Dataset = open_dataset(
            options.data,
            specs,
            preprocessing,
            seed=options.seed,
            max_data_bytes=options.guard.max_data_bytes,
        )
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
            chosen = telling_samples(self.dataset, self.split, options.batch_size)
            parameters = sum(weight.size for weight in self.inventory.weights) * len(chosen)
            nodes = len(self.model.proto.graph.node)
            begin(Doing("ran the first samples", nodes * NODE_SECONDS + parameters / PARAMETERS_A_SECOND))
            run = first_run(self.runner, chosen)
            self.seconds_per_sample = run.seconds / len(chosen)
            self._read(run, self.dataset.labels_at(chosen), asked, search)
        except BaseException:
            self.close()
            raise

    def _read(self, run: FirstRun, labels: AnyArray | None, asked: list[Metric], search: Metric | None) -> None:
        """See what the outputs are, and whether the metrics fit them."""
        say = self.observer.note
        outputs = comparable(run.parts, self.model, say)
        classes = [*asked, *([search] if search else [])]
        self.outlook: Outlook = look_at(outputs, labels, classes, self.options.output, self.options.class_axis)
        if not asked:
            asked = [make_metric(self.outlook.metric)]
            say(f"metric: {self.outlook.metric} ({self.outlook.why})")
        elif self.options.output is None and len(outputs) > 1:
            say(f"metrics read output '{self.outlook.reading.output}'; choose another with --output")
        search = search or make_metric(self.outlook.search_metric)
        self.search_metric = search.name
        batch = Batch(
            pruned=gather([outputs], self.outlook.reading), dense=outputs, labels=labels, reading=self.outlook.reading
        )
        self.metrics: dict[str, Metric] = {}
        self.binary: set[str] = set()
        for metric in [*asked, search]:
            self._begin(Doing(f"tried metric '{metric.name}'"))
            check(metric, batch)
            self.metrics[metric.name] = resolved = metric.resolve(batch)
            refuse_unusable(resolved, batch)
            if gives_zero_or_one(resolved, batch):
                self.binary.add(metric.name)

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
            spill=self._folder,
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
            self._folder,
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
            self._folder,
            self.cache_bytes,
            self.options.seed,
            self.observer.detail,
        )

    def base(self, name: str) -> Mapping[str, AnyArray]:
        """Stored tensors of a variant that was given, or carried out here."""
        return self.given[name] if name in self.given else self.carrier.values(name)

    def macs(self) -> dict[str, int]:
        """MACs per sample of every weight.

        Raises:
            ModelError: the model does not run unoptimised on the CPU.
        """
        return measure_macs(self.runner, self.split.search[:1])

    @cached_property
    def cache_bytes(self) -> int:
        """For tensors kept inside the model."""
        given, most = self.options.cache_memory, self.options.guard.worker_memory
        if given is not None:
            return given
        free = default_cache_bytes(device_of(self.provider))
        return free if most is None else min(free, most // CACHE_SHARE)

    def facts(self) -> Facts:
        """What there is to know of all this without running any more."""
        digests = ",".join(sha256_of(Path(library)) for library in self.options.custom_op_libs)
        return Facts(
            model_sha256=self.model.sha256,
            data_sha256=self.dataset.fingerprint(),
            samples=len(self.dataset),
            search=len(self.split.search),
            holdout=len(self.split.holdout),
            provider=self.provider.name,
            recipe=self.recipe,
            reading=self.outlook.reading,
            metrics={name: declared(metric) for name, metric in self.metrics.items()},
            binary=frozenset(self.binary),
            search_metric=self.search_metric,
            seconds_per_sample=self.seconds_per_sample,
            lanes=self.runner.lanes.count,
            cache_bytes=self.cache_bytes,
            onnxruntime=runtime_version(),
            libraries=digests,
        )

    def refuse_other(self, first: Mapping[str, str]) -> None:
        """Whoever opens the same files later has to find the same in them; see `Facts.digests`."""
        refuse_changed(first, self.facts().digests)

    def settle(self, folder: Path, lanes: int) -> None:
        """There is a run folder now, and this many batches are run side by side in that run."""
        self._folder = folder
        self.runner.run_side_by_side(lanes)

    def inlined(self, model: bytes) -> bytes:
        """Another model, or the same, without its functions; see `inline_here`."""
        return inline_here(model)

    def give(self, name: str, at: Path) -> None:
        """A variant, by the stored tensors that it has other values of, in a file."""
        self.given[name] = read_tensors(at, {each: self.model.array(each) for each in names_in(at)})

    def fit(self, most: int) -> None:
        """Run no more samples at once, where that is for us to say: a process was killed for what it took."""
        if self.dataset.run_size is None:
            self.runner.fitting.most = min(self.runner.fitting.most, most)

    def sharing(self, work_seconds: float) -> Sharing:
        """Whether several processes are faster; see `choose_workers`."""
        return choose_workers(self.runner, self.recipe.threads, work_seconds)

    def without_moments(self) -> dict[str, str]:
        """Weights whose inputs are not known, and why; gathers moments where there are none."""
        return dict(self.moments.without)

    def predictions(self, technique: str, levels: Sequence[float]) -> list[Prediction | Unpredicted]:
        """Of every weight; from the moments that the technique needs in any case, or from a smaller pass."""
        made = make_technique(technique)
        if made.needs_moments:
            grams = ((weight.name, self.moments.gram(weight.name)) for weight in self.inventory.weights)
            return list(predict_from(self.runner, grams, made, levels))
        self.observer.stage("calibration", 1)
        sampling = Sampling(CALIBRATION_ROWS, self.cache_bytes, self.options.seed)
        indices = self.split.search[:CALIBRATION_SAMPLES]
        sources = input_sources(self.model, self.inventory)
        return list(predict(self.runner, sources, made, levels, indices, sampling))

    CALLS: ClassVar[frozenset[str]] = frozenset(
        {
            "carry",
            "compressed",
            "facts",
            "fit",
            "give",
            "inlined",
            "macs",
            "predictions",
            "refuse_other",
            "settle",
            "sharing",
            "without_moments",
        }
    )

    def call(self, name: str, *arguments: Any) -> Any:
        """One of `CALLS`, by its name.

        Raises:
            ValueError: there is no such call.
        """
        if name not in self.CALLS:
            raise ValueError(f"'{name}' is no call")
        owner = self.carrier if name in ("carry", "compressed") else self
        return getattr(owner, name)(*arguments)

    def close(self) -> None:
        """Give back sessions, temporary files and the run folder."""
        self.closing.close()

    def __enter__(self) -> "Station":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
