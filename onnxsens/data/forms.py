"""How an array of samples becomes an input of the model. Told by its rank, against the rank that the model declares.

- As many axes: `[samples, *the input's dims without its batch axis]`. Batches go along the input's batch axis.
- One more: every sample carries the whole input. Where all samples are equal it is fed once, whatever the batch;
  else the model is run a sample at a time.
- None at all, for an input that is a single number: the same for all samples.

Inputs that are states of a recurrence are samples like all others: each sample begins with the state that the data
has for it, and nothing is carried from one run to the next.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.errors import DataError


@dataclass(frozen=True)
class Form:
    """One input's way in.

    Attributes:
        axis: of the input, that samples lie along; None where every sample is the whole input.
        once: the same for all samples.
    """

    axis: int | None
    once: bool = False


def form_of(spec: TensorSpec, values: AnyArray, where: str) -> Form:
    """The form of what the data has for an input.

    Raises:
        DataError: it has none of the forms, or a length that the model does not take.
    """
    both = f"{where} has {array_text(values)} for input '{spec.name}', but the model takes {spec.text}"
    if values.ndim == 0:
        if spec.shape != ():
            raise DataError(f"{where} has a single number for input '{spec.name}'; its first axis must be the samples")
        return Form(None, once=True)
    if len(values) == 0:
        raise DataError(f"{where} has 0 samples; give at least 1")
    if spec.shape is None:
        return Form(0)
    rank = len(spec.shape)
    if values.ndim == rank and spec.batch_axis is None:
        raise DataError(f"{both}, with no axis for samples; give every sample all of it: save {rank + 1} dimensions")
    if values.ndim not in (rank, rank + 1):
        raise DataError(f"{both}; save {rank or 1} dimension{'s' if rank > 1 else ''}, the first of them the samples")
    axis = spec.batch_axis if values.ndim == rank else None
    wanted = [length for position, length in enumerate(spec.shape) if position != axis]
    for position, (length, fixed) in enumerate(zip(values.shape[1:], wanted, strict=True), start=1):
        if isinstance(fixed, int) and length != fixed:
            raise DataError(f"{both}; make axis {position} {fixed} long instead of {length}")
    return Form(axis, once=axis is None and all(np.array_equal(sample, values[0]) for sample in values))


def rows_fixed(specs: Iterable[TensorSpec], forms: dict[str, Form]) -> int | None:
    """The batch size that the model fixes, on the axes that samples lie along.

    Raises:
        DataError: two inputs fix different ones.
    """
    fixed: dict[int, str] = {}
    for spec in specs:
        axis = forms[spec.name].axis
        length = spec.shape[axis] if spec.shape and axis is not None else None
        if isinstance(length, int):
            fixed.setdefault(length, spec.name)
    if len(fixed) > 1:
        sizes = ", ".join(f"'{name}' of {size}" for size, name in fixed.items())
        raise DataError(f"the inputs fix different batches: {sizes}; give every sample all of an input: one axis more")
    return next(iter(fixed), None)


def array_text(values: AnyArray) -> str:
    """For messages: `float32 [60, 12]`."""
    return f"{values.dtype} [{', '.join(str(length) for length in values.shape)}]"
