"""Flax: the msgpack of `flax.serialization.to_bytes` and `msgpack_serialize`, read without Flax or JAX.

Arrays are extension type 1 (3 for numpy scalars): a msgpack tuple of shape, type name and row-major bytes. Above 1 GiB
an array is a map of flat pieces. The file is mapped, and the values are views of it.
"""

import math
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.frameworks.checkpoints.checkpoint import (
    Checkpoint,
    Parameter,
    damaged,
    dtype_named,
    listed,
    quoted,
    refuse_endless,
    refuse_shape,
    unreadable,
)

ARRAY, COMPLEX, SCALAR = 1, 2, 3
CHUNKED = "__msgpack_chunked_array__"
OPTIMIZER = "opt_state"


@dataclass(frozen=True, eq=False)
class Stored:
    """An array as the file has it: `content` is its row-major bytes, in the file's mapping."""

    shape: tuple[int, ...]
    dtype: str
    content: tuple[memoryview, ...]


class Payload(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What is inside an extension of type 1 or 3."""

    shape: tuple[int, ...]
    dtype: str
    content: memoryview


@dataclass(frozen=True)
class Flax:
    """Names are the tree's keys, joined with '/'."""

    name = "flax"
    title = "a parameter tree as flax.serialization.to_bytes writes it"
    suffixes = (".msgpack", ".flax")

    def recognises(self, path: Path, head: bytes) -> bool:
        """A map whose first key is a text or a number."""
        first = head[0]
        if 0x80 < first <= 0x8F:
            key = head[1:2]
        elif first in {0xDE, 0xDF}:
            key = head[3 if first == 0xDE else 5 :][:1]
        else:
            return False
        text = bool(key) and (0xA1 <= key[0] <= 0xBF or key[0] in {0xD9, 0xDA})
        return text and head[:2] != b"\x80\x02"

    def open(self, path: Path) -> Checkpoint:
        """The state of an optimizer beside the parameters is left out with a note."""
        tree = decoded(path)
        if not isinstance(tree, dict):
            raise damaged(path, "it is no tree of parameters")
        notes = []
        if OPTIMIZER in tree:
            del tree[OPTIMIZER]
            notes.append(f"the optimizer's state '{OPTIMIZER}' is left out")
        parameters = []
        others = []
        try:
            found = list(leaves(tree))
        except ValueError as error:
            raise damaged(path, str(error)) from error
        for name, leaf in found:
            stored = whole(path, name, leaf) if isinstance(leaf, dict) else leaf
            if not isinstance(stored, Stored):
                others.append(name)
                continue
            refuse_shape(path, name, stored.shape)
            dtype = dtype_named(stored.dtype)
            if dtype is None:
                others.append(name)
                continue
            if math.prod(stored.shape) * dtype.itemsize != sum(part.nbytes for part in stored.content):
                raise damaged(path, f"{quoted(name)} has other bytes than its shape takes")
            parameters.append(Parameter(name, stored.shape, dtype.name, partial(read_stored, stored, dtype)))
        if others:
            notes.append(f"{listed(others)} left out: no arrays of plain numbers")
        return Checkpoint(path, self.name, tuple(parameters), tuple(notes))


FORMAT = Flax()


def decoded(path: Path) -> Any:
    """The tree of the file, with `Stored` in the place of arrays.

    Raises:
        CheckpointError: it is cut off, or no msgpack.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return msgspec.msgpack.decode(content, ext_hook=extension)
    except (msgspec.MsgspecError, ValueError, RecursionError, TypeError, MemoryError) as error:
        raise damaged(path, "it is no whole msgpack file as Flax writes it") from error


def extension(code: int, content: memoryview) -> Any:
    """What an extension stands for; of a type that is not Flax's, nothing."""
    if code in {ARRAY, SCALAR}:
        payload = msgspec.msgpack.decode(content, type=Payload)
        if any(size < 0 for size in payload.shape):
            raise ValueError("a negative size")
        return Stored(payload.shape, payload.dtype, (payload.content,))
    if code == COMPLEX:
        return complex(*msgspec.msgpack.decode(content, type=tuple[float, float]))
    return None


def leaves(tree: dict[Any, Any] | list[Any], prefix: str = "", levels: int = 1) -> Iterator[tuple[str, Any]]:
    """What is in a tree besides maps and lists, and None, by name; a map of pieces counts as one leaf.

    Raises:
        ValueError: it is deeper, or a name longer, than any model's.
    """
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        name = f"{prefix}{key}"
        refuse_endless(name, levels)
        if isinstance(value, list) or (isinstance(value, dict) and CHUNKED not in value):
            yield from leaves(value, f"{name}/", levels + 1)
        elif value is not None:
            yield name, value


def whole(path: Path, name: str, pieces: dict[Any, Any]) -> Stored:
    """An array of its flat pieces.

    Raises:
        CheckpointError: they are not what Flax writes.
    """
    try:
        shape = tuple(pieces["shape"][str(axis)] for axis in range(len(pieces["shape"])))
        parts = [pieces["chunks"][str(number)] for number in range(len(pieces["chunks"]))]
        (dtype,) = {part.dtype for part in parts}
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("no shape")  # noqa: TRY301 -- judged with what else can be wrong
        return Stored(shape, dtype, tuple(view for part in parts for view in part.content))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path, f"the pieces of {quoted(name)} do not fit together") from error


def read_stored(stored: Stored, dtype: np.dtype[Any]) -> AnyArray:
    """The values, a read-only view of the file where they are in one piece."""
    little = dtype.newbyteorder("<")
    parts = [np.frombuffer(part, little) for part in stored.content]
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return flat.reshape(stored.shape)
