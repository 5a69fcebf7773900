"""Damage to bytes, to JSON and to archives, from a seed: the same bytes every time. Knows no reader."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

MOST_STEPS = 3
NUMBERS = (0, 1, -1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63))
LONGEST_VARINT = b"\xff" * 9 + b"\x01"
# In place of a value of a document. Text, since some of it no encoder would write.
JSON_VALUES = (
    *("null", "true", "0", "-1", "1.5", "-0.0", "1e999", "-1e999", "NaN", "Infinity", "1e-400"),
    *(str(2**63), str(-(2**64)), "9" * 5000, "1" + "0" * 400, '""', "[]", "{}", "[[]]", '[null, 1, "a"]'),
    *(
        '"\\ud800"',
        '"\\u0000"',
        '"\\u202e../../x"',
        '"' + "a" * 3000 + '"',
        "[" * 3000 + "]" * 3000,
        '{"a": 1, "a": 2}',
    ),
)
HOSTILE = (
    *("", "../../../x", "/etc/passwd", "C:\\x", "a\0b", "a\nb", "\x1b[31mred", "=1+1", "<script>alert(1)</script>"),
    *("\u202etxt", "\ud7ff\uffff", "x" * 5000, "x", "0", "labels", "labels.npy", "a/b.npy", ".npy"),
)


def mutated(content: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """One to three changes of bytes.

    Args:
        others: files that a piece may come from.
    """
    made = bytearray(content)
    for _ in range(rng.randint(1, MOST_STEPS)):
        rng.choice(STEPS)(made, rng, others)
    return bytes(made)


Step = Callable[[bytearray, Random, Sequence[bytes]], None]


def place(made: bytearray, rng: Random) -> int:
    """Anywhere, the end included; more often near the beginning, where structure is."""
    return rng.randint(0, min(len(made), 64) if rng.random() < 0.2 else len(made))


def flip(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """One bit."""
    if made:
        made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)


def replace_byte(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """One byte."""
    if made:
        made[min(place(made, rng), len(made) - 1)] = rng.randrange(256)


def replace_number(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """One, two, four or eight bytes, by a number at some limit."""
    at, width = place(made, rng), rng.choice((1, 2, 4, 8))
    number = rng.choice(NUMBERS) & (1 << 8 * width) - 1
    made[at : at + width] = number.to_bytes(width, rng.choice(("little", "big")))


def insert_varint(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """The largest number that a protobuf message can have, put in or in place of a byte."""
    at = place(made, rng)
    made[at : at + rng.randint(0, 1)] = LONGEST_VARINT


def insert_bytes(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """A few bytes of anything."""
    at = place(made, rng)
    made[at:at] = rng.randbytes(rng.randint(1, 8))


def delete(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """A few bytes."""
    at = place(made, rng)
    del made[at : at + rng.randint(1, 16)]


def double(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """A piece once more, there or elsewhere."""
    at = place(made, rng)
    piece = bytes(made[at : at + rng.randint(1, 64)])
    to = at if rng.random() < 0.5 else place(made, rng)
    made[to:to] = piece


def truncate(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """The end cut off."""
    del made[place(made, rng) :]


def splice(made: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    """A piece of another file."""
    if others:
        other = rng.choice(others)
        start = rng.randint(0, len(other))
        at = place(made, rng)
        made[at : at + rng.choice((0, rng.randint(0, 64)))] = other[start : start + rng.randint(1, 200)]


STEPS: tuple[Step, ...] = (
    flip,
    flip,
    replace_byte,
    replace_byte,
    replace_number,
    insert_varint,
    insert_bytes,
    delete,
    double,
    truncate,
    splice,
)


def mutated_json(content: bytes, rng: Random) -> bytes:
    """A document with one to three values that are not what they were: replaced, left out, doubled, moved, renamed."""
    document = json.loads(content)
    marks: dict[str, str] = {}
    for _ in range(rng.randint(1, MOST_STEPS)):
        document = one_value_other(document, rng, marks)
    text = json.dumps(document)
    for mark, value in marks.items():
        text = text.replace(f'"{mark}"', value)
    return text.encode()


def one_value_other(document: Any, rng: Random, marks: dict[str, str]) -> Any:
    """The document, changed in place where it can be."""
    places = list(places_in(document))
    if not places:
        return document
    holder, key = rng.choice(places)
    value = holder[key]
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(HOSTILE)] = holder.pop(key)
        case 1:
            holder.insert(key, value)
        case 2:
            other, name = rng.choice(places)
            holder[key] = json.loads(json.dumps(other[name])) if isinstance(other, dict) or name < len(other) else None
        case 3 if isinstance(value, bool):
            holder[key] = not value
        case 3 if isinstance(value, int | float):
            holder[key] = rng.choice((*NUMBERS, value + 1, value - 1, -value, value / 2, value * 1e9))
        case 3 | 4 if isinstance(value, str):
            holder[key] = rng.choice((*HOSTILE, value[:-1], value + "0", value.upper()))
        case _:
            mark = f"mark {len(marks)}"
            marks[mark] = rng.choice(JSON_VALUES)
            holder[key] = mark
    return document


def places_in(document: Any) -> list[tuple[Any, Any]]:
    """Every value of a document, as what holds it and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list):
            keys: Sequence[Any] = list(holder) if isinstance(holder, dict) else range(len(holder))
            found += [(holder, key) for key in keys]
            waiting += [holder[key] for key in keys]
    return found


