"""From keywords to the records that stages take. What types cannot say is checked here, in the words of the library."""

import contextlib
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any

from onnxsens.arrays import AnyArray
from onnxsens.errors import UsageError
from onnxsens.options import Guard, Options
from onnxsens.plan import Goal
from onnxsens.plan.constraints import parse_constraints
from onnxsens.scan.searches import Search, chosen_searches
from onnxsens.sizes import bytes_in

Names = str | Sequence[str]
Size = int | str
Numbers = float | str | Sequence[float] | AnyArray
GridLevels = str | Sequence[float] | AnyArray
Levels = Mapping[str, float]


def number(value: Any, name: str) -> float:
    """A number of Python's own, whoever's it was.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str | bytes):
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return float(value)
    raise UsageError(f"{name}={shown(value)} is not a number; give one, such as {name}=0.5")


def whole(value: Any, name: str) -> int:
    """A whole number of Python's own.

    Raises:
        UsageError: it is none.
    """
    try:
        return index(value)
    except TypeError:
        raise UsageError(f"{name}={shown(value)} is not a whole number; give one, such as {name}=8") from None


def size(value: Any, name: str) -> int:
    """Bytes: a number, or a text such as `500MB` or `2GiB`.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, str):
        with contextlib.suppress(TypeError):
            return index(value)
    nbytes = bytes_in(value) if isinstance(value, str) else None
    if nbytes is None:
        raise UsageError(f"{name}={shown(value)} is not a size; write for example {name}='500MB', or bytes as a number")
    return nbytes


