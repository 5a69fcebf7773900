"""safetensors: a JSON header of names, types and places, then the bytes. One file, or shards with an index.

The header is read here rather than by the package of that name, whose numpy side knows no 8-bit floats. All that the
format promises is checked before a value is read: places that follow each other, fit their shapes and fill the file.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints.checkpoint import (
    Checkpoint,
    Parameter,
    damaged,
    dtype_named,
    listed,
    quoted,
    refuse_shape,
    unreadable,
)
from onnxsens.strict_json import StrictJSONError, read_json_file, read_json_object

LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
LENGTH = 8  # bytes that hold the header's length
INDEX = ".safetensors.index.json"
TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


@dataclass(frozen=True)
class Entry:
    """A tensor's place. `dtype` is the format's own word; `start` counts from the beginning of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    length: int


@dataclass(frozen=True)
class Header:
    """All that a file says before its values."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str]


@dataclass(frozen=True)
class Safetensors:
    """One file, or the index of several."""

    name = "safetensors"
    title = "safetensors, one file or shards with their index"
    suffixes = (".safetensors",)

    def recognises(self, path: Path, head: bytes) -> bool:
        """A length that fits into the file, and a JSON object behind it; or an index by its name."""
        if path.name.endswith(INDEX):
            return True
        length = int.from_bytes(head[:LENGTH], "little")
        return head[LENGTH : LENGTH + 1] == b"{" and length <= min(LARGEST_HEADER, path.stat().st_size - LENGTH)

    def open(self, path: Path) -> Checkpoint:
        """Of a shard alone, its own tensors."""
        if path.name.endswith(INDEX):
            return open_shards(path)
        parameters, strange = parameters_of(path)
        return Checkpoint(path, self.name, parameters, notes_on(strange))


FORMAT = Safetensors()


def parameters_of(path: Path) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """The tensors of one file, in the order of its header, and the names of those whose numbers are not read.

    Raises:
        CheckpointError: it is damaged.
    """
    header = read_header(path)
    strange = tuple(entry.name for entry in header.entries if entry.dtype not in TYPES)
    return tuple(
        Parameter(entry.name, entry.shape, TYPES[entry.dtype], partial(read_entry, path, entry))
        for entry in header.entries
        if entry.dtype in TYPES
    ), strange


def notes_on(strange: Sequence[str]) -> tuple[str, ...]:
    """On tensors that are not read."""
    return (f"{listed(strange)} left out: numbers of a type that is not read",) if strange else ()


def read_header(path: Path) -> Header:
    """Raises:
    CheckpointError: the file breaks the format, in any way that can be seen without reading values.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = int.from_bytes(file.read(LENGTH), "little")
            if size < LENGTH or length > size - LENGTH:
                raise damaged(path, f"its header ends beyond its {size} bytes")
            if length > LARGEST_HEADER:
                raise damaged(path, f"its header of {length} bytes is over the format's limit of {LARGEST_HEADER}")
            text = file.read(length)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        fields = read_json_object(text, most_bytes=LARGEST_HEADER)
        metadata = fields.pop("__metadata__", None) or {}
        texts = {str(key): value for key, value in metadata.items() if isinstance(value, str)}
        entries = tuple(entry_of(name, value, LENGTH + length) for name, value in fields.items())
    except StrictJSONError as error:
        raise damaged(path, f"its header is not what the format allows: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, "its header is not what the format allows") from error
    for entry in entries:
        refuse_shape(path, entry.name, entry.shape)
    check_places(path, entries, LENGTH + length, size)
    return Header(entries, texts)


def entry_of(name: str, value: Any, origin: int) -> Entry:
    """One line of the header; `origin` is where the values begin. Raises what a field of a wrong type raises."""
    shape = tuple(value["shape"])
    start, stop = value["data_offsets"]
    whole = all(type(number) is int and number >= 0 for number in (*shape, start, stop))
    if not whole or not isinstance(value["dtype"], str):
        raise ValueError("no numbers where numbers belong")
    return Entry(name, value["dtype"], shape, origin + start, stop - start)


def check_places(path: Path, entries: tuple[Entry, ...], origin: int, size: int) -> None:
    """Raises:
    CheckpointError: a place does not fit its shape, overlaps another, leaves a gap, or lies outside of the file.
    """
    reached = origin
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.length)):
        dtype = dtype_named(TYPES[entry.dtype]) if entry.dtype in TYPES else None
        if entry.start != reached or entry.length < 0:
            raise damaged(path, f"the place of {quoted(entry.name)} does not follow the one before it")
        if dtype is not None and math.prod(entry.shape) * dtype.itemsize != entry.length:
            raise damaged(path, f"{quoted(entry.name)} has {entry.length} bytes, which is not what its shape takes")
        reached += entry.length
    if reached > size:
        raise damaged(path, f"its values end {reached - size} bytes beyond the end of the file, which was cut off")
    if reached < size:
        raise damaged(path, f"{size - reached} bytes at its end belong to no tensor")


