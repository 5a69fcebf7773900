"""A run's model, facts, evaluator and store, wherever native code runs.

What `scan`, `plan`, `verify` and `auto` all begin with. Nothing here runs a model or code of the user's: that is a
station's business, in this process or in another.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.engine import Evaluator, SplitName
from onnxsens.engine.carrying import Carrier
from onnxsens.engine.crew import Crew
from onnxsens.errors import ModelError
from onnxsens.facts import Facts
from onnxsens.model import Model, refuse_empty
from onnxsens.model.shifts import Shifts
from onnxsens.native import Away, Here, Native
from onnxsens.opened import RunRoutes, absolute
from onnxsens.options import Options
from onnxsens.scan import Nobody, Observer, Sampling, Scanner, Store
from onnxsens.scan.identity import cpu_features
from onnxsens.station import Station
from onnxsens.techniques import Technique
from onnxsens.ways import choose_way


class Workbench:
    """Opened and checked; close it, or use it as a context.

    Args:
        goal_metrics: measured besides those in the options.
        observer: who watches.
        whole: take all samples as one, with nothing held out.
        update: what the options' `auto` means here.
        apart: weights that are taken for no copies of others.

    Attributes:
        native: who runs the model.
        facts: what was found when it was opened.

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
        update: str = "none",
        apart: Collection[str] = (),
    ) -> None:
        self.goal_metrics = goal_metrics
        self.observer: Observer = observer or Nobody()
        self.routes = RunRoutes()
        self.closing = ExitStack()
        self.folder: Path | None = None
        self.lanes = 1
        arguments: dict[str, Any] = {
            "goal_metrics": goal_metrics,
            "whole": whole,
            "update": update,
            "apart": tuple(apart),
        }
        self.native: Native
        if options.guard.in_process:
            self.native = Here(Station(model_path, options, observer=self.observer, routes=self.routes, **arguments))
        else:
            self.native = Away(Path(model_path), options, self.observer, self.routes, arguments)
        self.closing.callback(self.native.close)
        self.model, self.inventory = self.native.model, self.native.inventory
        try:
            refuse_empty(self.model, self.inventory)
            self.facts = self.native.facts()
            refuse_changed(self.model, self.facts)
        except BaseException:
            self.close()
            raise
        self.way = choose_way(options, update, self.model, self.inventory)
        self.options = replace(options, technique=self.way.masks.name, update=self.way.update)
        self.technique: Technique = self.way.scanned
        self.shifts = Shifts(self.model, self.inventory)
        self.metrics = self.facts.metrics
        self.binary = self.facts.binary
        self.search_metric = self.facts.search_metric
        self.seconds_per_sample = self.facts.seconds_per_sample

    @property
    def evaluator(self) -> Evaluator:
        """What answers questions about whole plans."""
        return self.native.evaluator

    @property
    def carrier(self) -> Carrier:
        """Carries plans out."""
        return self.native.carrier

    @cached_property
    def without_moments(self) -> Mapping[str, str]:
        """Weights whose inputs are not known, and why."""
        return self.native.without_moments()

    @cached_property
    def macs(self) -> dict[str, int] | None:
        """MACs per sample of every weight; None where the model does not run unoptimised on the CPU."""
        try:
            return self.native.macs()
        except ModelError as error:
            self.observer.note(f"MACs are unknown: {error}")
            return None

    @property
    def sizes(self) -> dict[SplitName, int]:
        """Samples in each split."""
        return {"search": self.facts.search, "holdout": self.facts.holdout}

    @property
    def identity(self) -> dict[str, str]:
        """What measurements depend on."""
        facts, reading = self.facts, self.facts.reading
        return {
            "model_sha256": facts.model_sha256,
            "data_sha256": facts.data_sha256,
            "seed": str(self.options.seed),
            "holdout": str(self.options.holdout),
            "reading": f"{reading.output}:{reading.class_axis}:{reading.kind}",
            "onnxruntime": facts.onnxruntime,
            "onnx": version("onnx"),
            "numpy": np.__version__,
            "cpu": cpu_features(),
            **{name: str(value) for name, value in facts.recipe.as_dict().items()},
            **({"custom_op_libs": facts.libraries} if facts.libraries else {}),
            **({"copies": str(len(self.inventory.copies))} if self.inventory.copies else {}),
        }

    def base(self, name: str) -> Mapping[str, AnyArray]:
        """Stored tensors of a variant that was given, or carried out."""
        return self.native.base(name)

    def open_store(self, folder: Path) -> Store:
        """The run folder's store, made by or fitting this workbench."""
        # What was decided here is kept as decided, so that `plan` does the same from elsewhere.
        decided = replace(
            self.options,
            data=absolute(self.options.data),
            provider=self.facts.provider,
            threads=self.facts.recipe.threads,
        )
        settings = {"model": str(self.model.path.resolve()), **json.loads(json.dumps(asdict(decided)))}
        del settings["guard"]
        store = Store(
            folder,
            self.identity,
            settings,
            f"onnxsens {version('onnxsens')}",
            say=self.observer.note,
            accept=self.options.guard.accept_changed,
        )
        self.closing.callback(store.close)
        self.folder = folder
        self.routes.store = store
        # Like routes, a choice made by measuring, which a resumed run repeats.
        self.lanes = store.lanes(self.facts.lanes)
        self.native.settle(folder, self.lanes)
        store.claim_metrics({name: metric.source_digest for name, metric in self.metrics.items()})
        return store

    def scanner(self, store: Store, technique: Technique | None = None, crew: Crew | None = None) -> Scanner:
        """Points from the store, else from the engine; of the technique in the options, or of another one.

        Args:
            crew: who measures points, if not the one that does all else.
        """
        sampling = Sampling(
            self.options.scan_samples,
            self.options.exact,
            frozenset(name for name, metric in self.metrics.items() if metric.unit == "fraction"),
            frozenset(name for name, metric in self.metrics.items() if metric.whole_set),
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
            crew or self.native.crew,
            self.without_moments if (technique or self.technique).needs_moments else (),
        )

    def close(self) -> None:
        """Give back processes, temporary files and the run folder."""
        self.closing.close()

    def __enter__(self) -> "Workbench":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def refuse_changed(model: Model, facts: Facts) -> None:
    """Both processes have to have seen the same file.

    Raises:
        ModelError: it was changed in between.
    """
    if facts.model_sha256 != model.sha256:
        raise ModelError(f"'{model.path}' was changed while it was opened; run the command again")
