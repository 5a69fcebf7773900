"""Tensors by name in a file that other programs read too: safetensors.

Element types that the format has no name for in numpy, such as 4-bit integers, are kept as bytes, with the type and
shape in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from onnxsens.arrays import AnyArray
from onnxsens.errors import PlanError
from onnxsens.files import storage_errors, write_atomically
from onnxsens.strict_json import read_json

PLAIN = frozenset(
    ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]
)  # numpy's names of what the format has
AS_BYTES = "as_bytes"


def write_tensors(path: Path, tensors: Mapping[str, AnyArray]) -> None:
    """Complete or not at all; the same tensors give the same bytes."""
    plain: dict[str, AnyArray] = {}
    others: dict[str, dict[str, object]] = {}
    for name, values in sorted(tensors.items()):
        ordered = np.ascontiguousarray(values).reshape(values.shape)  # which makes one axis of none
        if values.dtype.name in PLAIN:
            plain[name] = ordered
        else:
            plain[name] = ordered.reshape(-1).view(np.uint8)
            others[name] = {"dtype": values.dtype.name, "shape": list(values.shape)}
    metadata = {AS_BYTES: json.dumps(others, sort_keys=True)} if others else None
    write_atomically(path, [save(plain, metadata)])


def read_tensors(path: Path, like: Mapping[str, AnyArray] | None = None) -> dict[str, AnyArray]:
    """All of them.

    Args:
        like: by name, arrays of the types that are not plain.
    Raises:
        PlanError: it is no such file.
    """
    try:
        with storage_errors(path.parent), safe_open(path, framework="numpy") as file:
            others = read_json((file.metadata() or {}).get(AS_BYTES, "{}"))
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
        for name, kept in others.items():
            dtype = like[name].dtype if like and name in like else np.dtype(kept["dtype"])
            found[name] = found[name].view(dtype).reshape(kept["shape"])
    except (SafetensorError, ValueError) as error:
        raise PlanError(f"'{path}' cannot be read: {error}; write the plan again") from error
    except (AttributeError, KeyError, TypeError) as error:
        raise PlanError(f"'{path}' cannot be read: its '{AS_BYTES}' is not ours; write the plan again") from error
    return found


def names_in(path: Path) -> list[str]:
    """What tensors there are.

    Raises:
        PlanError: it is no such file.
    """
    try:
        with storage_errors(path.parent), safe_open(path, framework="numpy") as file:
            return list(file.keys())
    except SafetensorError as error:
        raise PlanError(f"'{path}' cannot be read: {error}; write the plan again") from error
