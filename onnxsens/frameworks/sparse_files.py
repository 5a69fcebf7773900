"""`masks.safetensors` and `weights.safetensors`: what the two files are, and reading them strictly into numpy.

A mask is stored as one uint8 tensor a parameter, either a byte an element (packing `bytes`: the parameter's shape,
1 = kept, 0 = zero) or a bit an element (packing `bits`: 1-D, row-major, the highest bit of a byte first, what is left
of the last byte 0). The file's metadata are texts: `format`, `packing`, `shapes` as JSON {name: shape}, `aliases` as
JSON {name: [other names of the same storage]}. Knows no plan, no model and no framework.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxsens.arrays import AnyArray, BoolArray
from onnxsens.errors import CheckpointError, PlanError
from onnxsens.frameworks.checkpoints.safetensors import TYPES, Header, parameters_of, read_header
from onnxsens.strict_json import StrictJSONError, read_json_object

MASKS_FORMAT: Final = "onnxsens.masks/1"
WEIGHTS_FORMAT: Final = "onnxsens.weights/1"
BYTES: Final = "bytes"
BITS: Final = "bits"


def pack(mask: BoolArray) -> NDArray[np.uint8]:
    """A bit an element, row-major, the highest bit of a byte first; `[ceil(size / 8)]`."""
    return np.packbits(mask, axis=None)


def unpack(bits: NDArray[np.uint8], shape: Sequence[int]) -> BoolArray:
    """The mask that `pack` made of one of this shape.

    Raises:
        ValueError: the bytes are too few or too many for the shape, or bits behind the last element are set.
    """
    size = math.prod(shape)
    if bits.ndim != 1 or bits.size != -(-size // 8):
        raise ValueError(f"{bits.size} bytes for {size} bits")
    mask = np.unpackbits(bits).astype(np.bool_)
    if mask[size:].any():
        raise ValueError("bits behind the last element")
    return mask[:size].reshape(tuple(shape))


def read_masks(path: str | Path) -> dict[str, BoolArray]:
    """Every mask of a file by its parameter's name, in the parameter's shape; True where kept.

    Raises:
        PlanError: not a file of masks, or damaged.
    """
    path = Path(path)
    header = checked(path, MASKS_FORMAT, "masks")
    packing = header.metadata.get("packing")
    if packing not in {BYTES, BITS}:
        raise broken(path, f"packing {packing!r} is neither '{BYTES}' nor '{BITS}'")
    shapes = shapes_in(path, header)
    names = [entry.name for entry in header.entries]
    if (shapes is None and packing == BITS) or (shapes is not None and set(shapes) != set(names)):
        raise broken(path, "its 'shapes' are not those of its tensors")
    masks = {}
    for name, stored in arrays_of(path).items():
        if stored.dtype != np.uint8:
            raise broken(path, f"mask '{name}' is of {stored.dtype}, not uint8")
        shape = stored.shape if shapes is None else shapes[name]
        try:
            masks[name] = unpack(stored, shape) if packing == BITS else from_bytes(stored, shape)
        except ValueError as error:
            raise broken(path, f"mask '{name}': {error}") from error
    return masks


def from_bytes(stored: NDArray[np.uint8], shape: Sequence[int]) -> BoolArray:
    """The mask that is stored a byte an element.

    Raises:
        ValueError: it has another shape, or a value other than 0 and 1.
    """
    if stored.shape != tuple(shape):
        raise ValueError(f"shape {list(stored.shape)} where {list(shape)} is stated")
    if stored.size and stored.max() > 1:
        raise ValueError("a value that is neither 0 nor 1")
    return stored.view(np.bool_)


def read_aliases(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Of the masks of a file, the other names of the same storage.

    Raises:
        PlanError: not a file of masks, or damaged.
    """
    path = Path(path)
    header = checked(path, MASKS_FORMAT, "masks")
    found = object_in(path, header, "aliases") or {}
    names = {entry.name for entry in header.entries}
    for name, others in found.items():
        if name not in names or not isinstance(others, list) or not all(isinstance(other, str) for other in others):
            raise broken(path, f"its 'aliases' of '{name}' are no names")
    return {name: tuple(others) for name, others in found.items()}


