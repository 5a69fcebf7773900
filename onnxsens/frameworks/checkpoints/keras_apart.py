"""HDF5 is read in a process of its own: one damaged file in a thousand holds its library up for ever.

Only names, shapes and places come back; values that lie in the file as they are, which are all that Keras writes, are
read from there.
"""

import math
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints.checkpoint import damaged, dtype_named, quoted, refuse_shape, unreadable
from onnxsens.frameworks.checkpoints.keras_file import MOST_UNPACKED, Listing, Source, Variable, listing_of
from onnxsens.spawning import Spawned

PATIENCE = 60.0  # seconds, and one more for so many bytes:
BYTES_A_SECOND = 20 << 20
MEMORY = 3 * MOST_UNPACKED


def inspected(source: Source) -> Listing:
    """What is in a file, as a process of its own says.

    Raises:
        CheckpointError: it is damaged, or the process that reads it dies or does not come to an end.
    """
    process = Spawned(serve)
    answer: Any = None
    try:
        process.send(source)
        seconds = PATIENCE + source.length / BYTES_A_SECOND
        deadline = time.monotonic() + seconds
        while answer is None and not process.ended() and time.monotonic() < deadline:
            wait(process.handles, max(0.0, deadline - time.monotonic()))
            answer = next(process.messages(), None)
        came_to_an_end = answer is not None or process.ended()
    finally:
        ending = process.end()
    if isinstance(answer, Listing):
        return checked(answer, source)
    if isinstance(answer, str):
        raise CheckpointError(answer)
    why = f"ends h5py ({ending})" if came_to_an_end else f"keeps h5py busy for more than {seconds:.0f} s"
    raise damaged(source.path, f"its HDF5 {why}")


def serve(connection: "Connection[Any, Any]", folder: Path, parent: int) -> None:
    """The main function of the process."""
    from onnxsens.engine.serving import Line, limit_memory, settle

    settle(folder, parent)
    limit_memory(MEMORY)
    line = Line(connection, folder, parent)
    source: Source = line.hear()
    try:
        line.tell(listing_of(source))
    except CheckpointError as error:
        line.tell(str(error))
    except MemoryError:
        line.tell(str(damaged(source.path, f"its HDF5 takes more than {MEMORY >> 30} GiB of memory")))


def checked(listing: Listing, source: Source) -> Listing:
    """The same.

    Raises:
        CheckpointError: values lie outside of the file, or are not what their shape takes.
    """
    for each in listing.variables:
        refuse_shape(source.path, each.name, each.shape)
        size = math.prod(each.shape) * np.dtype(each.stored).itemsize
        there = len(each.content) if each.offset is None else min(size, source.length - each.offset)
        if there != size or (each.offset or 0) < 0:
            raise damaged(source.path, f"{quoted(each.name)} has {there} bytes where its shape takes {size}")
    return listing


def read_variable(source: Source, variable: Variable) -> AnyArray:
    """The values of one parameter.

    Raises:
        CheckpointError: the file is not what it was when it was opened.
    """
    dtype = dtype_named(variable.dtype)
    assert dtype is not None  # those of other types are left out
    stored = np.dtype(variable.stored)
    content = np.frombuffer(variable.content, stored)
    if variable.offset is not None:
        try:
            with source.path.open("rb") as file:
                file.seek(source.start + variable.offset)
                content = np.fromfile(file, stored, math.prod(variable.shape))
        except OSError as error:
            raise unreadable(source.path, error) from error
        if content.size != math.prod(variable.shape):
            raise damaged(source.path, f"{quoted(variable.name)} cannot be read to its end")
    values: AnyArray = content.reshape(variable.shape)
    return values.view(dtype) if stored.kind == "V" else values.astype(dtype, copy=False)
