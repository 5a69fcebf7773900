"""An ONNX file's bytes without its large payloads, and with other bytes in the place of some tensors.

A parser makes objects of everything, which takes twice the file's size in memory. Here only the messages that lead to
tensors are looked at, on a memory map, and a message that is too small to hold a large payload is passed over as a
whole. Knows nothing of names, shapes or values.
"""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from onnxsens.errors import ModelError
from onnxsens.model.mapping import PIECE, give_back
from onnxsens.model.messages import (
    DAMAGED,
    DATA_LOCATION,
    EXTERNAL_DATA,
    MOST_NESTED,
    Message,
    Patience,
    Source,
    TensorPath,
    as_varint,
    children,
    payload_of,
    sized,
    whole,
)

SMALLEST_PAYLOAD = 1024

# The NUL keeps it from being any file's name; no file that was handed in may hold it.
INSIDE = "\0inside the model file"


@dataclass(frozen=True)
class NewPayload:
    """Other bytes for the one data field that a tensor has; as many as before."""

    content: bytes | memoryview


@dataclass(frozen=True)
class NewTensor:
    """Another serialized tensor message."""

    content: bytes


Edit: TypeAlias = NewPayload | NewTensor


class Splice(NamedTuple):
    """Put `content` in the place of the bytes from `start` to `end`, which lie within `message`."""

    start: int
    end: int
    content: bytes | memoryview
    message: Message


def skeleton(source: Source) -> bytes:
    """The same message with each large payload replaced by external data at `INSIDE`, its offset and its length.

    A payload is large from 1024 bytes on, where it is a tensor's only data field and has the bytes of raw_data. All
    else stays as it is. What is parsed from this takes little memory, however large the file is.

    Raises:
        ModelError: the file is damaged, nested too deep, or holds the reserved location.
    """
    splices = []
    for tensor in large_tensors(source):
        field = payload_of(source, tensor)
        if field is not None and field.end - field.start >= SMALLEST_PAYLOAD:
            splices.append(Splice(field.at, field.end, b"", tensor))
            splices.append(Splice(tensor.end, tensor.end, placeholder(field.start, field.end - field.start), tensor))
    content = b"".join(spliced(source, splices))
    if content.count(INSIDE.encode()) != len(splices) // 2:
        raise ModelError(f"damaged: it names the reserved location {INSIDE!r}; save it again")
    return content


def rewritten(source: Source, edits: Mapping[TensorPath, Edit]) -> Iterator[bytes]:
    """The file with these tensors changed, a piece at a time.

    Only the tensors themselves and the lengths of the messages around them differ; all other bytes are the file's.

    Raises:
        ModelError: there is no such tensor, it has no single data field of that size, or the file is damaged.
    """
    splices = []
    for path, tensor in located(source, edits):
        edit = edits[path]
        if isinstance(edit, NewTensor):
            splices.append(Splice(tensor.start, tensor.end, edit.content, tensor))
            continue
        field = payload_of(source, tensor)
        size = len(edit.content)
        if field is None or field.end - field.start != size:
            raise ModelError(f"damaged: the tensor at byte {tensor.start} has no data field of {size} bytes; {DAMAGED}")
        splices.append(Splice(field.start, field.end, edit.content, tensor))
    return spliced(source, splices)


def large_tensors(source: Source) -> Iterator[Message]:
    """Tensor messages that may hold a large payload, in no particular order."""
    waiting, patience = [whole(source)], Patience()
    while waiting:
        message = waiting.pop()
        if message.kind == "Tensor":
            yield message
            continue
        for _, _, child in children(source, message, patience):
            if child.end - child.start >= SMALLEST_PAYLOAD:
                waiting.append(child)


def located(source: Source, wanted: Mapping[TensorPath, Edit]) -> Iterator[tuple[TensorPath, Message]]:
    """The tensor messages at these paths; each message on the way is walked once, however many lie in it."""
    waiting: list[tuple[Message, list[TensorPath], int]] = [(whole(source), list(wanted), 0)]
    patience = Patience()
    while waiting:
        message, paths, depth = waiting.pop()
        by_step: dict[tuple[str, int], list[TensorPath]] = {}
        for path in paths:
            if len(path) == depth:
                yield path, message
            else:
                by_step.setdefault(path[depth], []).append(path)
        if not by_step:
            continue
        for name, ordinal, child in children(source, message, patience):
            below = by_step.pop((name, ordinal), None)
            if below:
                waiting.append((child, below, depth + 1))
        for lost in by_step.values():
            raise ModelError(f"damaged: the file holds no tensor at {lost[0]}; {DAMAGED}")


def placeholder(offset: int, length: int) -> bytes:
    """Fields of a tensor message: external data at `INSIDE`."""
    entries = [("location", INSIDE), ("offset", str(offset)), ("length", str(length))]
    return (
        b"".join(sized(EXTERNAL_DATA, sized(1, key.encode()) + sized(2, value.encode())) for key, value in entries)
        + as_varint(DATA_LOCATION << 3)
        + as_varint(1)
    )


def spliced(source: Source, splices: list[Splice]) -> Iterator[bytes]:
    """The file with these places replaced and the lengths of the messages around them made right, in pieces."""
    position = 0
    for splice in sorted([*splices, *new_lengths(splices)], key=lambda splice: (splice.start, splice.end)):
        yield from stretch(source, position, splice.start)
        for at in range(0, len(splice.content), PIECE):
            yield bytes(splice.content[at : at + PIECE])
        position = splice.end
    yield from stretch(source, position, len(source))


def stretch(source: Source, start: int, end: int) -> Iterator[bytes]:
    """The file's own bytes, a piece at a time."""
    for at in range(start, end, PIECE):
        size = min(PIECE, end - at)
        yield source[at : at + size]
        if isinstance(source, mmap.mmap):
            give_back(source, at, size)


def new_lengths(splices: list[Splice]) -> Iterator[Splice]:
    """The lengths that these changes make wrong, from the innermost messages outward.

    A message that keeps its size keeps its length as it is written, which may not be the shortest way to write it.
    """
    growth: dict[Message, int] = {}
    by_depth: dict[int, list[Message]] = {}

    def grow(message: Message, by: int) -> None:
        if message not in growth:
            growth[message] = 0
            by_depth.setdefault(message.depth, []).append(message)
        growth[message] += by

    for splice in splices:
        grow(splice.message, len(splice.content) - (splice.end - splice.start))
    for depth in range(MOST_NESTED, 0, -1):
        for message in by_depth.get(depth, ()):
            if growth[message] == 0 or message.parent is None:
                continue
            length = as_varint(message.end - message.start + growth[message])
            yield Splice(message.sized_at, message.start, length, message.parent)
            grow(message.parent, growth[message] + len(length) - (message.start - message.sized_at))
