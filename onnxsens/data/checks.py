"""Whether samples fit the model: names, ranks, dimensions, types, lengths, finite values. Knows no source.

Everything that would stop a run halfway, or turn its numbers into nonsense, is refused here before the run.
"""

from collections.abc import Sequence

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.preprocessing import Preprocessing
from onnxsens.data.source import RawSamples
from onnxsens.errors import DataError, UsageError

# Integers that float32 holds exactly; wider ones would be rounded without a word.
_SCALABLE = frozenset(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16"))


def fitting(raw: RawSamples, specs: Sequence[TensorSpec], preprocessing: Preprocessing, where: str) -> RawSamples:
    """The same samples, read-only, contiguous and in native byte order, in the order of `specs`.

    The batch dimension is free even where the model fixes it: the engine cuts and pads.

    Raises:
        DataError: they do not fit the model; the message starts with `where`.
        UsageError: the preprocessing was given but applies to no input.
    """
    same_length(raw, where)
    inputs = {}
    for spec in specs:
        values = _frozen(raw.inputs[spec.name])
        _check_shape(spec, values, where)
        inputs[spec.name] = values
    targets = preprocessing.targets(inputs, specs)
    for spec in specs:
        values = inputs[spec.name]
        _check_dtype(spec, values, where, scaled=spec.name in targets and preprocessing.scale is not None)
        _check_finite(f"input '{spec.name}'", values, where, "every metric would be NaN; repair or leave out")
        if spec.name in targets:
            preprocessing.channel_axis(spec.name, values.shape)
    if preprocessing.given and not targets:
        raise UsageError(
            f"--scale, --mean and --std apply to no input of {where}: "
            + ", ".join(f"'{spec.name}' is {_text(inputs[spec.name])}" for spec in specs)
            + "; leave them out"
        )
    return RawSamples(inputs, None if raw.labels is None else _checked_labels(raw.labels, where))


def same_length(raw: RawSamples, where: str) -> int:
    """How many samples there are, which every input and the labels must agree on."""
    lengths = {}
    for name, values in raw.inputs.items():
        if values.ndim == 0:
            raise DataError(f"{where} has a single number for input '{name}'; its first axis must be the samples")
        lengths[name] = len(values)
    first, samples = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != samples:
            raise DataError(
                f"{where} has {samples} samples for input '{first}' and {length} for '{name}'; give as many for each"
            )
    if raw.labels is not None:
        entries = len(raw.labels) if raw.labels.ndim else 1
        if entries != samples or raw.labels.ndim == 0:
            raise DataError(f"{where}: labels has {entries} entries for {samples} samples; give one per sample")
    return samples


def _check_shape(spec: TensorSpec, values: AnyArray, where: str) -> None:
    both = f"{where} has {_text(values)} for input '{spec.name}', but the model takes {spec.text}"
    if not spec.shape:
        raise DataError(f"input '{spec.name}' of the model is a single number; it has no axis for samples")
    if values.ndim != len(spec.shape):
        raise DataError(f"{both}; save {len(spec.shape)} dimensions, the first of them the samples")
    for axis, (length, fixed) in enumerate(zip(values.shape, spec.shape, strict=True)):
        if axis > 0 and isinstance(fixed, int) and length != fixed:
            raise DataError(f"{both}; make axis {axis} {fixed} long instead of {length}")
    if len(values) == 0:
        raise DataError(f"{where} has 0 samples; give at least 1")


def _check_dtype(spec: TensorSpec, values: AnyArray, where: str, *, scaled: bool) -> None:
    if spec.dtype is None:
        raise DataError(f"input '{spec.name}' of the model is of {spec.text}; only numbers can be fed")
    if values.dtype == spec.dtype:
        return
    both = f"{where} has {_text(values)} for input '{spec.name}', but the model takes {spec.text}"
    if spec.dtype.kind == "f" and values.dtype in _SCALABLE:
        if scaled:
            return
        raise DataError(f"{both}; give --scale 255 (and --mean, --std), or --scale 1 to feed the raw values")
    raise DataError(f"{both}; save it as {spec.dtype}")


def _checked_labels(labels: AnyArray, where: str) -> AnyArray:
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{where}: labels are {labels.dtype}; save them as numbers")
    labels = _frozen(labels)
    _check_finite("labels", labels, where, "repair or leave out")
    return labels


def _check_finite(what: str, values: AnyArray, where: str, remedy: str) -> None:
    if values.dtype.kind != "f":
        return
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise DataError(f"{where}: {what} has {bad} non-finite values (NaN or infinite); {remedy} these samples")


def _frozen(values: AnyArray) -> AnyArray:
    """A read-only view, or a copy where the memory layout or byte order has to change."""
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("=")).view()
    native.flags.writeable = False
    return native


def _text(values: AnyArray) -> str:
    return f"{values.dtype} [{', '.join(str(length) for length in values.shape)}]"