def mutated_zip(content: bytes, rng: Random, inner: Callable[[bytes, Random], bytes], *, packed: bool = True) -> bytes:
    """An archive that is sound as such, with another member than it was: content, name, number, way of packing.

    Args:
        inner: damages what a member holds.
        packed: whether members may be compressed.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, held = members[at]
    way = zipfile.ZIP_STORED
    match rng.randrange(8):
        case 0:
            members[at] = (rng.choice(HOSTILE) or "x", held)
        case 1:
            members.append(members[at])
        case 2:
            del members[at]
        case 3 if packed:
            way = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case 4 if packed:
            members[at] = (name, held + bytes(1 << 20))
            way = zipfile.ZIP_DEFLATED
        case _:
            members[at] = (name, inner(held, rng))
    return zipped(members, way)


def zipped(members: Sequence[tuple[str, bytes]], way: int = zipfile.ZIP_STORED) -> bytes:
    """An archive, the same bytes every time; names may be there twice."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", way) as archive:
        archive._didModify = True  # type: ignore[attr-defined]  # it writes its end even where it has no members
        for name, held in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = way
            archive.NameToInfo.pop(info.filename, None)  # else it warns of what is meant here
            archive.writestr(info, held)
    return made.getvalue()


def mutated_npy(content: bytes, rng: Random) -> bytes:
    """An array with another header, of the length that it says, or with other bytes."""
    if rng.random() < 0.3 or not content.startswith(b"\x93NUMPY"):
        return mutated(content, rng)
    length = int.from_bytes(content[8:10], "little")
    header, rest = content[10 : 10 + length].decode("latin1"), content[10 + length :]
    old, new = rng.choice(NPY_CHANGES)
    if old == "shape":
        start = header.index("(")
        header = header[:start] + new + header[header.index(")", start) + 1 :]
    elif old == "descr":
        start = header.index("'descr': ") + 9
        header = header[:start] + new + header[header.index(",", start) :]
    else:
        header = header.replace(old, new)
    if rng.random() < 0.2:
        header = mutated(header.encode("latin1"), rng).decode("latin1")
    if rng.random() < 0.2:
        rest = mutated(rest, rng)
    text = header.encode("latin1")[:65535]
    return content[:8] + struct.pack("<H", len(text)) + text + rest


NPY_CHANGES = (
    *(("shape", shape) for shape in ("()", "(0,)", "(-1,)", "(1,)", "(4611686018427387904, 4)", "(3, -3)", "(1e3,)")),
    *(
        ("shape", shape)
        for shape in ("(True,)", "((1,),)", "[2]", "(" + "1," * 70 + ")", "(999999999999999999999,)", "(2,")
    ),
    *(
        ("descr", f"'{text}'")
        for text in ("|O", "<f2", ">f4", "<f8", "|V4", "<U9", "|S3", "<c8", "<M8[s]", "|b1", "<f3")
    ),
    *(("descr", text) for text in ("[('a', '<f4')]", "'<i8'", "''", "None", "[]", "('<f4', (2,))", "__import__('os')")),
    *(
        ("False", "True"),
        ("'shape'", "'shap'"),
        ("{", ""),
        ("}", ""),
        ("}", "}" * 9),
        ("{", "{" * 900),
        ("}", ", 1: 2}"),
    ),
)


def mutated_safetensors(content: bytes, rng: Random) -> bytes:
    """A file whose header says something else, at its right length; or other bytes."""
    if rng.random() < 0.3:
        return mutated(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = mutated_json(content[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def repacked(content: bytes, rng: Random) -> bytes:
    """What a member of a compressed stream would be; damaged below its checksum."""
    return zlib.compress(mutated(zlib.decompress(content), rng))