def read_entry(path: Path, entry: Entry) -> AnyArray:
    """The values of one tensor.

    Raises:
        CheckpointError: the file is not what it was when it was opened.
    """
    dtype = dtype_named(TYPES[entry.dtype])
    assert dtype is not None  # every type of the table is one of numbers
    try:
        with path.open("rb") as file:
            file.seek(entry.start)
            content = np.fromfile(file, np.uint8, entry.length)
    except OSError as error:
        raise unreadable(path, error) from error
    if content.size != entry.length:
        raise damaged(path, f"{quoted(entry.name)} cannot be read to its end")
    return content.view(dtype.newbyteorder("<")).reshape(entry.shape)


def open_shards(path: Path) -> Checkpoint:
    """The tensors that an index lists, each in the file that it names, which lies beside the index.

    Raises:
        CheckpointError: the index is damaged, names a file elsewhere, or a shard lacks a tensor.
    """
    try:
        content = read_json_file(path)
        places = {str(name): str(file) for name, file in content["weight_map"].items()}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged(path, "it is no index of shards") from error
    found: dict[tuple[str, str], Parameter] = {}
    unread: set[tuple[str, str]] = set()
    extra: list[str] = []
    for file in dict.fromkeys(places.values()):
        if Path(file).name != file or not file.isprintable():
            raise damaged(path, f"it names {quoted(file)}, which is not beside it")
        if (path.parent / file).exists() and not (path.parent / file).is_file():
            raise damaged(path, f"it names {quoted(file)}, which is no regular file")
        parameters, strange = parameters_of(path.parent / file)
        found.update({(parameter.name, file): parameter for parameter in parameters})
        unread.update((name, file) for name in strange)
        extra.extend(parameter.name for parameter in parameters if places.get(parameter.name) != file)
    for name, file in places.items():
        if (name, file) not in found and (name, file) not in unread:
            raise damaged(path, f"{quoted(name)} is not in {quoted(file)}")
    return Checkpoint(
        path,
        FORMAT.name,
        tuple(found[place] for place in places.items() if place in found),
        (
            *notes_on([name for name, _ in sorted(unread)]),
            *((f"{listed(extra)} left out: the index does not list them",) if extra else ()),
        ),
    )


def joined(folder: Path, shards: list[Path]) -> Checkpoint:
    """Shards without an index, as one.

    Raises:
        CheckpointError: one is damaged, or two hold a tensor of the same name.
    """
    opened = [parameters_of(shard) for shard in shards]
    return Checkpoint(
        folder,
        FORMAT.name,
        tuple(parameter for parameters, _ in opened for parameter in parameters),
        notes_on([name for _, strange in opened for name in strange]),
    )


def in_folder(folder: Path) -> Checkpoint | None:
    """What a folder holds: an index, a single file, or all shards of a set; None where there is nothing of these.

    Raises:
        CheckpointError: it is not clear which one is meant.
    """
    indexes = sorted(folder.glob(f"*{INDEX}"))
    files = sorted(folder.glob("*.safetensors"))
    if len(indexes) == 1:
        return FORMAT.open(indexes[0])
    if len(files) == 1 and not indexes:
        return FORMAT.open(files[0])
    if files and not indexes and [file.stem[-14:] for file in files] == parts(len(files)):
        return joined(folder, files)
    if files or indexes:
        raise CheckpointError(
            f"checkpoint '{folder}' is a folder with {len(files) + len(indexes)} safetensors files; name one of them"
        )
    return None


def parts(count: int) -> list[str]:
    """How the names of a whole set of shards end."""
    return [f"{number:05d}-of-{count:05d}" for number in range(1, count + 1)]
