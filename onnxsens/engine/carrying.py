"""Carries plans out and keeps what came of them, under a name that says what was asked: a resumed run finds it there.

Who asks sends an order, a small record, and is answered with another; the tensors stay here.
"""

import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from onnxsens.arrays import AnyArray, IntArray
from onnxsens.engine.input_moments import InputMoments
from onnxsens.engine.methods import METHODS
from onnxsens.engine.rebuilding import Rebuilder
from onnxsens.engine.runner import ModelRunner
from onnxsens.engine.tensor_file import read_tensors, write_tensors
from onnxsens.files import sha256_of, storage_errors, write_atomically
from onnxsens.model.shifts import Shifts
from onnxsens.model.storage import compressed_bytes
from onnxsens.strict_json import StrictJSONError, read_json
from onnxsens.techniques import make_sparsity

VARIANTS = "variants"  # folder in that of a run
KEPT_BYTES = 2**30  # of variants on disk; the oldest go first


@dataclass(frozen=True)
class Order:
    """A plan to be carried out.

    Attributes:
        levels: weight and level, in graph order.
        technique: what says which elements go.
        method: name of how, one of `METHODS`.
        samples: of the search split to fit on, its last ones.
        untouched: weights that keep every bit.
    """

    levels: tuple[tuple[str, float], ...]
    technique: str
    method: str
    samples: int
    untouched: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Equal orders, equal name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Carried:
    """What came of an order.

    Attributes:
        name: of the variant, which questions take as their base.
        changed: stored tensors that have other values, sorted.
        why_not: weights that are masked only, and why.
        kept_rows: by weight, output rows that keep their old values.
        seconds: that it took.
    """

    name: str
    changed: tuple[str, ...]
    why_not: Mapping[str, str]
    kept_rows: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class Kept:
    """What is noted beside the tensors of a variant: their file's SHA-256 and its own, to tell damaged ones."""

    carried: Carried
    sha256: str
    own_sha256: str


def digest_of(carried: Carried) -> str:
    """SHA-256 of the record."""
    return hashlib.sha256(msgspec.json.encode(carried)).hexdigest()


class Carrier(Protocol):
    """Carries orders out."""

    def carry(self, order: Order) -> Carried:
        """Now, or from what was kept."""

    def compressed(self, name: str) -> dict[str, int]:
        """Bytes, compressed by zlib, of the weights that a variant changes."""


class RunCarrier:
    """In this process, with a run's folder.

    Args:
        indices: of the search split.
        folder: where variants are kept; None keeps the last ones in memory.
        memory: bytes for tensors of all samples.
        tell: told the name of each weight when it is done.
    """

    def __init__(
        self,
        runner: ModelRunner,
        moments: InputMoments,
        shifts: Shifts,
        indices: IntArray,
        folder: Path | None,
        memory: int,
        seed: int,
        tell: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._runner = runner
        self._moments = moments
        self._shifts = shifts
        self._indices = indices
        self._folder = folder and folder / VARIANTS
        self._memory = memory
        self._seed = seed
        self._tell = tell
        self._last: dict[str, tuple[Carried, Mapping[str, AnyArray]]] = {}

    def carry(self, order: Order) -> Carried:
        """Now, or from what was kept."""
        if order.name in self._last:
            return self._last[order.name][0]
        kept = self._read(order.name)
        if kept is None:
            kept = self._carried(order)
            self._write(*kept)
        self._last = {**dict(list(self._last.items())[-1:]), order.name: kept}
        return kept[0]

    def compressed(self, name: str) -> dict[str, int]:
        """Bytes, compressed by zlib, of the weights that a variant changes."""
        weights = {weight.name for weight in self._runner.inventory.weights}
        return {each: compressed_bytes(array) for each, array in self.values(name).items() if each in weights}

    def values(self, name: str) -> Mapping[str, AnyArray]:
        """Stored tensors of a variant and their values.

        Raises:
            KeyError: nothing of that name was ever carried out.
        """
        if name not in self._last:
            found = self._read(name)
            if found is None:
                raise KeyError(name)
            self._last = {name: found}
        return self._last[name][1]

    def _carried(self, order: Order) -> tuple[Carried, Mapping[str, AnyArray]]:
        started = time.perf_counter()
        rebuilder = Rebuilder(
            self._runner,
            self._moments.sources,
            self._shifts,
            untouched=order.untouched,
            memory=self._memory,
            spill=self._folder,
            seed=self._seed,
            tell=self._tell,
        )
        technique = make_sparsity(order.technique)
        techniques = {weight.name: technique for weight in self._runner.inventory.weights}
        found = rebuilder.rebuild(
            dict(order.levels), techniques, METHODS[order.method], self._indices[-order.samples :]
        )
        seconds = time.perf_counter() - started
        carried = Carried(order.name, tuple(sorted(found.values)), found.why_not, found.kept_rows, seconds)
        return carried, found.values

    def _write(self, carried: Carried, values: Mapping[str, AnyArray]) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._make_room(sum(array.nbytes for array in values.values()), carried.name)
        path = self._folder / f"{carried.name}.safetensors"
        write_tensors(path, values)
        # Last: where it is there, so are the tensors.
        write_atomically(
            path.with_suffix(".json"), [msgspec.json.encode(Kept(carried, sha256_of(path), digest_of(carried)))]
        )

    def _read(self, name: str) -> tuple[Carried, Mapping[str, AnyArray]] | None:
        """None where it is not there, or not as it was written: then it is made again."""
        if self._folder is None:
            return None
        path = self._folder / f"{name}.safetensors"
        with storage_errors(self._folder):
            try:
                kept = msgspec.convert(read_json(path.with_suffix(".json").read_bytes()), type=Kept)
                digests = kept.sha256, kept.own_sha256
                if kept.carried.name != name or digests != (sha256_of(path), digest_of(kept.carried)):
                    return None
            except (FileNotFoundError, msgspec.ValidationError, StrictJSONError):
                return None
        like = {each: self._runner.model.array(each) for each in kept.carried.changed}
        return kept.carried, read_tensors(path, like)

    def _make_room(self, nbytes: int, name: str) -> None:
        """Remove the oldest, so that what is kept stays within its budget; it can be made again."""
        assert self._folder is not None
        others = [path for path in self._folder.glob("*.safetensors") if path.stem != name]
        files = sorted(others, key=lambda path: path.stat().st_mtime_ns)
        total = sum(path.stat().st_size for path in files) + nbytes
        for path in files:
            if total <= KEPT_BYTES:
                break
            total -= path.stat().st_size
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink()


def methods_for(update: str, *, statistics: bool) -> Collection[str]:
    """The milder methods that a plan's update is compared with, the mildest first, and the update itself.

    Args:
        statistics: whether the graph has any to set.
    """
    ladder = ["none", "bias", *(["batchnorm"] if statistics else []), "obs", "refit", "reconstruct"]
    return ladder[: ladder.index(update) + 1] if update in ladder else ladder


def variants_in(folder: Path) -> Path:
    """Where a run keeps the plans that it has carried out."""
    return folder / VARIANTS
