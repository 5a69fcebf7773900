"""What a checkpoint is to the rest: named tensors whose values are read when asked for. Knows no format."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import CheckpointError, MissingPackageError

# Element types of numpy's own that hold a number each. What else ml_dtypes has is named below.
NUMBERS = frozenset("biufc")
OTHER_NUMBERS = frozenset(
    {
        "bfloat16",
        "float8_e3m4",
        "float8_e4m3",
        "float8_e4m3b11fnuz",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e5m2",
        "float8_e5m2fnuz",
        "float8_e8m0fnu",
    }
)
LONGEST_NAME = 80  # that is shown whole
MOST_LETTERS = 10_000  # of a name that is read at all
MOST_LEVELS = 100  # of dicts in dicts; a chain of a file's own making must not use up our stack
MOST_AXES = 32  # that every numpy has


@dataclass(frozen=True, eq=False)
class Parameter:
    """One tensor of a checkpoint.

    Attributes:
        name: as the framework writes it: `encoder.layers.0.linear1.weight`, `fc/kernel`, `params/Dense_0/kernel`.
        shape: in the framework's own layout.
        dtype: numpy's or ml_dtypes' name.
        read: the values, read now and not kept by us; what it returns may be read-only. Raises CheckpointError where
            the file has become unreadable since.
        aliases: other names that the file itself shows to be of the same storage.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], AnyArray]
    aliases: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An opened file of weights.

    Attributes:
        format: the name of the format that read it, such as `safetensors`.
        parameters: every tensor of the file, in its order.
        notes: what the user should know, one line each.
    """

    path: Path
    format: str
    parameters: tuple[Parameter, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = Counter(name for parameter in self.parameters for name in (parameter.name, *parameter.aliases))
        repeated = [name for name, count in names.items() if count > 1]
        if repeated:
            raise CheckpointError(
                f"checkpoint '{self.path}' has two tensors called {quoted(repeated[0])}; save it with names that differ"
            )
        for parameter in self.parameters:
            refuse_shape(self.path, parameter.name, parameter.shape)
        if not self.parameters:
            raise CheckpointError(f"checkpoint '{self.path}' holds no tensors; save the model's weights to it")


class Format(Protocol):
    """A way to store weights.

    Attributes:
        name: as in the table, such as `safetensors`.
        title: what it is, in a few words.
        suffixes: lower case, with the dot; what a file is called that its content does not give away.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def suffixes(self) -> tuple[str, ...]: ...

    def recognises(self, path: Path, head: bytes) -> bool:
        """Whether the content of the file is of this format, whatever it is called; `head` is how it begins.

        No two formats may recognise one file.
        """
        ...

    def open(self, path: Path) -> Checkpoint:
        """Read names and shapes, no values.

        Raises:
            CheckpointError: damaged, or holds what is refused.
            MissingPackageError: a package is needed that is not installed.
        """
        ...


def refuse_shape(path: Path, name: str, shape: Sequence[int]) -> None:
    """Raises:
    CheckpointError: numpy has no array of this shape, with elements of up to 16 bytes. An empty one has limits, too.
    """
    few = len(shape) <= MOST_AXES and all(0 <= size < 2**63 for size in shape)
    if not few or math.prod(size for size in shape if size) >= 2**63 // 16:
        raise damaged(path, f"{quoted(name)} has a shape that no array can have")


def dtype_named(name: str) -> np.dtype[Any] | None:
    """numpy's type for a name of numpy's or ml_dtypes'; None for what holds no plain number an element.

    Raises:
        MissingPackageError: the type is one of ml_dtypes, which is not installed.
    """
    if name in OTHER_NUMBERS:
        try:
            import ml_dtypes
        except ImportError as error:
            raise MissingPackageError(f"values of type {name} need ml_dtypes; pip install ml_dtypes") from error
        special: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return special
    try:
        found = np.dtype(name)
    except (TypeError, ValueError):
        return None
    return found if found.kind in NUMBERS else None


def damaged(path: Path, why: str) -> CheckpointError:
    """The error for a file that breaks its own format."""
    return CheckpointError(f"checkpoint '{path}' is damaged: {why}; copy or save it again")


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """The error for a file that the system does not let us read."""
    return CheckpointError(f"checkpoint '{path}' cannot be read: {error.strerror or error}; check path and permissions")


def refuse_endless(name: str, levels: int) -> None:
    """For who walks a tree of a file's own making.

    Raises:
        ValueError: it is too deep, or a name on the way too long, to be a model's.
    """
    if levels > MOST_LEVELS:
        raise ValueError(f"{quoted(name)} is nested more than {MOST_LEVELS} deep")
    if len(name) > MOST_LETTERS:
        raise ValueError(f"{quoted(name)} is a name of {len(name):,} letters")


def one_line(error: Exception) -> str:
    """What an exception of another package says, short and printable."""
    text = " ".join(str(error).split())[:LONGEST_NAME] or type(error).__name__
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def quoted(name: str) -> str:
    """A name of a foreign file, in quotes, on one line and not endless."""
    text = "".join(sign if sign.isprintable() else "?" for sign in name)
    return f"'{text[:LONGEST_NAME]}...'" if len(text) > LONGEST_NAME else f"'{text}'"


def listed(names: Sequence[str]) -> str:
    """The first few of some names, for a note."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(quoted(name) for name in names[:3]) + more
