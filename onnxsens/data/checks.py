"""Whether samples fit the model: names, ranks, dimensions, types, lengths, finite values. Knows no source.

Everything that would stop a run halfway, or turn its numbers into nonsense, is refused here before the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.data.forms import Form, array_text, form_of, rows_fixed
from onnxsens.data.preprocessing import Preprocessing
from onnxsens.data.source import RawSamples
from onnxsens.errors import DataError, UsageError

# Integers that float32 holds exactly; wider ones would be rounded without a word.
_PIECE = 1 << 22  # elements that are looked at together, since samples may be larger than memory
_SCALABLE = frozenset(np.dtype(name) for name in ("uint8", "int8", "uint16", "int16"))


@dataclass(frozen=True, eq=False)
class Fitting:
    """Samples that fit the model, the inputs that they are for, in the model's order, and each one's way in."""

    samples: RawSamples
    specs: tuple[TensorSpec, ...]
    forms: dict[str, Form]


def fitting(raw: RawSamples, specs: Sequence[TensorSpec], preprocessing: Preprocessing, where: str) -> Fitting:
    """The same samples, read-only, contiguous and in native byte order, in the order of `specs`.

    Inputs that the data has nothing for and that need not be fed are left out. The batch dimension is free even
    where the model fixes it: the engine cuts and pads.

    Raises:
        DataError: they do not fit the model; the message starts with `where`.
        UsageError: the preprocessing was given but applies to no input.
    """
    same_length(raw, where)
    specs = tuple(spec for spec in specs if spec.name in raw.inputs)
    inputs = {}
    forms = {}
    for spec in specs:
        values = _frozen(raw.inputs[spec.name])
        forms[spec.name] = form_of(spec, values, where)
        inputs[spec.name] = values
    rows_fixed(specs, forms)
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
            + ", ".join(f"'{spec.name}' is {array_text(inputs[spec.name])}" for spec in specs)
            + "; leave them out"
        )
    labels = None if raw.labels is None else _checked_labels(raw.labels, where)
    return Fitting(RawSamples(inputs, labels), specs, forms)


def refuse_unfeedable(specs: Sequence[TensorSpec]) -> None:
    """Say which input no data can be for, before any is read.

    Raises:
        DataError: an input that has to be fed is no tensor of numbers that numpy has.
    """
    for spec in specs:
        if spec.dtype is None and spec.presence == "required":
            remedy = (
                "export the model with a tensor in its place"
                if spec.kind != "tensor"
                else "cut the model off after its text processing"
                if spec.described == "string"
                else "export the model with float32 inputs"
            )
            raise DataError(
                f"input '{spec.name}' of the model is of {spec.text}; only numbers can be fed that numpy has: {remedy}"
            )


def same_length(raw: RawSamples, where: str) -> int:
    """How many samples there are, which the labels and every input but single numbers must agree on."""
    lengths = {name: len(values) for name, values in raw.inputs.items() if values.ndim}
    if not lengths:
        name = next(iter(raw.inputs))
        raise DataError(f"{where} has a single number for input '{name}'; its first axis must be the samples")
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


def _check_dtype(spec: TensorSpec, values: AnyArray, where: str, *, scaled: bool) -> None:
    if spec.dtype is None:
        raise DataError(f"{where} has an array for input '{spec.name}', which is of {spec.text}; leave it out")
    if values.dtype == spec.dtype:
        return
    both = f"{where} has {array_text(values)} for input '{spec.name}', but the model takes {spec.text}"
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
    flat = values.reshape(-1)
    pieces = (flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE))
    bad = flat.size - sum(int(np.count_nonzero(np.isfinite(piece))) for piece in pieces)
    if bad:
        raise DataError(f"{where}: {what} has {bad} non-finite values (NaN or infinite); {remedy} these samples")


def _frozen(values: AnyArray) -> AnyArray:
    """A read-only view, or a copy where the memory layout or byte order has to change."""
    native = np.asarray(values, dtype=values.dtype.newbyteorder("="), order="C").view()
    native.flags.writeable = False
    return native
