"""Metrics that are a function in a user's Python file. Knows nothing of ONNX, sessions or splits.

    def iou(outputs, dense, labels): ...

`outputs` and `dense` are dicts of read-only arrays `[n, ...]` by output name, `labels` an array or None. The function
returns `[n]`, or one number for the whole set; which of both it is shows when it is called. Attributes of the function
say the rest: `higher_is_better` (True), `unit` (""), `needs_labels` (False).

The file is code, and is run as such; see `onnxsens.usercode`.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from onnxsens.arrays import AnyArray, Float64Array
from onnxsens.errors import MetricError
from onnxsens.metrics.batch import Batch
from onnxsens.metrics.metric import Metric, PerSampleMetric, WholeSetMetric
from onnxsens.plugins import unknown
from onnxsens.usercode import cause_of, quiet, run_file

Declared = TypeVar("Declared", bool, str)


@dataclass(frozen=True)
class UserFunction:
    """A function of a file, and what it declares.

    Args:
        spec: `FILE.py:FUNCTION`, as given.
        path: the file, as given.
        call: the function.
        digest: SHA-256 of the file.
        unit, higher_is_better, needs_labels: its attributes, or their defaults.
    """

    spec: str
    path: str
    call: Callable[..., object]
    digest: str
    unit: str
    higher_is_better: bool
    needs_labels: bool

    def result(
        self, outputs: Mapping[str, AnyArray], dense: Mapping[str, AnyArray], labels: AnyArray | None
    ) -> AnyArray:
        """What the function returns, as an array of real numbers.

        Raises:
            MetricError: it raised, or returned something else.
        """
        # A user's sys.exit() must not end our command, and any exception of theirs is bad input, not our bug.
        try:
            with quiet(f"ran metric '{self.spec}'"):
                returned = self.call(
                    {name: read_only(array) for name, array in outputs.items()},
                    {name: read_only(array) for name, array in dense.items()},
                    None if labels is None else read_only(labels),
                )
            found = np.asarray(returned)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            refuse(self.spec, self.path, error)
        if found.dtype.kind not in "biuf":
            what = f"an array of {found.dtype}" if isinstance(returned, np.ndarray) else type(returned).__name__
            raise MetricError(
                f"metric '{self.spec}' returned {what}; return one number, or an array of one number for every sample"
            )
        return found


@dataclass(frozen=True)
class _FromFile(Metric):
    """What its function declares. It may read any output, so outputs are not checked."""

    function: UserFunction

    @property
    def name(self) -> str:
        """The spec."""
        return self.function.spec

    @property
    def unit(self) -> str:
        """The function's attribute, else empty."""
        return self.function.unit

    @property
    def higher_is_better(self) -> bool:
        """The function's attribute, else True."""
        return self.function.higher_is_better

    @property
    def needs_labels(self) -> bool:
        """The function's attribute, else False."""
        return self.function.needs_labels

    @property
    def source_digest(self) -> str:
        """SHA-256 of the file."""
        return self.function.digest

    def check(self, batch: Batch) -> None:
        """Nothing: the function knows best what it reads."""


@dataclass(frozen=True)
class UserMetric(_FromFile):
    """A function that was not called yet, so that nobody knows whether it is per sample."""

    def resolve(self, batch: Batch) -> PerSampleMetric | WholeSetMetric:
        """Call it on `batch` and see: an array `[n]` is per sample, a number is for the whole set.

        Raises:
            MetricError: it raised, or returned neither.
        """
        found = self.function.result(batch.pruned, batch.dense, batch.labels)
        if found.ndim == 0:
            return UserWholeSetMetric(self.function)
        require_one_a_sample(self.name, found, len(batch))
        return UserPerSampleMetric(self.function)


@dataclass(frozen=True)
class UserPerSampleMetric(_FromFile, PerSampleMetric):
    """A function that returns one value a sample."""

    def per_sample(self, batch: Batch) -> Float64Array:
        """`[n]`, as the function returned it."""
        found = self.function.result(batch.pruned, batch.dense, batch.labels)
        require_one_a_sample(self.name, found, len(batch))
        return found.astype(np.float64)


@dataclass(frozen=True)
class UserWholeSetMetric(_FromFile, WholeSetMetric):
    """A function that returns one number for all samples."""

    def keep(self, batch: Batch) -> dict[str, AnyArray]:
        """Every output of both models as `pruned/NAME` and `dense/NAME`, and `labels` where there are any."""
        kept = {f"pruned/{name}": array for name, array in batch.pruned.items()}
        kept |= {f"dense/{name}": array for name, array in batch.dense.items()}
        return kept if batch.labels is None else kept | {"labels": batch.labels}

    def value(self, kept: Mapping[str, AnyArray]) -> float:
        """The function's number for the samples that were kept."""
        pruned = {key.removeprefix("pruned/"): array for key, array in kept.items() if key.startswith("pruned/")}
        dense = {key.removeprefix("dense/"): array for key, array in kept.items() if key.startswith("dense/")}
        found = self.function.result(pruned, dense, kept.get("labels"))
        if found.ndim != 0:
            raise MetricError(
                f"metric '{self.name}' returned one number before and now an array of shape {list(found.shape)}; "
                "return the same kind every time"
            )
        return float(found)


def read_user_metric(spec: str) -> UserMetric:
    """The metric of `FILE.py:FUNCTION`; runs the file, does not call the function.

    Raises:
        MetricError: the file cannot be read or run, or holds no such function, or its attributes are of wrong types.
    """
    path, _, function = spec.rpartition(":")
    if not path or not function.isidentifier():
        raise MetricError(f"metric '{spec}' names no function of a file; write FILE.py:FUNCTION")
    try:
        source = Path(path).read_bytes()
    except OSError as error:
        raise MetricError(f"metric '{spec}' cannot be read: {error.strerror}; check the path '{path}'") from error
    try:
        module = run_file(Path(path))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        refuse(spec, path, error)
    call = getattr(module, function, None)
    if not callable(call):
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", None) == module.__name__]
        raise MetricError(f"file '{path}': {unknown('function', function, sorted(own) or ['none'])}")
    return UserMetric(
        UserFunction(
            spec=spec,
            path=path,
            call=call,
            digest=hashlib.sha256(source).hexdigest(),
            unit=attribute(spec, call, "unit", ""),
            higher_is_better=attribute(spec, call, "higher_is_better", True),
            needs_labels=attribute(spec, call, "needs_labels", False),
        )
    )


def attribute(spec: str, call: object, name: str, default: Declared) -> Declared:
    """The function's attribute, of the default's type."""
    found = getattr(call, name, default)
    if not isinstance(found, type(default)):
        raise MetricError(
            f"metric '{spec}' has {name} = {found!r}; set it to a {type(default).__name__}, or leave it away"
        )
    return found


def require_one_a_sample(spec: str, found: AnyArray, samples: int) -> None:
    """Raise MetricError unless `found` is `[samples]`."""
    if found.shape != (samples,):
        raise MetricError(
            f"metric '{spec}' returned {f'an array of shape {list(found.shape)}' if found.ndim else 'one number'} "
            f"for {samples} samples; return [{samples}], one number for every sample"
        )


def read_only(array: AnyArray) -> AnyArray:
    """A view that a function cannot write through: the same arrays are read by other metrics."""
    view = array.view()
    view.flags.writeable = False
    return view


def refuse(spec: str, path: str, error: BaseException) -> NoReturn:
    """Raise the MetricError for an exception that left the user's code."""
    raise MetricError(f"metric '{spec}' raised {cause_of(error, Path(path))}; correct it there") from error