def names(value: Any, name: str) -> tuple[str, ...]:
    """One name, or several.

    Raises:
        UsageError: it is something else, such as a function.
    """
    several = (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    for each in several:
        if callable(each):
            raise UsageError(
                f"{name}: {shown(each)} is a function of this process; put it into a file, and give '{name_of(each)}'"
            )
        if not isinstance(each, str):
            raise UsageError(f"{name}: {shown(each)} is not a text; give a name, or a list of names")
    return several


def name_of(function: Any) -> str:
    """How a function would be given by its file."""
    return f"FILE.py:{getattr(function, '__name__', 'FUNCTION')}"


def pairs(value: Any, name: str, example: str) -> dict[str, float]:
    """Names with a number each.

    Raises:
        UsageError: it is no mapping of that kind.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{name}={shown(value)} says not of what; write for example {name}={example}")
    for each in value:
        if not isinstance(each, str):
            raise UsageError(f"{name}: {shown(each)} is not a name; write for example {name}={example}")
    return {each: number(level, f"{name}[{each!r}]") for each, level in value.items()}


def numbers(value: Any, name: str) -> str | None:
    """One number, or one a channel, as the text that is kept in a run.

    Raises:
        UsageError: it is neither.
    """
    if value is None or isinstance(value, str):
        return value
    several = value if isinstance(value, Iterable) else (value,)
    return ",".join(repr(number(each, name)) for each in several)


def levels_from(value: Any) -> tuple[float, ...] | None:
    """Levels of a grid.

    Raises:
        UsageError: they are none, or there is not one.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = [float(part) for part in value.split(",")]
        except ValueError:
            raise UsageError(f"levels={value!r} is not a list of numbers; give e.g. levels=[0.5, 0.7, 0.9]") from None
    several = tuple(number(each, "levels") for each in (value if isinstance(value, Iterable) else (value,)))
    if not several:
        raise UsageError("levels=[] has none in it; give e.g. levels=[0.5, 0.7, 0.9], or leave it out for 0.1 to 0.9")
    return several


def searches_from(search: Names, levels: Any, step: Any, resolution: Any) -> dict[str, Search]:
    """Searches by name.

    Raises:
        UsageError: there is no such search, or a setting makes no sense.
    """
    wanted, given = names(search, "search") or ("grid",), levels_from(levels)
    return chosen_searches(wanted, given, number(step, "step"), number(resolution, "resolution"))


def guard_from(
    *,
    isolated: bool = False,
    patience: float = 60.0,
    worker_memory: Size | None = None,
    max_model_bytes: Size | None = None,
    max_data_bytes: Size | None = None,
    strict_links: bool = False,
    accept_changed: Names = (),
) -> Guard:
    """The guard record."""
    return Guard(
        not isolated,
        number(patience, "patience"),
        None if worker_memory is None else size(worker_memory, "worker_memory"),
        None if max_model_bytes is None else size(max_model_bytes, "max_model_bytes"),
        bool(strict_links),
        None if max_data_bytes is None else size(max_data_bytes, "max_data_bytes"),
        names(accept_changed, "accept_changed"),
    )


def options_from(
    data: str,
    guard: Guard,
    *,
    scale: float | None,
    mean: Numbers | None,
    std: Numbers | None,
    dims: Mapping[str, int] | None,
    output: str | None,
    class_axis: int | None,
    providers: str,
    batch_size: int,
    threads: int | None,
    custom_op_libs: Names,
    holdout: float = 0.5,
    seed: int = 0,
    metrics: Names = (),
    search_metric: str | None = None,
    technique: str = "auto",
    update: str = "auto",
    scan_samples: int = 2000,
    exact: bool = False,
    jobs: int | None = None,
    cache_memory: Size | None = None,
) -> Options:
    """The options record, with numbers of Python's own: it is kept in the run as JSON."""
    if search_metric is not None:
        (search_metric,) = names(search_metric, "search_metric")
    return Options(
        data,
        scale=None if scale is None else number(scale, "scale"),
        mean=numbers(mean, "mean"),
        std=numbers(std, "std"),
        dims={name: whole(length, f"dims[{name!r}]") for name, length in (dims or {}).items()},
        holdout=number(holdout, "holdout"),
        seed=whole(seed, "seed"),
        metrics=names(metrics, "metrics"),
        search_metric=search_metric,
        output=output,
        class_axis=None if class_axis is None else whole(class_axis, "class_axis"),
        provider=providers,
        batch_size=whole(batch_size, "batch_size"),
        threads=None if threads is None else whole(threads, "threads"),
        technique=technique,
        update=update,
        scan_samples=whole(scan_samples, "scan_samples"),
        custom_op_libs=tuple(os.fspath(each) for each in names(custom_op_libs, "custom_op_libs")),
        exact=bool(exact),
        jobs=None if jobs is None else whole(jobs, "jobs"),
        cache_memory=None if cache_memory is None else size(cache_memory, "cache_memory"),
        guard=guard,
    )


def goal_from(
    *,
    max_drop: Levels | None,
    sparsity: float | None,
    size_limit: Size | None,
    macs: float | None,
    target: str | None,
    minimum: Levels | None,
    maximum: Levels | None,
    pin: Levels | None,
    freeze: Names,
    skip: Names,
    pickers: Names,
    confidence: float | None,
) -> Goal:
    """The goal record."""
    limits = {
        name: [f"{pattern}={level!r}" for pattern, level in pairs(given, name, "{'conv*': 0.5}").items()]
        for name, given in (("minimum", minimum), ("maximum", maximum), ("pin", pin))
    }
    return Goal(
        pairs(max_drop, "max_drop", "{'accuracy': 0.01}"),
        None if sparsity is None else number(sparsity, "sparsity"),
        None if confidence is None else number(confidence, "confidence"),
        None if size_limit is None else size(size_limit, "size"),
        None if macs is None else number(macs, "macs"),
        parse_constraints(**limits, freeze=names(freeze, "freeze"), skip=names(skip, "skip")),
        target,
        names(pickers, "pickers"),
    )


def refuse_nan(values: Mapping[str, float], name: str) -> dict[str, float]:
    """Tolerances, of which none is nothing.

    Raises:
        UsageError: one is no number.
    """
    wrong = next((each for each, value in values.items() if math.isnan(value)), None)
    if wrong is not None:
        raise UsageError(f"{name}[{wrong!r}] is NaN; give a number")
    return dict(values)


def shown(value: object) -> str:
    """A value in a message: short, whatever it is."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
