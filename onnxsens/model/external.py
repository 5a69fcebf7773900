"""Data files of a model: which may be read, and which bytes of them a tensor is.

A model names files, and whoever made it is not trusted. A data file is a regular file beneath the folder of the path
that was given; or, where that path is itself a link, beneath the folder that it leads to, as in the Hugging Face cache.
Hard links may be read, unless links are refused altogether. Offsets and lengths have to fit file and tensor, and all
tensors together may not claim far more bytes than there are.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import onnx

from onnxsens.errors import ModelError
from onnxsens.model.limits import DEFAULT, ReadLimits
from onnxsens.model.mapping import MappedFile
from onnxsens.model.names import shown, text
from onnxsens.model.values import numpy_type, stored_size
from onnxsens.model.wire import INSIDE

LONGEST_LOCATION = 4096  # characters; no system opens a longer path
MOST_TIMES = 4  # bytes claimed for each byte there is, so that few bytes do not become many
HARMLESS = 16 << 20  # claimed bytes below which nobody asks how often they are claimed
MOST_OPEN = 32  # some exporters write one file a tensor


class Place(NamedTuple):
    """Bytes of a file."""

    file: MappedFile
    offset: int
    length: int


@dataclass(frozen=True, eq=False)
class DataFiles:
    """The model's own file and its data files, by the location that tensors name."""

    own: MappedFile
    by_location: Mapping[str, MappedFile]

    def place_of(self, tensor: onnx.TensorProto) -> Place | None:
        """Where a tensor's bytes are; None where the message has them.

        Raises:
            ModelError: location, offset or length is nonsense, or they do not fit file and tensor.
        """
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            return None
        entries = entries_of(tensor)
        location = entries.get("location", "")
        if location == INSIDE:
            file, where = self.own, f"data of '{shown(tensor.name)}'"
        else:
            file, where = self.by_location[location], f"external data of '{shown(tensor.name)}' at '{shown(location)}'"
            self.limit_open(file)
        size = stored_size(tensor)
        offset, length = (number(entries, key, where) for key in ("offset", "length"))
        if length not in (None, size):
            raise ModelError(f"{where} has {length} bytes where its shape and type take {size}; export the model again")
        if (offset or 0) + size > file.size:
            raise ModelError(
                f"{where} cannot be read: it ends at byte {(offset or 0) + size} of a file of {file.size} bytes; "
                "check that the download or export finished"
            )
        return Place(file, offset or 0, size)

    def is_outside(self, tensor: onnx.TensorProto) -> bool:
        """Whether a tensor's bytes are in a data file, not in the model's own."""
        place = self.place_of(tensor)
        return place is not None and place.file is not self.own

    def refuse_changed(self) -> None:
        """Look at all files once more: whoever is given a path opens what is there by then.

        Raises:
            ModelError: one is gone, or is not what it was when the model was opened.
        """
        for file in dict.fromkeys([self.own, *self.by_location.values()]):
            file.refuse_changed()

    def limit_open(self, wanted: MappedFile) -> None:
        """Let go of the other maps where there are many."""
        if len(self.by_location) > MOST_OPEN:
            for file in self.by_location.values():
                if file is not wanted:
                    file.close()


def data_files(
    path: Path, own: MappedFile, tensors: Iterable[onnx.TensorProto], limits: ReadLimits = DEFAULT
) -> DataFiles:
    """Resolve all locations that these tensors name, and check all that is claimed of them.

    Args:
        path: of the model as it was given, which may be a link.
    Raises:
        ModelError: any of them is against the rules; one line that names tensor and location.
    """
    by_location: dict[str, MappedFile] = {}
    by_path: dict[Path, MappedFile] = {}
    files = DataFiles(own, by_location)
    claimed = 0
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = entries_of(tensor).get("location", "")
        if location != INSIDE and location not in by_location:
            real = resolved(path, location, tensor.name)
            by_location[location] = by_path.get(real) or examined(real, location, tensor.name)
            if limits.strict_links:
                refuse_links(path, location, by_location[location], tensor.name)
            by_path[real] = by_location[location]
        place = files.place_of(tensor)
        claimed += place.length if place and place.file is not own else 0
    there = sum({file.identity: file.size for file in by_path.values()}.values())  # hard links are one file
    if claimed > max(MOST_TIMES * there, HARMLESS):
        raise ModelError(
            f"tensors of '{path.name}' claim {claimed:,} bytes of external data where the data files have {there:,}, "
            f"as with '{shown(next(iter(by_location)))}'; at most {MOST_TIMES} times that are read; "
            "export the model again"
        )
    if own.size + claimed > limits.max_model_bytes:
        raise ModelError(
            f"'{path.name}' takes {own.size + claimed:,} bytes with its external data, and at most "
            f"{limits.max_model_bytes:,} are read; give --max-model-bytes to read more"
        )
    return files


