"""A folder of images: one sub-folder per class, or `labels.csv` beside the images, or no labels at all.

Needs Pillow. Images become uint8 in RGB or grey, whichever the model takes; alpha is dropped and orientation tags are
not followed, as torchvision's loader does.
"""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, check_size, only_input
from onnxsens.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
_LABELS = "labels.csv"
_LARGEST_TABLE = 64 << 20  # bytes
_LONGEST_SHOWN = 80
# Pillow's names for at most 8 bits a channel; deeper ones would be clipped without a word.
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})


@dataclass(frozen=True)
class Images:
    """An image folder, for models with one input of 1 or 3 channels, NCHW or NHWC.

    A class is its sub-folder's index among the sorted names; an empty sub-folder counts, so that a subset keeps the
    class numbers of the whole. Images are resized (bilinear) where the model fixes height and width, and must be of
    one size where it does not.
    """

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """Every folder without `.npz` files."""
        return Path(spec).is_dir() and not any(Path(spec).glob("*.npz"))

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """The images, decoded, in the order of their names."""
        paths, labels = _listed(Path(spec))
        only = only_input(inputs, f"'{spec}'", "save an npz with one array per input")
        layout = _Layout.of(only)
        return RawSamples({only.name: self._decoded(paths, layout, f"'{spec}'")}, labels)

    def _decoded(self, paths: Sequence[Path], layout: "_Layout", where: str) -> AnyArray:
        if layout.size is not None:  # a model may ask for any; it is looked at before anything is made so large
            check_size(len(paths) * layout.channels * prod(layout.size), self.max_data_bytes, where)
        first = _pixels(paths[0], layout)
        check_size(len(paths) * first.nbytes, self.max_data_bytes, where)
        samples = np.empty((len(paths), *first.shape), np.uint8)
        for index, path in enumerate(paths):
            pixels = _pixels(path, layout)
            if pixels.shape != first.shape:
                raise DataError(
                    f"'{path}' is {pixels.shape[1]} x {pixels.shape[0]} pixels and '{paths[0]}' "
                    f"{first.shape[1]} x {first.shape[0]}, and the model fixes no size; make them alike"
                )
            samples[index] = pixels
        return samples if layout.channels_last else np.moveaxis(samples, 3, 1)


@dataclass(frozen=True)
class _Layout:
    """How the model wants an image."""

    channels: int
    channels_last: bool
    size: tuple[int, int] | None  # width, height, where the model fixes both

    @classmethod
    def of(cls, spec: TensorSpec) -> "_Layout":
        if spec.shape is None or len(spec.shape) != 4:
            raise DataError(f"input '{spec.name}' is {spec.text}, which is no image; give samples as npz")
        _, second, third, last = spec.shape
        first_fits, last_fits = second in (1, 3), last in (1, 3)
        if first_fits == last_fits:
            why = "both its second and its last axis" if first_fits else "neither its second nor its last axis"
            raise DataError(f"input '{spec.name}' is {spec.text}: {why} can be 1 or 3 channels; give samples as npz")
        channels, height, width = (last, second, third) if last_fits else (second, third, last)
        size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        return cls(3 if channels == 3 else 1, last_fits, size)


def _listed(folder: Path) -> tuple[list[Path], AnyArray | None]:
    """The images, and a class number for each where there are any."""
    entries = _entries(folder)
    classes = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir() and entry.name != _LABELS]
    table = folder / _LABELS
    if classes and (files or table.is_file()):
        raise DataError(f"'{folder}' holds both sub-folders and '{(files or [table])[0].name}'; keep one or the other")
    members = [_entries(one) for one in classes] if classes else [files]
    paths = [path for member in members for path in member]
    if not paths:
        raise DataError(f"'{folder}' holds no .npz files and no images; check the path")
    for path in paths:
        if path.suffix.lower() not in _FORMATS or not path.is_file():
            raise DataError(f"'{path}' is not a png, jpeg, bmp or webp image; convert or remove it")
    if classes:
        return paths, np.repeat(np.arange(len(classes)), [len(member) for member in members])
    return paths, _from_table(table, paths) if table.is_file() else None


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, hidden files aside, sorted by name."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _from_table(table: Path, paths: Sequence[Path]) -> AnyArray:
    """The label of each path, from lines of `file,label`."""
    labels: dict[str, int] = {}
    known = {path.name for path in paths}
    try:
        if table.stat().st_size > _LARGEST_TABLE:
            raise DataError(
                f"'{table}' is larger than {_LARGEST_TABLE >> 20} MiB; write FILE,CLASS_NUMBER in each line"
            )
        rows = list(csv.reader(table.read_text("utf-8-sig").splitlines(), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{table}' cannot be read ({error}); save it as UTF-8 text") from error
    if rows and [cell.strip().lower() for cell in rows[0]] == ["file", "label"]:
        rows[0] = []
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            name, label = row
            value = int(label)
            np.int64(value)
        except (ValueError, OverflowError) as error:
            text = ",".join(row)[:_LONGEST_SHOWN]
            raise DataError(f"'{table}' line {number} is {text!r}; write FILE,CLASS_NUMBER") from error
        if name not in known or name in labels:
            why = "is listed twice" if name in labels else "is not beside it"
            raise DataError(
                f"'{table}' line {number}: {name[:_LONGEST_SHOWN]!r} {why}; list each image of the folder once"
            )
        labels[name] = value
    for path in paths:
        if path.name not in labels:
            raise DataError(f"'{table}' has no line for '{path.name}'; list each image of the folder once")
    return np.array([labels[path.name] for path in paths], np.int64)


def _pixels(path: Path, layout: _Layout) -> AnyArray:
    """`[height, width, channels]`, uint8."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError("images need Pillow, which is missing; pip install 'onnxsens[images]'") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # MAX_IMAGE_PIXELS is a limit here
            with _open(path) as image:
                image.verify()
            with _open(path) as image:
                return _converted(image, path, layout)
    except DataError:
        raise
    # On broken bytes Pillow's decoders raise nearly anything: SyntaxError, struct.error, IndexError, zlib.error.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"'{path}' cannot be read as an image ({reason}); replace or remove it") from error


def _open(path: Path) -> "Image":
    from PIL import Image

    return Image.open(path, formats=sorted(set(_FORMATS.values())))


def _converted(image: "Image", path: Path, layout: _Layout) -> AnyArray:
    from PIL import Image

    if image.mode not in _MODES:
        raise DataError(f"'{path}' has pixels of mode '{image.mode}', which 8 bits cannot hold; convert it")
    if getattr(image, "is_animated", False):
        raise DataError(f"'{path}' is animated; save one frame")
    plain = image.convert("RGB" if layout.channels == 3 else "L")
    if layout.size is not None and plain.size != layout.size:
        plain = plain.resize(layout.size, Image.Resampling.BILINEAR)
    return np.asarray(plain, np.uint8).reshape(plain.height, plain.width, layout.channels)
