"""Second moments of the inputs of all weights in the dense model: gathered in one pass, then kept in the run folder.

What is kept there serves a resumed run and every worker.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine.calibration import Sampling, calibrate
from onnxsens.engine.grams import Gram
from onnxsens.engine.runner import ModelRunner
from onnxsens.files import storage_errors
from onnxsens.model.features import Source, input_sources
from onnxsens.techniques.moments import Moments

SAMPLES = 512
ROWS = 4096
INDEX = "index.json"
SQUARES = 6  # arrays `[groups, in, in]` in float64 that a fit holds at once


class InputMoments:
    """By weight, or why there are none. Gathered when first asked for.

    Args:
        indices: samples of the data set to gather on; the first of them are taken.
        memory: bytes for tensors of one batch and moments of the weights of one pass.
        folder: where they are kept; in memory without one.
        gathering: told when the pass begins.
    """

    def __init__(
        self,
        runner: ModelRunner,
        indices: IntArray,
        memory: int,
        seed: int,
        folder: Path | None,
        gathering: Callable[[], None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._indices = indices[:SAMPLES]
        self._sampling = Sampling(ROWS, memory, seed)
        self._folder = folder and folder / f"moments-{len(self._indices)}-{ROWS}"
        self._gathering = gathering
        self._grams: dict[str, Gram] = {}
        self._files: dict[str, str] = {}
        self._without: dict[str, str] | None = None

    @property
    def without(self) -> Mapping[str, str]:
        """Weights whose inputs are not known, and why."""
        if self._without is None:
            self._without = self._gathered()
        return self._without

    def gram(self, weight: str) -> Gram | str:
        """As it was gathered, or why it was not."""
        if weight in self.without:
            return self.without[weight]
        if weight in self._grams:
            return self._grams[weight]
        assert self._folder is not None
        with storage_errors(self._folder), np.load(self._folder / self._files[weight]) as found:
            taken, places = found["counts"].tolist()
            return Gram(taken, places, found.get("factor"), found.get("product"), found["total"])

    def of(self, weight: str) -> Moments | None:
        """Means over all places; None where nothing is known."""
        gram = self.gram(weight)
        return None if isinstance(gram, str) else gram.moments()

    @cached_property
    def sources(self) -> Mapping[str, tuple[Source, ...] | str]:
        """Where inputs are read from; of a weight with too many, why they are not."""
        found = dict(input_sources(self._runner.model, self._runner.inventory))
        for weight in self._runner.inventory.weights:
            own = found[weight.name]
            if not isinstance(own, str):
                why_not = too_wide(own[0].rows.groups, weight.matrix_shape[1], self._sampling.memory)
                found[weight.name] = why_not or own
        return found

    def _gathered(self) -> dict[str, str]:
        if self._folder is None:
            self._gathering()
            without = {}
            for name, gram in calibrate(self._runner, self.sources, self._indices, self._sampling):
                if isinstance(gram, str):
                    without[name] = gram
                else:
                    self._grams[name] = gram
            return without
        if not (self._folder / INDEX).exists():
            self._gathering()
            self._save(self._folder)
        with storage_errors(self._folder):
            index = json.loads((self._folder / INDEX).read_text("utf-8"))
        self._files = index["files"]
        return dict(index["without"])

    def _save(self, folder: Path) -> None:
        """All or nothing: written beside the place, then renamed."""
        with storage_errors(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(prefix=".moments-", dir=folder.parent))
            try:
                files, without = {}, {}
                found = calibrate(self._runner, self.sources, self._indices, self._sampling)
                for number, (name, gram) in enumerate(found):
                    if isinstance(gram, str):
                        without[name] = gram
                        continue
                    files[name] = f"{number}.npz"
                    with (made / files[name]).open("wb") as file:
                        save_gram(file, gram)
                (made / INDEX).write_text(json.dumps({"files": files, "without": without}), "utf-8")
                if folder.exists():
                    shutil.rmtree(folder)  # of a process that died before its index was written
                made.rename(folder)
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise


def too_wide(groups: int, width: int, memory: int) -> str:
    """Why the moments of so many inputs cannot be made use of in so many bytes; empty where they can."""
    needed = SQUARES * 8 * groups * width**2
    if needed <= memory:
        return ""
    return f"a fit of its {width} inputs takes {needed / 1e6:,.1f} MB, and {memory / 1e6:,.1f} MB are allowed"


def save_gram(file: BinaryIO, gram: Gram) -> None:
    """As an npz file of those of its arrays that are there."""
    kept: dict[str, AnyArray | None] = {"product": gram.product, "factor": gram.factor, "total": gram.total}
    arrays = {name: values for name, values in kept.items() if values is not None}
    named: Any = arrays  # a name of its own may not be told from numpy's options by its type
    np.savez(file, counts=np.array([gram.taken, gram.places]), **named)
