"""From what was typed to records."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from onnxsens.cli.options import parse_bytes, parse_confidence, parse_dims
from onnxsens.options import Guard, Options
from onnxsens.plan import Goal, parse_limits
from onnxsens.plan.constraints import parse_constraints


def build_guard(
    *,
    in_process: bool,
    patience: float,
    worker_memory: str | None,
    max_model_bytes: str | None,
    strict_links: bool,
    max_data_bytes: str | None = None,
    accept_changed: Sequence[str] = (),
) -> Guard:
    """The guard record."""
    return Guard(
        in_process,
        patience,
        bytes_of(worker_memory, "--worker-memory"),
        bytes_of(max_model_bytes, "--max-model-bytes"),
        strict_links,
        bytes_of(max_data_bytes, "--max-data-bytes"),
        tuple(accept_changed),
    )


def bytes_of(text: str | None, option: str) -> int | None:
    """Bytes, where there is a text."""
    return None if text is None else parse_bytes(text, option)


def guard_from(options: dict[str, Any]) -> Guard:
    """The guard record; its options are taken out of those that were typed."""
    return build_guard(**{name: options.pop(name) for name in signature(build_guard).parameters if name in options})


def build_options(
    *,
    dims: Sequence[str] = (),
    metrics: Sequence[str] = (),
    custom_op_libs: Sequence[str] = (),
    cache_memory: str | None = None,
    **rest: Any,
) -> Options:
    """The options record; every other option has the name of its field."""
    guard = guard_from(rest)
    return Options(
        guard=guard,
        dims=parse_dims(dims),
        metrics=tuple(metrics),
        custom_op_libs=tuple(custom_op_libs),
        cache_memory=bytes_of(cache_memory, "--cache-memory"),
        **rest,
    )


def goal_from(options: dict[str, Any]) -> Goal:
    """The goal record; its options are taken out of those that were typed."""
    return build_goal(**{name: options.pop(name) for name in signature(build_goal).parameters})


def build_goal(
    max_drop: Sequence[str],
    sparsity: float | None,
    confidence: str,
    size: str | None,
    macs: float | None,
    target: str | None,
    minimum: Sequence[str],
    maximum: Sequence[str],
    pin: Sequence[str],
    freeze: Sequence[str],
    skip: Sequence[str],
    pickers: Sequence[str],
) -> Goal:
    """The goal record."""
    nbytes = None if size is None else parse_bytes(size, "--size")
    constraints = parse_constraints(minimum, maximum, pin, freeze, skip)
    return Goal(
        parse_limits(max_drop),
        sparsity,
        parse_confidence(confidence),
        nbytes,
        macs,
        constraints,
        target,
        tuple(dict.fromkeys(pickers)),
    )
