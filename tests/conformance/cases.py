"""One model of the sweep, lying on disk with what to feed it. Knows neither its source nor what is done to it."""

import fnmatch
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

RANDOM = "random:2"


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        source: where it came from, as a row of the table of counts.
        model: the file; one that belongs to an installed package is never written to.
        data: what is handed to the tool as samples.
        feeds: the same samples for plain sessions, an npz of `[samples, *declared shape]`; "" where numpy has no such
            type.
        expected: outputs for the first sample, an npz by position; "" where the source has none.
        notes: what was changed to get the model.
        weighty: takes a process of its own.
    """

    source: str
    name: str
    model: str
    data: str = RANDOM
    feeds: str = ""
    expected: str = ""
    rtol: float = 1e-3
    atol: float = 1e-7
    notes: tuple[str, ...] = ()
    weighty: bool = False

    @property
    def key(self) -> str:
        """Unique over all sources."""
        return f"{self.source}/{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """For a worker's list."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Case":
        """What `as_dict` made."""
        return cls(**dict(fields) | {"notes": tuple(fields["notes"])})


def wanted(key: str, patterns: Sequence[str]) -> bool:
    """Whether a case is asked for: any pattern is part of its key, or matches it as a shell pattern."""
    return not patterns or any(pattern in key or fnmatch.fnmatch(key, pattern) for pattern in patterns)


def with_samples(case: Case, folder: Path, samples: Sequence[Mapping[str, np.ndarray]]) -> Case:
    """The case with its samples saved in `folder`, each a whole input of the model; unchanged where numpy cannot."""
    if not samples or not samples[0] or any(not plain(array) for sample in samples for array in sample.values()):
        return case
    path = folder / "samples.npz"
    stacked = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    save_arrays(path, stacked)
    made = replace(case, data=str(path), feeds=str(path))
    if len(stacked) == 1 and "/" in next(iter(stacked)):
        # The tool takes no path for a name; the array of a model's only input may have any.
        made = replace(made, data=str(folder / "renamed.npz"))
        save_arrays(Path(made.data), {"input": next(iter(stacked.values()))})
    return made


def with_expected(case: Case, folder: Path, outputs: Sequence[Any]) -> Case:
    """The case with the outputs that its first sample has to give; unchanged where numpy cannot hold them."""
    if not outputs or any(not isinstance(output, np.ndarray) or not plain(output) for output in outputs):
        return case
    path = folder / "expected.npz"
    save_arrays(path, {str(position): output for position, output in enumerate(outputs)})
    return replace(case, expected=str(path))


def plain(array: Any) -> bool:
    """Whether numpy itself has the type: no strings, bfloat16, float8 or int4."""
    return isinstance(array, np.ndarray | np.generic) and array.dtype.kind in "biufc" and array.dtype.isbuiltin == 1


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """`numpy.savez` for names that it cannot take as keywords."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def load_arrays(path: str) -> dict[str, np.ndarray]:
    """What `save_arrays` saved."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def joined(case: Case) -> Case:
    """The case with its samples joined along their first axis, the form of data that has the batch in it.

    Inputs without an axis stay as they are.
    """
    if not case.feeds:
        return case
    path = Path(case.data).with_name("joined.npz")
    arrays = load_arrays(case.data)
    save_arrays(path, {name: np.concatenate(array) if array.ndim > 1 else array for name, array in arrays.items()})
    return replace(case, data=str(path))


def variants(sample: Mapping[str, np.ndarray]) -> list[Mapping[str, np.ndarray]]:
    """A sample, and another one with the same numbers: floats in the opposite order, the rest as it is.

    So every value stays within what the operator takes, and indices and lengths stay valid.
    """
    turned = {
        name: np.flip(array).copy() if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array
        for name, array in sample.items()
    }
    return [sample, turned]


def fresh(folder: Path, names: Iterable[str]) -> Path:
    """A new folder under `folder`."""
    made = folder.joinpath(*names)
    made.mkdir(parents=True)
    return made
