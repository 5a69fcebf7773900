"""Keras: `.keras` archives, `.weights.h5` of Keras 3, and the older `.h5`, all HDF5 inside (needs h5py).

Keras 3 keeps a layer's variables by number, and the layer's name as an attribute; names are put together as Keras does:
`block/fc/kernel`, without the name of the model itself, which a loaded model's variables do not have either. tf_keras
keeps no names there; they come from the archive's config. A `.weights.h5` of it has no config, and is refused: a place
in the file, `layers/dense`, may be called like another layer. The older `.h5` lists names in full.
"""

import zipfile
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from onnxsens.errors import CheckpointError, MissingPackageError
from onnxsens.frameworks.checkpoints.archives import BROKEN_ZIP, MAGIC, entries_of
from onnxsens.frameworks.checkpoints.checkpoint import Checkpoint, Parameter, damaged
from onnxsens.frameworks.checkpoints.keras_apart import inspected, read_variable
from onnxsens.frameworks.checkpoints.keras_file import Source
from onnxsens.frameworks.checkpoints.keras_names import Config
from onnxsens.strict_json import MOST_BYTES, StrictJSONError, read_json_object

HDF5 = b"\x89HDF\r\n\x1a\n"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"
SHARDS = "model.weights.json"
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
        require_h5py(path)
        source = source_of(path)
        found = inspected(source)
        parameters = [
            Parameter(each.name, each.shape, each.dtype, partial(read_variable, source, each))
            for each in found.variables
        ]
        return Checkpoint(path, self.name, tuple(parameters), found.notes)


FORMAT = Keras()


def require_h5py(path: Path) -> None:
    """Raises:
    MissingPackageError: it is not installed.
    """
    try:
        import_module("h5py")
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
            if info.file_size > MOST_BYTES:
                raise damaged(path, f"its '{info.filename}' has {info.file_size:,} bytes")
            return read_json_object(archive.read(info))
    except StrictJSONError as error:
        raise damaged(path, f"its '{info.filename}' is not what Keras writes: {error}") from error
    except BROKEN_ZIP as error:
        raise damaged(path, f"its '{info.filename}' cannot be read") from error
