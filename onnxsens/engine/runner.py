"""Runs a model, or the model with some weights changed, over samples: feeds in, outputs out, batch by batch.

One session a variant. Comparing outputs is somebody else's business.
"""

import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxsens.arrays import AnyArray, FloatArray, IntArray
from onnxsens.data import Dataset
from onnxsens.engine.providers import Provider
from onnxsens.engine.runtime import one_line, runtime, silenced
from onnxsens.errors import ModelError, ProviderError
from onnxsens.model import Model
from onnxsens.model.surgery import write_model, write_working_copy

Outputs = dict[str, AnyArray]

# Prepared batches (scaled, converted) are kept up to this size, because every variant is fed the same ones.
KEPT_FEED_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Recipe:
    """How sessions are made. Part of the result: another recipe may change last bits.

    Attributes:
        optimisation: ONNX Runtime's graph optimisation level.
        threads: inside an operator.
        batch_size: samples of one run; a model with a fixed batch overrides it.
    """

    provider: str
    threads: int
    batch_size: int
    optimisation: str = "all"

    def as_dict(self) -> dict[str, str | int]:
        """For the run's identity."""
        return asdict(self)


def default_threads() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fixed_batch(model: Model) -> int | None:
    """The batch size that the model's inputs fix, if all that fix one agree."""
    sizes = {spec.shape[0] for spec in model.inputs if spec.shape and isinstance(spec.shape[0], int)}
    return int(sizes.pop()) if len(sizes) == 1 else None


def not_batches(model: Model, batch: int | None) -> set[str]:
    """Outputs whose first axis is declared as something else than the batch; it may be as long by chance."""
    return {
        spec.name for spec in model.outputs if spec.shape and isinstance(spec.shape[0], int) and spec.shape[0] != batch
    }


class ModelRunner:
    """Sessions over one working copy of a model, fed from one data set.

    The working copy lives in a temporary folder until `close`. Changed weights are handed to each new session as
    external initializers, before any optimisation, so every fusion and repacking sees them.
    """

    def __init__(
        self, model: Model, probed: Collection[str], dataset: Dataset, provider: Provider, recipe: Recipe
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.recipe = recipe
        self._provider = provider
        self._batch = fixed_batch(model)
        self._folder = tempfile.TemporaryDirectory(prefix="onnxsens-")
        self._path = write_working_copy(model, Path(self._folder.name), frozenset(probed))
        self._other_axis = not_batches(model, self._batch)
        self._feeds: dict[bytes, Mapping[str, AnyArray]] = {}
        self._feed_bytes = 0

    def close(self) -> None:
        """Remove the working copy."""
        self._folder.cleanup()

    @property
    def batch_size(self) -> int:
        """Samples of one run."""
        return self._batch or self.recipe.batch_size

    def outputs(self, changes: Mapping[str, FloatArray], indices: IntArray) -> Iterator[Outputs]:
        """Tensor outputs by name, `[n, ...]`, a batch at a time, in the order of `indices`.

        Args:
            changes: weight name to its values, in the weight's own shape.
            indices: samples of the data set.
        Raises:
            ModelError: the variant cannot be loaded or run.
        """
        return self._run(self._session(self._path, changes), indices)

    def second_outputs(self, indices: IntArray) -> Iterator[Outputs]:
        """Outputs of the dense model when a session runs over these samples for the second time.

        A fresh session would begin with the same random numbers as the first one, and hide that there are any.
        """
        session = self._session(self._path, {})
        for _ in self._run(session, indices):
            pass
        return self._run(session, indices)

    def saved_outputs(self, changes: Mapping[str, FloatArray], indices: IntArray) -> Iterator[Outputs]:
        """The same by another road: write the changed model to a file, load that, run it."""
        with tempfile.TemporaryDirectory(prefix="onnxsens-") as folder:
            path = Path(folder) / "saved.onnx"
            write_model(self.model, changes, path)
            yield from self._run(self._session(path, {}), indices)

    def _session(self, path: Path, changes: Mapping[str, FloatArray]) -> Any:
        ort = runtime()
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.recipe.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        # The values must outlive the options: a collected OrtValue is a segfault.
        values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value)) for value in changes.values()]
        if values:
            options.add_external_initializers(list(changes), values)
        try:
            if self._provider.name == "CPUExecutionProvider":
                session = ort.InferenceSession(str(path), options, providers=self._provider.stack)
            else:
                with silenced():
                    session = ort.InferenceSession(str(path), options, providers=self._provider.stack)
        except Exception as error:  # native code raises many types here, UnicodeDecodeError among them
            raise ModelError(f"onnxruntime cannot load '{self.model.path.name}': {one_line(error)}") from error
        if session.get_providers()[0] != self._provider.name:
            raise ProviderError(
                f"{self._provider.name} is not active: the session fell back to {session.get_providers()[0]}; "
                "use --providers cpu, or mend the installation (see 'onnxsens doctor')"
            )
        return session

    def _run(self, session: Any, indices: IntArray) -> Iterator[Outputs]:
        names = [value.name for value in session.get_outputs() if value.type.startswith("tensor(")]
        for start in range(0, len(indices), self.batch_size):
            chosen = indices[start : start + self.batch_size]
            feed = self.feed(chosen)
            try:
                values = session.run(names, feed)
            except Exception as error:  # as above
                raise ModelError(f"onnxruntime cannot run '{self.model.path.name}': {one_line(error)}") from error
            fed = len(next(iter(feed.values())))
            yield {
                name: value[: len(chosen)]
                for name, value in zip(names, values, strict=True)
                if value.ndim and len(value) == fed and name not in self._other_axis
            }

    def feed(self, indices: IntArray) -> Mapping[str, AnyArray]:
        """Model-ready inputs; a batch that is too short for a fixed batch is filled with its last sample."""
        key = indices.tobytes()
        if key in self._feeds:
            return self._feeds[key]
        padded = indices
        if self._batch and len(indices) < self._batch:
            padded = np.concatenate([indices, np.repeat(indices[-1:], self._batch - len(indices))])
        feed = self.dataset.batch(padded)
        size = sum(value.nbytes for value in feed.values())
        if self._feed_bytes + size <= KEPT_FEED_BYTES:
            self._feeds[key] = feed
            self._feed_bytes += size
        return feed