def entries_of(tensor: onnx.TensorProto) -> dict[str, str]:
    """The tensor's external data entries.

    Raises:
        ModelError: one is there twice, so that readers would differ in which counts.
    """
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if text(entry.key) in entries:
            raise ModelError(
                f"external data of '{shown(tensor.name)}' at '{shown(entries.get('location', ''))}' has two entries "
                f"'{shown(entry.key)}'; export the model again"
            )
        entries[text(entry.key)] = text(entry.value)
    return entries


def number(entries: Mapping[str, str], key: str, where: str) -> int | None:
    """An entry that is a number of bytes; None where it is not given."""
    given = entries.get(key)
    if given is None:
        return None
    if not re.fullmatch("[0-9]{1,19}", given):
        raise ModelError(f"{where} has the {key} '{shown(given)}', which is no number of bytes; export the model again")
    return int(given)


def resolved(path: Path, location: str, name: str | bytes) -> Path:
    """The real path of a data file.

    Raises:
        ModelError: it is outside the model's folder, or does not exist.
    """
    outside = ModelError(
        f"external data of '{shown(name)}' is at '{shown(location)}', outside the model's folder; "
        "put it beside the model and save again"
    )
    parts = PurePosixPath(location)
    foreign = PureWindowsPath(location).drive or "\\" in location or "\0" in location
    if not location or foreign or parts.is_absolute() or ".." in parts.parts:
        raise outside
    if len(location) > LONGEST_LOCATION:
        raise ModelError(
            f"external data of '{shown(name)}' is at '{shown(location)}', a path of {len(location):,} characters; "
            "export the model again"
        )
    allowed = [Path(os.path.realpath(path.parent))]
    if path.is_symlink():
        allowed.append(Path(os.path.realpath(path)).parent)
    real = Path(os.path.realpath(path.parent / location))
    if not any(real.is_relative_to(folder) for folder in allowed):
        raise outside
    return real


def examined(real: Path, location: str, name: str | bytes) -> MappedFile:
    """The file at a resolved path."""
    try:
        file = MappedFile(real)
        moved = Path(os.path.realpath(real)) != real
    except FileNotFoundError:
        raise ModelError(
            f"external data file '{shown(location)}' is missing, which holds '{shown(name)}'; put it beside the model"
        ) from None
    except OSError as error:
        raise ModelError(
            f"external data of '{shown(name)}' at '{shown(location)}' cannot be read: {error.strerror}; "
            "check permissions"
        ) from error
    except ModelError:
        raise ModelError(
            f"external data of '{shown(name)}' is at '{shown(location)}', which is not a regular file; "
            "put the data file beside the model"
        ) from None
    if moved:
        raise ModelError(
            f"external data file '{shown(location)}' of '{shown(name)}' moved while it was opened; try again"
        )
    return file


def refuse_links(path: Path, location: str, file: MappedFile, name: str | bytes) -> None:
    """For those who want none: no link on the way from the model's folder, and one name on the disk.

    Raises:
        ModelError: there is one.
    """
    what = f"external data of '{shown(name)}' at '{shown(location)}'"
    beside = Path(os.path.realpath(path.parent))
    if path.is_symlink() or file.path != beside / PurePosixPath(location):
        raise ModelError(f"{what} is reached through a link, which --strict-links refuses; copy the files themselves")
    if file.links > 1:
        raise ModelError(
            f"{what} has {file.links} names on disk (hard links), which --strict-links refuses; copy the file"
        )


def notes_on(files: DataFiles, tensors: Iterable[onnx.TensorProto]) -> Iterator[str]:
    """What is unusual about the data files and allowed: shared bytes, odd offsets, hard links. One line each."""
    claims: dict[str, list[tuple[int, int, str]]] = {}
    odd: dict[str, list[tuple[str, int]]] = {}
    for tensor in tensors:
        place = files.place_of(tensor)
        if place is None or place.file is files.own:
            continue
        location = entries_of(tensor)["location"]
        claims.setdefault(str(place.file.path), []).append(
            (place.offset, place.offset + place.length, text(tensor.name))
        )
        if place.offset % numpy_type(tensor.data_type, tensor.name).itemsize:
            odd.setdefault(location, []).append((text(tensor.name), place.offset))
    for location, file in sorted(files.by_location.items()):
        shared = sharing(claims.pop(str(file.path), []))
        if shared:
            first, second = shared[0]
            yield (
                f"'{shown(location)}': {len(shared)} tensors share bytes with another, first '{shown(second)}' with "
                f"'{shown(first)}'"
            )
        for name, offset in odd.get(location, [])[:1]:
            count = len(odd[location])
            yield (
                f"'{shown(location)}': {count} tensors begin where their element size does not divide the offset, "
                f"first '{shown(name)}' at byte {offset}"
            )
        if file.links > 1:
            yield f"'{shown(location)}' has {file.links} names on disk (hard links): a change through one changes all"


def sharing(ranges: list[tuple[int, int, str]]) -> list[tuple[str, str]]:
    """Pairs of names, one for each range that begins before one that began earlier has ended."""
    pairs = []
    reach, holder = 0, ""
    for start, end, name in sorted(ranges):
        if start < reach and end > start:
            pairs.append((holder, name))
        if end > reach:
            reach, holder = end, name
    return pairs
