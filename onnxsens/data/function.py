"""`file.py:function`: samples that the user's own code yields, batch by batch.

The code is trusted to run, and its behaviour is not: whatever it raises becomes one line, whatever it prints goes to
stderr, and what it yields is checked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.joining import join
from onnxsens.data.source import MAX_DATA_BYTES, RawSamples, by_input, existing_file, only_input
from onnxsens.errors import DataError
from onnxsens.usercode import cause_of, quiet, run_file

T = TypeVar("T")

_END = object()


@dataclass(frozen=True)
class Function:
    """A function without arguments that yields `({input: [n, ...]}, labels or None)`.

    With a single-input model, the array may stand in place of the dict.
    """

    max_data_bytes: int = MAX_DATA_BYTES

    def matches(self, spec: str) -> bool:
        """`file.py:function`; also `file.py`, to say that the function is missing."""
        file, _, function = spec.rpartition(":")
        return spec.endswith(".py") or (file.endswith(".py") and function.isidentifier())

    def read(self, spec: str, inputs: Sequence[TensorSpec], rng: np.random.Generator) -> RawSamples:
        """All batches, joined."""
        if spec.endswith(".py"):
            raise DataError(f"'{spec}' names no function; write '{spec}:FUNCTION'")
        file, _, name = spec.rpartition(":")
        code = _UserCode(spec, existing_file(file))
        function = getattr(code.run(), name, None)
        if not callable(function):
            raise DataError(f"'{file}' has no function '{name}'; define it, or check the name")
        numbered = enumerate(code.iterate(function), 1)
        batches = ((f"'{spec}': batch {i}", _batch(item, inputs, f"'{spec}': batch {i}")) for i, item in numbered)
        return join(batches, f"'{spec}'", self.max_data_bytes)


@dataclass(frozen=True)
class _UserCode:
    """The one place where the user's code runs."""

    spec: str
    path: Path

    def run(self) -> ModuleType:
        """The file as a module."""
        return self._guarded(lambda: run_file(self.path))

    def iterate(self, function: Callable[[], Any]) -> Iterator[object]:
        """What the function yields."""
        batches = self._guarded(lambda: iter(function()))
        while (item := self._guarded(lambda: next(batches, _END))) is not _END:
            yield item

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            with quiet(f"ran '{self.spec}'"):
                return action()
        # Foreign code may raise anything; sys.exit() in it must not end the run with its own exit code.
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise DataError(f"'{self.spec}' failed with {cause_of(error, self.path)}; mend it there") from error


def _batch(item: object, inputs: Sequence[TensorSpec], where: str) -> RawSamples:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"{where} is {_kind(item)}; yield a pair of inputs and labels, or of inputs and None")
    given, labels = item
    if not isinstance(given, Mapping):
        given = {only_input(inputs, where, "yield a dict by input name").name: given}
    if not all(isinstance(name, str) for name in given):
        raise DataError(f"{where} has a name that is no str; name arrays like the model's inputs")
    named = by_input({name: _copied(values, where, f"input '{name}'") for name, values in given.items()}, inputs, where)
    if named.labels is not None:
        raise DataError(f"{where} has 'labels' among its inputs; yield them as the second of the pair")
    return RawSamples(named.inputs, None if labels is None else _copied(labels, where, "labels"))


def _copied(values: object, where: str, what: str) -> AnyArray:
    """A plain array, and a copy: the function may fill the same one for its next batch."""
    # A masked array would lose its mask without a word.
    if not isinstance(values, np.ndarray) or isinstance(values, np.ma.MaskedArray):
        raise DataError(f"{where} has {_kind(values)} for {what}; yield a numpy array")
    if values.dtype.hasobject:
        raise DataError(f"{where} has an array of Python objects for {what}; yield numbers")
    return np.array(values)


def _kind(value: object) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a '{type(value).__name__}'{size}"
