"""What is in an HDF5 file of Keras, as h5py shows it. Runs where a damaged file may hold it up or bring it down."""

import io
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints.checkpoint import damaged, dtype_named, listed
from onnxsens.frameworks.checkpoints.keras_names import Config
from onnxsens.frameworks.checkpoints.keras_tree import ASIDE, Tree, layer_groups, old_names, text_of

MOST_UNPACKED = 4 << 30  # bytes of values that do not lie in the file as they are


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


@dataclass(frozen=True)
class Variable:
    """One parameter.

    Attributes:
        dtype: of its numbers.
        stored: numpy's text for the elements as they are stored, such as `<f4`.
        offset: where its values lie in the HDF5 as they are; None where `content` has them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    stored: str
    offset: int | None
    content: bytes


@dataclass(frozen=True)
class Listing:
    """All that a file holds, and what there is to say about it."""

    variables: tuple[Variable, ...]
    notes: tuple[str, ...]


def listing_of(source: Source) -> Listing:
    """Read a file.

    Raises:
        CheckpointError: it is damaged, does not name its layers, or has too much that has to be unpacked.
    """
    h5py = import_module("h5py")
    with opened(h5py, source) as file:
        old = layer_groups(file)
        found = old_names(old) if old is not None else Tree(source.config, source.tf_keras).names(file)
        if found.nameless and found.keys:
            raise CheckpointError(
                f"checkpoint '{source.path}' does not name its layers, as .weights.h5 of tf_keras (Keras 2) does not, "
                "so that parameters would be mistaken; save it as .keras or .h5 instead: model.save('m.keras'), or "
                "model.save_weights('m.h5')"
            )
        variables = []
        strange = []
        unpacked = 0
        for key, name in found.keys.items():
            variable = variable_of(h5py, file, file[key], name)
            if variable is None:
                strange.append(name)
                continue
            variables.append(variable)
            unpacked += len(variable.content)
            if unpacked > MOST_UNPACKED:
                raise CheckpointError(
                    f"checkpoint '{source.path}' has more than {MOST_UNPACKED >> 30} GiB of compressed values; "
                    "save it without compression, as Keras does"
                )
        aside = [group for group in ASIDE if group in file]
    notes = list(found.notes)
    if aside:
        notes.append(f"left out, since no part of the model: {listed(aside)}")
    if strange:
        notes.append(f"{listed(strange)} left out: no plain numbers")
    return Listing(tuple(variables), tuple(notes))


def variable_of(h5py: Any, file: Any, dataset: Any, name: str) -> Variable | None:
    """One parameter; None where it holds no plain numbers."""
    dtype = type_of(dataset)
    if dtype is None or (dataset.dtype.kind == "V" and dataset.dtype.itemsize != dtype.itemsize):
        return None
    kind = dataset.id.get_type()
    as_it_is = isinstance(kind, h5py.h5t.TypeOpaqueID) or kind.equal(h5py.h5t.py_create(dataset.dtype))
    offset = dataset.id.get_offset() if as_it_is and not file.userblock_size else None
    content = b"" if offset is not None else np.asarray(dataset[()]).tobytes()
    return Variable(name, tuple(dataset.shape), dtype.name, dataset.dtype.str, offset, content)


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
