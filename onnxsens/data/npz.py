"""`samples.npz`: one array per input, by input name, and `labels`. Reads numbers only, never a pickle.

An archive comes from somewhere, so what it declares is held against limits before anything is unpacked, and what is
unpacked against what was declared.
"""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.npy import MAPPED_FROM, checked_header, mapped, read_values
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, by_input, check_size, existing_file
from onnxsens.errors import DataError

# An archive that unpacks to more than this many times its size is refused, unless it stays small anyway: deflate makes
# a thousandth of zeros, and there are data sets of little else.
_MAX_RATIO = 200
_SMALL = 64 * 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MOST_MEMBERS = 10_000
_PIECE = 4 * 2**20  # bytes
_LOCAL_HEADER = 30  # bytes of a member before its name

_SAVE_AGAIN = "save it again with numpy.savez"


@dataclass(frozen=True)
class Npz:
    """One npz file; with a single-input model, its one array besides `labels` may have any name."""

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """Every `.npz` that is not a folder."""
        return Path(spec).suffix.lower() == ".npz" and not Path(spec).is_dir()

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """The arrays of the file, unpacked."""
        return by_input(read_npz(existing_file(spec), self.max_data_bytes), inputs, f"'{spec}'")


def read_npz(path: Path, limit: int) -> dict[str, AnyArray]:
    """The arrays of an npz file by name, read-only.

    Raises:
        DataError: no zip, broken, more than `limit` bytes, or members other than plain arrays.
    """
    where = f"'{path}'"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_declared(members, path.stat().st_size, limit, where)
            return {member.filename.removesuffix(".npy"): _read(path, archive, member, where) for member in members}
    # All that zipfile raises on broken or foreign archives; RuntimeError is its word for an encrypted member.
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{where} cannot be read as npz ({reason}); {_SAVE_AGAIN}") from error


def _check_declared(members: Sequence[zipfile.ZipInfo], packed: int, limit: int, where: str) -> None:
    names = [member.filename for member in members]
    if not names:
        raise DataError(f"{where} holds no arrays; {_SAVE_AGAIN}")
    if len(names) > _MOST_MEMBERS:
        raise DataError(f"{where} has {len(names):,} members; save one array per input")
    for name in names:
        # Inputs may be called "a/b". Nothing is ever unpacked to disk; what looks like an attempt is no array of ours.
        if name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise DataError(f"{where} has a member {name!r}, which is a path; name arrays like the model's inputs")
        if not name.endswith(".npy"):
            raise DataError(f"{where} has a member {name!r}, which is not an array; {_SAVE_AGAIN}")
        if names.count(name) > 1:
            raise DataError(f"{where} has {name!r} more than once; {_SAVE_AGAIN}")
    if any(member.compress_type not in _COMPRESSIONS for member in members):
        raise DataError(f"{where} is compressed in a way that numpy does not write; {_SAVE_AGAIN}")
    # numpy writes none; a damaged length makes a comment of the members that follow, which would then be missed.
    if any(member.comment for member in members):
        raise DataError(f"{where} has comments on its members and may be damaged; {_SAVE_AGAIN}")
    size = sum(member.file_size for member in members)
    check_size(size, limit, where)
    # Against the size of the file, since what members declare as their packed size may overlap or lie.
    if size > _SMALL and size > _MAX_RATIO * packed:
        raise DataError(
            f"{where} unpacks to {size / packed:.0f} times its size, more than {_MAX_RATIO}; "
            "if that is right, save it with numpy.savez, uncompressed"
        )


def _read(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> AnyArray:
    what = f"{where}: array {member.filename.removesuffix('.npy')!r}"
    with archive.open(member) as stream:
        header = checked_header(stream, member.file_size, what)
        if member.compress_type != zipfile.ZIP_STORED or member.file_size < MAPPED_FROM:
            return read_values(stream, header, what)
        while stream.read(_PIECE):  # to its end, where its checksum is looked at
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset)
        local = file.read(_LOCAL_HEADER)
        name, extra = (int.from_bytes(local[at : at + 2], "little") for at in (26, 28))
        return mapped(file, member.header_offset + _LOCAL_HEADER + name + extra, header)
