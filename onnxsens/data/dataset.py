"""Samples that fit a model, handed out in batches. Knows neither where they came from nor what runs on them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import AnyArray, IntArray, TensorSpec
from onnxsens.data.forms import Form, rows_fixed
from onnxsens.data.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for each input of a model, as stored; made, and checked, by `open_dataset`.

    Args:
        inputs: by model input name, `[n, ...]`, read-only; integers stay integers until a batch is asked for.
        labels: `[n, ...]`, or None where the source has none.
        specs: the model's inputs that are fed.
        preprocessing: what is done to a batch.
        source: the kind of source, for messages, such as `npz`.
        forms: how each input's samples become what it takes.
    """

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None
    specs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    source: str
    forms: dict[str, Form]

    @cached_property
    def _length(self) -> int:
        return next(len(values) for values in self.inputs.values() if values.ndim)

    def __len__(self) -> int:
        return self._length

    @property
    def batched(self) -> bool:
        """Whether any input has an axis of samples; without one, a run is a sample, and so are all of its outputs."""
        return any(form.axis is not None for form in self.forms.values())

    @cached_property
    def rows(self) -> int | None:
        """How long the model fixes the axis of samples; None where it leaves it free."""
        return rows_fixed(self.specs, self.forms)

    @property
    def run_size(self) -> int | None:
        """Samples of one run where that cannot be chosen: 1 where an input is a whole of its own for each sample."""
        alone = any(form.axis is None and not form.once for form in self.forms.values())
        return 1 if alone or not self.batched else self.rows

    @cached_property
    def _preprocessed(self) -> frozenset[str]:
        return self.preprocessing.targets(self.inputs, self.specs)

    def batch(self, indices: IntArray) -> dict[str, AnyArray]:
        """The samples at `indices`, in that order, in the types and axes that the model takes.

        Where an input is a whole of its own for each sample, `indices` must all be the same one.
        """
        return {spec.name: self._fed(spec, indices) for spec in self.specs}

    def feed(self, indices: IntArray) -> dict[str, AnyArray]:
        """What one run takes: as `batch`, filled up with its last sample where the model fixes the batch."""
        missing = (self.rows or 0) - len(indices)
        return self.batch(np.concatenate([indices, np.repeat(indices[-1:], missing)]) if missing > 0 else indices)

    def _fed(self, spec: TensorSpec, indices: IntArray) -> AnyArray:
        form = self.forms[spec.name]
        stored = self.inputs[spec.name]
        chosen = np.zeros(1, np.int64) if form.once else indices[:1] if form.axis is None else indices
        values = stored.reshape(1)[chosen] if stored.ndim == 0 else stored[chosen]
        if spec.name in self._preprocessed and spec.dtype is not None:
            values = self.preprocessing.apply(spec.name, values, spec.dtype)
        if form.axis is None:
            return np.asarray(values[0], order="C")  # `ascontiguousarray` would make a number a vector
        return np.asarray(np.moveaxis(values, 0, form.axis), order="C")

    def labels_at(self, indices: IntArray) -> AnyArray | None:
        """The labels at `indices`, in that order; None where there are none."""
        return None if self.labels is None else self.labels[indices]

    def fingerprint(self) -> str:
        """SHA-256, as hex digits, of everything that a measurement can depend on; the same wherever the file lies."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        named = [(f"input {name}", self.inputs[name]) for name in sorted(self.inputs)]
        if self.labels is not None:
            named.append(("labels", self.labels))
        for name, values in named:
            digest.update(f"{name!r} {values.dtype.str} {values.shape}\n".encode())
            digest.update(np.ascontiguousarray(values).data)
        digest.update(f"preprocessing {self.preprocessing.text}\n".encode())
        return digest.hexdigest()
