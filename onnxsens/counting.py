"""MACs of a model on one random sample, counted in this process or in one that may be lost."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.data import Preprocessing, open_dataset, with_dims
from onnxsens.engine import Evaluator, ModelRunner, Recipe, choose_provider, default_threads, measure_macs
from onnxsens.engine.questions import Routes
from onnxsens.model import Model, load_model, take_inventory
from onnxsens.model.inlining import inline_here
from onnxsens.model.interface import feedable
from onnxsens.native import inlined_by, processes
from onnxsens.opened import limits_of
from onnxsens.options import Guard
from onnxsens.scan import Nobody


@dataclass(frozen=True)
class Counted:
    """A model, and what counts its MACs when it is called: per sample, by weight."""

    model: Model
    macs: Callable[[], dict[str, int]]


@contextmanager
def counting(path: Path, dims: Mapping[str, int], libraries: Sequence[str], guard: Guard) -> Iterator[Counted]:
    """A model whose MACs can be counted."""
    model = load_model(path, limits_of(guard))
    if guard.in_process:
        yield Counted(model, partial(macs_of, model, dims, libraries))
        return
    with processes(counter, (path, dict(dims), tuple(libraries), guard), guard, Nobody()) as crew:
        yield Counted(
            replace(model, inline=partial(inlined_by, crew)), partial(crew.call, "macs", doing="ran it to count MACs")
        )


def macs_of(model: Model, dims: Mapping[str, int], libraries: Sequence[str]) -> dict[str, int]:
    """Counted in this process.

    Raises:
        DataError: a dynamic axis has no length.
        ModelError: it does not run.
    """
    specs = with_dims(feedable(model.proto.graph), dims)
    dataset = open_dataset("random:1", specs, Preprocessing())
    cpu = choose_provider("cpu")
    recipe = Recipe(cpu.name, default_threads(), dataset.run_size or 1)
    runner = ModelRunner(model, take_inventory(model), dataset, cpu, recipe, libraries)
    try:
        runner.load()
        return measure_macs(runner, np.arange(1))
    finally:
        runner.close()


@dataclass(frozen=True)
class Counter:
    """What a process serves that counts."""

    path: Path
    dims: Mapping[str, int]
    libraries: Sequence[str]
    guard: Guard

    @property
    def evaluator(self) -> Evaluator:
        """None."""
        raise NotImplementedError

    def call(self, name: str, *arguments: Any) -> Any:
        """`macs` or `inlined`."""
        match name:
            case "macs":
                return macs_of(load_model(self.path, limits_of(self.guard)), self.dims, self.libraries)
            case "inlined":
                return inline_here(*arguments)
        raise ValueError(f"'{name}' is no call")


def counter(
    path: Path,
    dims: Mapping[str, int],
    libraries: Sequence[str],
    guard: Guard,
    *,
    routes: Routes,
    tell: Callable[[object], None],
) -> Counter:
    """What such a process serves."""
    return Counter(path, dims, libraries, guard)
