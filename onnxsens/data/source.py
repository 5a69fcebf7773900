"""What a source of samples is, and the few rules that all sources share. Knows nothing of any file format.

A source is one file in this package: it says which `--data` texts are its own, and reads them as they are stored.
Whether what it read fits the model is checked afterwards, once for all sources, in `checks`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.errors import DataError

# Most samples are held in memory; what declares more than this is a mistake or an attack, unless someone says so.
MAX_DATA_BYTES = 16 * 2**30

LABELS = "labels"


@dataclass(frozen=True, eq=False)
class RawSamples:
    """What a source read, unchecked: arrays by model input name, `[n, ...]`, and `[n, ...]` labels if it has any."""

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None = None


class Source(Protocol):
    """One way to get samples; a class that is called with the most bytes that samples may take to make one."""

    def __init__(self, max_data_bytes: int = MAX_DATA_BYTES) -> None: ...

    def matches(self, spec: str) -> bool:
        """Whether `spec`, the text after `--data`, is for this source. At most one built-in source says yes."""
        ...

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """The samples as they are stored.

        Args:
            spec: a text that this source matches.
            inputs: of the model, at least one.
            rng: the only randomness that a source may use.

        Raises:
            DataError: missing, unreadable, or too large; the message starts with what `spec` names.
        """
        ...


def existing_file(spec: str) -> Path:
    """The path of a file that exists and is not empty."""
    path = Path(spec)
    if not path.exists():
        raise DataError(f"'{spec}' does not exist; check the path")
    if not path.is_file():
        raise DataError(f"'{spec}' is not a file; check the path")
    if path.stat().st_size == 0:
        raise DataError(f"'{spec}' is an empty file; save the samples again")
    return path


def check_size(size: int, limit: int, where: str) -> None:
    """Refuse `size` bytes of samples where that is more than `limit`."""
    if size > limit:
        raise DataError(
            f"{where} holds {size:,} bytes of samples, more than the limit of {limit:,}; "
            "give fewer samples, or a higher --max-data-bytes"
        )


def only_input(inputs: Sequence[TensorSpec], where: str, remedy: str) -> TensorSpec:
    """The model's single input, for sources that cannot serve several; those that need not be fed do not count."""
    needed = needed_inputs(inputs)
    if len(needed) != 1:
        names = ", ".join(f"'{spec.name}'" for spec in needed)
        raise DataError(f"{where} can feed one input, but the model has {len(needed)}: {names}; {remedy}")
    return needed[0]


def needed_inputs(inputs: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Those that have to be fed; where there are none of these, those that may be without having a default."""
    required = [spec for spec in inputs if spec.presence == "required"]
    return required or [spec for spec in inputs if spec.presence == "optional"]


def by_input(arrays: Mapping[str, AnyArray], inputs: Sequence[TensorSpec], where: str) -> RawSamples:
    """Tell inputs from labels among named arrays.

    `labels` are the labels, unless the model has an input of that name. With a single-input model the one other
    array may have any name. Optional inputs and those with a default may be left out.
    """
    known = {spec.name for spec in inputs}
    needed = [spec.name for spec in needed_inputs(inputs)]
    wanted = [spec.name for spec in inputs if spec.presence != "default"]
    given = [name for name in arrays if name != LABELS or LABELS in known]
    labels = None if LABELS in known else arrays.get(LABELS)
    if len(needed) == len(given) == 1 and given[0] not in known:
        return RawSamples({needed[0]: arrays[given[0]]}, labels)
    unknown = [name for name in given if name not in known]
    missing = [name for name in needed if name not in given]
    if unknown:
        raise DataError(
            f"{where} has {_quoted(unknown)}, which the model has no input for (its inputs: {_quoted(wanted)}); "
            f"name arrays like the inputs, and labels '{LABELS}'"
        )
    if missing:
        has = _quoted(list(arrays)) or "nothing"
        raise DataError(f"{where} has no array for the model's {_quoted(missing)} (it has {has}); add it")
    return RawSamples({spec.name: arrays[spec.name] for spec in inputs if spec.name in given}, labels)


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)  # they come from files, control characters and all
