"""Samples that are arrays already: put into the run folder as `samples.npz`, so that the run can be gone on with."""

import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.errors import DataError, RunMismatchError, StorageError, UsageError
from onnxsens.files import TemporaryFolder, prepare_directory, rename_durably, scratch_file, sha256_of, temporary_name
from onnxsens.scan.store import FILE as STORE_FILE

# What `--data` takes, or arrays: of the only input, or by input; with labels under `labels`, or beside them.
Data: TypeAlias = (
    str | os.PathLike[str] | AnyArray | Mapping[str, AnyArray] | tuple[AnyArray | Mapping[str, AnyArray], AnyArray]
)

SAMPLES_FILE = "samples.npz"
LABELS = "labels"
ONLY_INPUT = "samples"  # a model with one input takes an array by any name
MARK = b"onnxsens"  # the archive's comment says that we wrote it
KINDS = "biufcV"  # of numbers; V are types of ml_dtypes, such as bfloat16


def spec_of(data: Any, folder: Path) -> str:
    """What names these samples from now on. Arrays are written to `folder`, which is made where it is missing.

    Raises:
        UsageError: they are neither a text nor arrays.
        DataError: an array holds no numbers, or is masked.
        RunMismatchError: the run in the folder was made on other samples.
        StorageError: the folder cannot be written, or has a file of that name that is not ours.
    """
    if isinstance(data, str | os.PathLike):
        text = os.fspath(data)
        return text.decode("utf-8", "surrogateescape") if isinstance(text, bytes) else text
    arrays = arrays_of(data)
    prepare_directory(folder)
    path, temporary = folder / SAMPLES_FILE, folder / f".{temporary_name()}.part"
    try:
        write_arrays(temporary, arrays)
        if path.exists() and sha256_of(path) == sha256_of(temporary):
            return str(path)
        refuse_other(path)
        rename_durably(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return str(path)


@contextmanager
def spec_for_now(data: Any) -> Iterator[str]:
    """The same for as long as the context lasts."""
    if isinstance(data, str | os.PathLike):
        yield spec_of(data, Path())
        return
    with TemporaryFolder() as folder:
        spec = spec_of(data, folder)
        with called_data(data, spec):
            yield spec


@contextmanager
def called_data(data: Any, spec: str) -> Iterator[None]:
    """Samples that were arrays are called `data` where they do not fit, not by a file that the caller never saw."""
    try:
        yield
    except DataError as error:
        if not isinstance(data, str | os.PathLike):
            error.args = tuple(str(each).replace(f"'{spec}'", "data") for each in error.args)
        raise


def arrays_of(data: Any) -> dict[str, AnyArray]:
    """Arrays by input, and `labels`.

    Raises:
        UsageError: it is not of a form that is known.
        DataError: an array holds no numbers, or is masked.
    """
    labels = None
    if isinstance(data, tuple):
        if len(data) != 2:
            raise UsageError(f"data is a tuple of {len(data)}; give (arrays, labels)")
        data, labels = data
    if callable(data):
        raise UsageError("data is a function of this process; put it into a file, and give data='FILE.py:FUNCTION'")
    given = dict(data) if isinstance(data, Mapping) else {ONLY_INPUT: data}
    if labels is not None:
        if LABELS in given:
            raise UsageError("data has labels twice: among the arrays, and beside them; leave one of them out")
        given[LABELS] = labels
    arrays = {}
    for name, values in given.items():
        if not isinstance(name, str):
            raise UsageError(f"data has an array under {name!r}; name arrays like the model's inputs")
        arrays[name] = array = array_of(name, values)
        if array.dtype.kind not in KINDS or array.dtype.hasobject:
            raise DataError(f"data: '{name}' is of type {array.dtype}; give an array of numbers")
    return arrays


def array_of(name: str, values: Any) -> AnyArray:
    """As numpy has it.

    Raises:
        DataError: it is not one array, or some of it is masked.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise DataError(f"data: '{name}' is a masked array, and samples have no mask; give its .filled(VALUE)")
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:  # rows of several lengths, or several arrays in a list
        raise DataError(f"data: '{name}' is not one array ({error}); give (x, y) or {{'x': x, 'labels': y}}") from error


def write_arrays(path: Path, arrays: Mapping[str, AnyArray]) -> None:
    """An npz file, the same for the same arrays: `numpy.savez` takes some names for options of its own."""
    with scratch_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.comment = MARK
        for name, values in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)


def refuse_other(path: Path) -> None:
    """Do not take the place of samples that a run was made on, nor of what somebody else put there.

    Raises:
        RunMismatchError: there is a run.
        StorageError: the file is not ours.
    """
    if not os.path.lexists(path):
        return
    if path.with_name(STORE_FILE).exists():
        raise RunMismatchError(f"the run in '{path.parent}' was made on other samples; choose another folder as out")
    try:
        with zipfile.ZipFile(path) as archive:
            own = archive.comment == MARK and not path.is_symlink()
    except (OSError, zipfile.BadZipFile):
        own = False
    if not own:
        raise StorageError(f"'{path}' exists, and onnxsens did not write it; choose another folder as out")
