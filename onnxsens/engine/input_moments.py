"""Second moments of the inputs of all weights in the dense model: gathered in one pass, then kept in the run folder.

What is kept there serves a resumed run and every worker.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine.calibration import Sampling, calibrate
from onnxsens.engine.grams import Gram
from onnxsens.engine.runner import ModelRunner
from onnxsens.errors import StorageError
from onnxsens.files import (
    TemporaryFolder,
    remove_folder,
    rename_durably,
    scratch_file,
    sha256_of,
    storage_errors,
    write_scratch,
)
from onnxsens.model.features import Source, input_sources
from onnxsens.strict_json import StrictJSONError, read_json
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
        index = read_index(self._folder)
        if index is None:
            self._gathering()
            self._save(self._folder)
            index = read_index(self._folder)
            if index is None:
                raise StorageError(f"what was just written to '{self._folder}' cannot be read; check the disk")
        self._files = {name: file for name, (file, _) in index.files.items()}
        return dict(index.without)

    def _save(self, folder: Path) -> None:
        """All or nothing: written beside the place, then renamed."""
        with storage_errors(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
        making = TemporaryFolder(inside=folder.parent)
        try:
            files: dict[str, tuple[str, str]] = {}
            without: dict[str, str] = {}
            found = calibrate(self._runner, self.sources, self._indices, self._sampling)
            for number, (name, gram) in enumerate(found):
                if isinstance(gram, str):
                    without[name] = gram
                    continue
                path = making.path / f"{number}.npz"
                with scratch_file(path) as file:
                    save_gram(file, gram)
                files[name] = path.name, sha256_of(path)
            write_scratch(making.path / INDEX, [msgspec.json.encode(((index := Index(files, without)), index.sha256))])
            remove_folder(folder)  # of a process that died before its index was written
            rename_durably(making.path, folder)
        finally:
            making.remove()


@dataclass(frozen=True)
class Index:
    """What is in a folder of moments.

    Attributes:
        files: by weight, the name of its file and the SHA-256 of that.
        without: weights that there is nothing of, and why.
    """

    files: dict[str, tuple[str, str]]
    without: dict[str, str]

    @property
    def sha256(self) -> str:
        """Of all that."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def read_index(folder: Path) -> Index | None:
    """None where there is none, or where a file is not as it was written: then all is gathered again."""
    with storage_errors(folder):
        try:
            index, digest = msgspec.convert(read_json((folder / INDEX).read_bytes()), type=tuple[Index, str])
            sound = digest == index.sha256 and all(
                sha256_of(folder / Path(file).name) == own for file, own in index.files.values()
            )
        except (FileNotFoundError, msgspec.ValidationError, StrictJSONError):
            return None
    return index if sound else None


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
