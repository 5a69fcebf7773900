"""Samples that fit a model, handed out in batches. Knows neither where they came from nor what runs on them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxsens.arrays import AnyArray, IntArray, TensorSpec
from onnxsens.data.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Dataset:
    """Samples for each input of a model, as stored; made, and checked, by `open_dataset`.

    Args:
        inputs: by model input name, `[n, ...]`, read-only; integers stay integers until a batch is asked for.
        labels: `[n, ...]`, or None where the source has none.
        specs: the model's inputs.
        preprocessing: what is done to a batch.
        source: the kind of source, for messages, such as `npz`.
    """

    inputs: Mapping[str, AnyArray]
    labels: AnyArray | None
    specs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    source: str

    def __len__(self) -> int:
        return len(self.inputs[self.specs[0].name])

    @cached_property
    def _preprocessed(self) -> frozenset[str]:
        return self.preprocessing.targets(self.inputs, self.specs)

    def batch(self, indices: IntArray) -> dict[str, AnyArray]:
        """The samples at `indices`, in that order, in the types that the model takes; new arrays."""
        feeds = {}
        for spec in self.specs:
            values = self.inputs[spec.name][indices]
            if spec.name in self._preprocessed and spec.dtype is not None:
                values = self.preprocessing.apply(spec.name, values, spec.dtype)
            feeds[spec.name] = values
        return feeds

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