def read_weights(path: str | Path) -> dict[str, AnyArray]:
    """Every updated parameter of a file by its name, in its own type and shape.

    Raises:
        PlanError: not a file of weights, or damaged.
    """
    path = Path(path)
    header = checked(path, WEIGHTS_FORMAT, "weights")
    strange = [entry for entry in header.entries if entry.dtype not in TYPES]
    if strange:
        raise broken(path, f"'{strange[0].name}' is of the unknown type '{strange[0].dtype}'")
    return arrays_of(path)


def plan_of(path: str | Path) -> str:
    """SHA-256 of the plan that a file of masks or weights was made from; empty where it does not say.

    Raises:
        PlanError: it is no safetensors file.
    """
    try:
        return read_header(Path(path)).metadata.get("plan_sha256", "")
    except CheckpointError as error:
        raise PlanError(str(error)) from error


def refuse_two_plans(masks: object, weights: object) -> None:
    """Stop where masks and values are files of different plans.

    Raises:
        PlanError: they are.
    """
    if isinstance(masks, str | Path) and isinstance(weights, str | Path) and plan_of(masks) != plan_of(weights):
        raise PlanError(f"'{masks}' and '{weights}' are of two plans; export both again")


def masks_in(masks: str | Path | Mapping[str, Any]) -> dict[str, BoolArray]:
    """Masks as an applier is given them: the path of a file, or arrays by name, True or 1 where kept.

    Raises:
        PlanError: the file is damaged, or an array is no mask.
    """
    if isinstance(masks, str | Path):
        return read_masks(masks)
    found = {}
    for name, given in masks.items():
        array = np.asarray(given)
        if array.dtype.kind not in "biu" or not np.isin(array, (0, 1)).all():
            raise PlanError(f"mask '{name}' holds values other than 0 and 1; hand in True where a value is kept")
        found[name] = array.astype(np.bool_)
    return found


def weights_in(weights: str | Path | Mapping[str, Any] | None) -> dict[str, AnyArray]:
    """Updated values as an applier is given them: the path of a file, arrays by name, or nothing.

    Raises:
        PlanError: the file is damaged.
    """
    if weights is None:
        return {}
    if isinstance(weights, str | Path):
        return read_weights(weights)
    return {name: np.asarray(values) for name, values in weights.items()}


def checked(path: Path, format_name: str, noun: str) -> Header:
    """The header of a file that says it is of this format.

    Raises:
        PlanError: it is of another one, or damaged.
    """
    try:
        header = read_header(path)
    except CheckpointError as error:
        raise PlanError(str(error).replace("checkpoint", f"file of {noun}", 1)) from error
    found = header.metadata.get("format")
    if found != format_name:
        raise PlanError(
            f"'{path}' is no file of {noun}: its format is {found!r}, not '{format_name}'; "
            f"hand in {noun}.safetensors as onnxsens wrote it"
        )
    return header


def arrays_of(path: Path) -> dict[str, AnyArray]:
    """The tensors of a file, by name.

    Raises:
        PlanError: it is damaged.
    """
    try:
        return {parameter.name: parameter.read() for parameter in parameters_of(path)[0]}
    except CheckpointError as error:
        raise PlanError(str(error)) from error


def shapes_in(path: Path, header: Header) -> dict[str, tuple[int, ...]] | None:
    """Raises:
    PlanError: what stands there are no shapes.
    """
    found = object_in(path, header, "shapes")
    if found is None:
        return None
    for name, shape in found.items():
        if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
            raise broken(path, f"its 'shapes' of '{name}' are no shape")
    return {name: tuple(shape) for name, shape in found.items()}


def object_in(path: Path, header: Header, key: str) -> dict[str, Any] | None:
    """A JSON object of the metadata; None where there is none.

    Raises:
        PlanError: it is something else.
    """
    text = header.metadata.get(key)
    if text is None:
        return None
    try:
        return read_json_object(text)
    except StrictJSONError as error:
        raise broken(path, f"its '{key}' are no JSON object: {error}") from error


def broken(path: Path, why: str) -> PlanError:
    """The error for a file that contradicts itself."""
    return PlanError(f"'{path}' is damaged: {why}; export it again")
