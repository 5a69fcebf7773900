"""Walk the messages of an ONNX file that lead to tensors, without parsing it: positions in the file, no values.

The wire format: https://protobuf.dev/programming-guides/encoding. Every length is checked against what is left, and
nesting is limited; nonsense is one `ModelError`. Knows nothing of names, shapes or values.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from onnxsens.errors import ModelError

Source: TypeAlias = bytes | mmap.mmap
TensorPath: TypeAlias = tuple[tuple[str, int], ...]  # field name and ordinal within that field, from the file inward

MOST_FIELDS = 20_000_000  # outside of tensors; the largest graphs have a hundredth of that
MOST_NESTED = 100  # messages inside messages; what protobuf's own parsers allow
DAMAGED = "check that the download or export finished"

# Message -> field number -> field name, message, whether it is repeated. Only what can lead to a tensor.
CHILDREN: dict[str, dict[int, tuple[str, str, bool]]] = {
    "Model": {
        7: ("graph", "Graph", False),
        20: ("training_info", "TrainingInfo", True),
        25: ("functions", "Function", True),
    },
    "TrainingInfo": {1: ("initialization", "Graph", False), 2: ("algorithm", "Graph", False)},
    "Function": {7: ("node", "Node", True), 11: ("attribute_proto", "Attribute", True)},
    "Graph": {
        1: ("node", "Node", True),
        5: ("initializer", "Tensor", True),
        15: ("sparse_initializer", "SparseTensor", True),
    },
    "Node": {5: ("attribute", "Attribute", True)},
    "Attribute": {
        5: ("t", "Tensor", False),
        6: ("g", "Graph", False),
        10: ("tensors", "Tensor", True),
        11: ("graphs", "Graph", True),
        22: ("sparse_tensor", "SparseTensor", False),
        23: ("sparse_tensors", "SparseTensor", True),
    },
    "SparseTensor": {1: ("values", "Tensor", False), 2: ("indices", "Tensor", False)},
    "Tensor": {},
}

# Of a tensor message.
DATA_TYPE, SEGMENT, RAW_DATA, FLOAT_DATA, DOUBLE_DATA, EXTERNAL_DATA, DATA_LOCATION = 2, 3, 9, 4, 10, 13, 14
DATA_FIELDS = {FLOAT_DATA, 5, 6, 7, RAW_DATA, DOUBLE_DATA, 11}
# Element types whose packed field has the bytes that raw_data would have: float and complex64, double and complex128.
PLAIN_TYPES = {FLOAT_DATA: {1, 14}, DOUBLE_DATA: {11, 15}}
STRING_TYPE = 8

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: positions in the file.

    Attributes:
        at: where its tag begins.
        sized_at: where its length begins (the end of the tag).
        start, end: its content, without tag and length.
        value: the number, where `wire` is VARINT.
    """

    number: int
    wire: int
    at: int
    sized_at: int
    start: int
    end: int
    value: int


@dataclass(frozen=True, eq=False)
class Message:
    """A message of a known kind inside the file; the outermost has no parent and no length."""

    kind: str
    sized_at: int
    start: int
    end: int
    parent: "Message | None"
    depth: int


def whole(source: Source) -> Message:
    """The file as a message."""
    return Message("Model", 0, 0, len(source), None, 0)


@dataclass
class Patience:
    """How many fields may still be looked at, so that a file of nothing but tiny ones does not keep us for hours."""

    left: int = field(default_factory=lambda: MOST_FIELDS)

    def spend(self) -> None:
        """One more.

        Raises:
            ModelError: there were too many.
        """
        self.left -= 1
        if self.left < 0:
            raise ModelError(f"has more than {MOST_FIELDS:,} fields outside of its tensors; {DAMAGED}")


def children(source: Source, message: Message, patience: Patience) -> Iterator[tuple[str, int, Message]]:
    """The messages inside that can lead to a tensor, with field name and ordinal within that field.

    Raises:
        ModelError: damaged, nested too deep, too many, or a field that may be there once is there twice (parsers would
            merge the two, and no position in the file is then the position of a value).
    """
    known = CHILDREN[message.kind]
    counts = dict.fromkeys(known, 0)
    for found in fields(source, message.start, message.end):
        patience.spend()
        if found.wire != BYTES or found.number not in known:
            continue
        name, kind, repeated = known[found.number]
        ordinal = counts[found.number]
        counts[found.number] += 1
        if ordinal and not repeated:
            raise ModelError(f"damaged at byte {found.at}: a second {name} in one {message.kind}; {DAMAGED}")
        if message.depth + 1 > MOST_NESTED:
            raise ModelError(
                f"damaged at byte {found.at}: nested more than {MOST_NESTED} messages deep, which no runtime reads; "
                "export with fewer bodies inside bodies"
            )
        yield name, ordinal, Message(kind, found.sized_at, found.start, found.end, message, message.depth + 1)


def every_message(source: Source) -> None:
    """Walk all that can lead to a tensor, however small.

    Raises:
        ModelError: damaged or nested too deep.
    """
    waiting, patience = [whole(source)], Patience()
    while waiting:
        waiting.extend(child for _, _, child in children(source, waiting.pop(), patience))


def fields(source: Source, start: int, end: int) -> Iterator[Field]:
    """The fields of the message from `start` to `end`.

    Raises:
        ModelError: one of them runs past the end, or there is no such kind of field.
    """
    position = start
    while position < end:
        at = position
        tag, position = varint(source, position, end)
        number, wire = tag >> 3, tag & 7
        sized_at, value = position, 0
        if wire == BYTES:
            size, position = varint(source, position, end)
        elif wire == VARINT:
            value, position = varint(source, position, end)
            size = 0
        elif wire in (FIXED32, FIXED64):
            size = 4 if wire == FIXED32 else 8
        else:
            raise ModelError(f"damaged at byte {at}: no field has wire type {wire}; {DAMAGED}")
        if number == 0 or size > end - position:
            what = "a field has number 0" if number == 0 else f"a field of {size} bytes runs past the end"
            raise ModelError(f"damaged at byte {at}: {what}; {DAMAGED}")
        yield Field(number, wire, at, sized_at, position, position + size, value)
        position += size


def varint(source: Source, position: int, end: int) -> tuple[int, int]:
    """A number of at most 64 bits, seven to a byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = source[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), position
    raise ModelError(f"damaged at byte {position}: a number has no end; {DAMAGED}")


def payload_of(source: Source, tensor: Message) -> Field | None:
    """The one data field of a tensor whose bytes are those of raw_data; None where there is no such one."""
    data_type = 0
    data: list[Field] = []
    for found in fields(source, tensor.start, tensor.end):
        if found.number in DATA_FIELDS:
            data.append(found)
        elif found.number == DATA_TYPE:
            data_type = found.value
        elif found.number in (SEGMENT, EXTERNAL_DATA) or (found.number == DATA_LOCATION and found.value):
            return None
        if len(data) > 1:
            return None
    if not data or data[0].wire != BYTES or data_type == STRING_TYPE:
        return None
    if data[0].number != RAW_DATA and data_type not in PLAIN_TYPES.get(data[0].number, ()):
        return None
    return data[0]


def sized(number: int, content: bytes) -> bytes:
    """A field with a length."""
    return as_varint(number << 3 | BYTES) + as_varint(len(content)) + content


def as_varint(value: int) -> bytes:
    """Seven bits to a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
