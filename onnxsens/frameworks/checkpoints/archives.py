"""Zip archives that hold weights: what is in them, told without reading it. Knows no format."""

import struct
import zipfile
import zlib
from pathlib import Path

from onnxsens.frameworks.checkpoints.checkpoint import damaged, quoted

MAGIC = b"PK\x03\x04"
# What zipfile raises on archives that are cut off, encrypted, or damaged anywhere.
BROKEN_ZIP = (
    zipfile.BadZipFile,
    RuntimeError,
    NotImplementedError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
LARGEST_RATIO = 1032  # bytes that deflate can make of one
SLACK = 1 << 16  # bytes


def entries_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """Of an archive, its files by name, in order.

    Raises:
        CheckpointError: it is cut off, has a name twice, or claims sizes that cannot be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [info for info in archive.infolist() if not info.filename.endswith("/")]
    except BROKEN_ZIP as error:
        raise damaged(path, "it is not a whole zip archive") from error
    size = path.stat().st_size
    for info in entries:
        if info.compress_size > size or info.file_size > LARGEST_RATIO * info.compress_size + SLACK:
            raise damaged(path, f"{quoted(info.filename)} claims {info.file_size} bytes, which cannot be")
        if info.flag_bits & 1:
            raise damaged(path, f"{quoted(info.filename)} is encrypted")
        if info.compress_type not in COMPRESSIONS:
            raise damaged(path, f"{quoted(info.filename)} is compressed in a way that no framework writes")
    found = {info.filename: info for info in entries}
    if len(found) < len(entries):
        raise damaged(path, "it has two entries of the same name")
    return found
