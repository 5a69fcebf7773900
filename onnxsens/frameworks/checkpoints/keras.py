"""Keras: `.keras` archives, `.weights.h5` of Keras 3, and the older `.h5`, all HDF5 inside (needs h5py).

Keras 3 keeps a layer's variables by number, and the layer's name as an attribute; names are put together as Keras does:
`block/fc/kernel`, without the name of the model itself, which a loaded model's variables do not have either. tf_keras
keeps no names there; they come from the archive's config. A `.weights.h5` of it has no config, and is refused: a place
in the file, `layers/dense`, may be called like another layer. The older `.h5` lists names in full.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError, MissingPackageError
from onnxsens.frameworks.checkpoints.archives import BROKEN_ZIP, MAGIC, entries_of
from onnxsens.frameworks.checkpoints.checkpoint import Checkpoint, Parameter, damaged, dtype_named, listed
from onnxsens.frameworks.checkpoints.keras_names import Config
from onnxsens.frameworks.checkpoints.keras_tree import ASIDE, Tree, layer_groups, old_names, text_of

HDF5 = b"\x89HDF\r\n\x1a\n"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
SHARDS = "model.weights.json"
LARGEST_CONFIG = 1 << 28  # bytes
LOCAL_HEADER = 30  # bytes of a zip entry before its name


@dataclass(frozen=True)
class Keras:
    """Names are those of `variable.path`, without the model's own."""

    name = "keras"
    title = "Keras models and weights, .keras and .h5 (needs h5py)"
    suffixes = (".keras", ".h5", ".hdf5")

    def recognises(self, path: Path, head: bytes) -> bool:
        """HDF5, or an archive with a config and weights."""
        if head.startswith(MAGIC):
            entries = entries_of(path)
            return CONFIG in entries and (WEIGHTS in entries or SHARDS in entries)
        return head.startswith(HDF5)

    def open(self, path: Path) -> Checkpoint:
        """State of an optimizer and of metrics is left out with a note."""
        h5py = h5py_for(path)
        source = source_of(path)
        with opened(h5py, source) as file:
            old = layer_groups(file)
            found = old_names(old) if old is not None else Tree(source.config, source.tf_keras).names(file)
            if found.nameless and found.keys:
                raise CheckpointError(
                    f"checkpoint '{path}' does not name its layers, as .weights.h5 of tf_keras (Keras 2) does not, so "
                    "that parameters would be mistaken; save it as .keras or .h5 instead: model.save('m.keras'), or "
                    "model.save_weights('m.h5')"
                )
            parameters = []
            strange = []
            for key, name in found.keys.items():
                dtype = type_of(file[key])
                if dtype is None:
                    strange.append(name)
                else:
                    shape = tuple(file[key].shape)
                    parameters.append(Parameter(name, shape, dtype.name, partial(read_dataset, source, key, dtype)))
            aside = [group for group in ASIDE if group in file]
        notes = list(found.notes)
        if aside:
            notes.append(f"left out, since no part of the model: {listed(aside)}")
        if strange:
            notes.append(f"{listed(strange)} left out: no plain numbers")
        return Checkpoint(path, self.name, tuple(parameters), tuple(notes))


FORMAT = Keras()


@dataclass(frozen=True)
class Source:
    """Where the HDF5 is: a file, or a stretch of an archive.

    Attributes:
        config: the model's, empty where there is none.
        tf_keras: whether tf_keras wrote it; None where that is not said.
    """

    path: Path
    start: int
    length: int
    config: Config
    tf_keras: bool | None


def h5py_for(path: Path) -> Any:
    """Raises:
    MissingPackageError: it is not installed.
    """
    try:
        return import_module("h5py")
    except ImportError as error:
        raise MissingPackageError(
            f"checkpoint '{path}' is Keras's and needs h5py, which is missing; pip install 'onnxsens[keras]'"
        ) from error


def source_of(path: Path) -> Source:
    """Raises:
    CheckpointError: the archive lacks its weights, has them compressed or in shards, or its config is damaged.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return Source(path, 0, path.stat().st_size, {}, None)
    entries = entries_of(path)
    if WEIGHTS not in entries:
        what = "its weights in shards" if SHARDS in entries else "no weights"
        raise CheckpointError(
            f"checkpoint '{path}' has {what}; save them as one file: model.save_weights('m.weights.h5')"
        )
    info = entries[WEIGHTS]
    if info.compress_type != zipfile.ZIP_STORED:
        raise CheckpointError(f"checkpoint '{path}' was packed again; unpack it, and hand in its '{WEIGHTS}'")
    config, metadata = (json_of(path, entries.get(name)) for name in (CONFIG, "metadata.json"))
    version = metadata.get("keras_version")
    tf_keras = None if version is None else str(version).startswith("2.")  # it has TensorFlow's version
    with path.open("rb") as file:
        file.seek(info.header_offset)
        local = file.read(LOCAL_HEADER)
    start = info.header_offset + LOCAL_HEADER + sum(int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
    return Source(path, start, info.file_size, config, tf_keras)


def json_of(path: Path, info: zipfile.ZipInfo | None) -> Config:
    """A JSON object of an archive; empty where there is no such entry.

    Raises:
        CheckpointError: it is something else.
    """
    if info is None:
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            found = json.loads(archive.read(info)) if info.file_size < LARGEST_CONFIG else None
    except (*BROKEN_ZIP, ValueError, RecursionError) as error:
        raise damaged(path, f"its '{info.filename}' cannot be read") from error
    if not isinstance(found, dict):
        raise damaged(path, f"its '{info.filename}' is no JSON object")
    return found


class Stretch(io.RawIOBase):
    """A part of a file as a file of its own, read only."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._file = source.path.open("rb")
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._source.length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._source.length - self._at))
        self._file.seek(self._source.start + self._at)
        count = self._file.readinto(view[:wanted])
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class opened:  # noqa: N801 -- used like a function
    """The HDF5 file of a source, for a `with`; what h5py raises in there becomes one line."""

    def __init__(self, h5py: Any, source: Source) -> None:
        self._h5py = h5py
        self._source = source

    def __enter__(self) -> Any:
        self._stretch = Stretch(self._source)
        try:
            self._file = self._h5py.File(self._stretch, "r")
        except Exception as error:
            self._stretch.close()
            raise damaged(self._source.path, "its HDF5 cannot be opened") from error
        return self._file

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        self._stretch.close()
        # h5py raises these for what is inside a damaged file, each from several places.
        if isinstance(error, OSError | RuntimeError | KeyError | ValueError | TypeError | AttributeError):
            raise damaged(self._source.path, "its HDF5 is not what Keras writes, or was cut off") from error


def type_of(dataset: Any) -> np.dtype[Any] | None:
    """The type of the numbers; Keras keeps bfloat16 as two bytes with its name beside them."""
    stored = dataset.attrs.get("dtype")
    if stored is not None:
        return dtype_named(text_of(stored))
    return dtype_named(dataset.dtype.newbyteorder("=").name)


def read_dataset(source: Source, key: str, dtype: np.dtype[Any]) -> AnyArray:
    """The values of one variable.

    Raises:
        CheckpointError: they are damaged.
    """
    with opened(h5py_for(source.path), source) as file:
        stored: AnyArray = np.asarray(file[key][()])
    return stored.view(dtype) if stored.dtype.kind == "V" else stored.astype(dtype, copy=False)
