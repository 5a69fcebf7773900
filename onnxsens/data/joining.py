"""One set of samples out of parts that come one after another. Knows not what a part is: a file, or a batch."""

from collections.abc import Iterable

import numpy as np

from onnxsens.arrays import AnyArray
from onnxsens.data.checks import same_length
from onnxsens.data.source import RawSamples, check_size
from onnxsens.errors import DataError


def join(parts: Iterable[tuple[str, RawSamples]], where: str, limit: int) -> RawSamples:
    """The parts, in order, as one.

    Args:
        parts: what a part is called in messages, and its samples.
        where: what all of it is called.
        limit: bytes; the part that goes beyond it is the last one asked for.

    Raises:
        DataError: there are no parts, too many bytes, or two parts that differ in more than their length.
    """
    columns: dict[str | None, list[AnyArray]] = {}  # None: the labels
    first = ""
    size = 0
    for title, part in parts:
        same_length(part, title)
        arrays: dict[str | None, AnyArray] = {} if part.labels is None else {None: part.labels}
        arrays.update(part.inputs.items())
        if not columns:
            first = title
            columns = {name: [] for name in arrays}
        for name in dict.fromkeys([*columns, *arrays]):
            _check_alike(_what(name), (first, columns.get(name)), (title, arrays.get(name)))
        for name, values in arrays.items():
            columns[name].append(values)
            size += values.nbytes
        check_size(size, limit, where)
    if not columns:
        raise DataError(f"{where} has 0 samples; give at least 1")
    joined = {name: np.concatenate(column) if column[0].ndim else column[0] for name, column in columns.items()}
    labels = joined.pop(None, None)
    return RawSamples({name: values for name, values in joined.items() if name is not None}, labels)


def _check_alike(what: str, first: tuple[str, list[AnyArray] | None], other: tuple[str, AnyArray | None]) -> None:
    (title, column), (other_title, values) = first, other
    if column is None or values is None:
        has, lacks = (other_title, title) if column is None else (title, other_title)
        raise DataError(f"{has} has {what}, but {lacks} has none; give the same in all")
    if not column:
        return
    ours, theirs = (
        f"{array.dtype} [{'n' if array.ndim else ''}{''.join(f', {d}' for d in array.shape[1:])}]"
        for array in (column[0], values)
    )
    if column[0].ndim == 0 and values.ndim == 0 and column[0] != values:
        raise DataError(f"{title} has {column[0]} for {what}, but {other_title} has {values}; give one number a sample")
    if ours != theirs:
        raise DataError(f"{title} has {what} as {ours}, but {other_title} as {theirs}; make them alike")


def _what(name: str | None) -> str:
    return "labels" if name is None else f"input '{name}'"
