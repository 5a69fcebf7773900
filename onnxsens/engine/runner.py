"""Runs a model, or the model with some weights changed, over samples: feeds in, outputs out, batch by batch.

One session a variant. Comparing outputs is somebody else's business.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from onnxsens.arrays import AnyArray, IntArray, TensorSpec
from onnxsens.data import Dataset
from onnxsens.engine.failures import newest_ir
from onnxsens.engine.providers import Provider
from onnxsens.engine.sessions import Recipe, Session, open_session
from onnxsens.errors import ModelError
from onnxsens.model import Inventory, Model, load_model, take_inventory, write_model
from onnxsens.model.working import WorkingCopy, write_working_copy

Outputs = dict[str, AnyArray]

# Prepared batches (scaled, converted) are kept up to this size, because every variant is fed the same ones.
KEPT_FEED_BYTES = 256 * 2**20


def not_batches(model: Model, batch: int | None, inputs: Sequence[TensorSpec]) -> set[str]:
    """Outputs whose first axis is declared as something else than the batch; it may be as long by chance."""
    names = {spec.shape[spec.batch_axis] for spec in inputs if spec.shape and spec.batch_axis is not None}
    others = {dim for spec in inputs for dim in spec.shape or () if isinstance(dim, str)} - names
    found = set()
    for spec in model.outputs:
        first = spec.shape[0] if spec.shape else None
        if (isinstance(first, int) and first != batch) or first in others:
            found.add(spec.name)
    return found


class ModelRunner:
    """Sessions over one working copy of a model, fed from one data set.

    The working copy lives in a temporary folder until `close`. Changed weights are handed to each new session as
    external initializers, before any optimisation, so every fusion and repacking sees them. Each run begins with what
    the data set has for its samples: no state goes from one run to the next.

    Attributes:
        notes: what was done about the model that its owner should know; grows with the first session.
        fed: initializers that the data has other values for.
        ir_version: of the working copy, where the model's own is too new.
    """

    def __init__(
        self,
        model: Model,
        inventory: Inventory,
        dataset: Dataset,
        provider: Provider,
        recipe: Recipe,
        libraries: Sequence[str | Path] = (),
    ) -> None:
        self.model = model
        self.inventory = inventory
        self.dataset = dataset
        self.recipe = recipe
        self.fed = tuple(spec.name for spec in dataset.specs if spec.presence == "default")
        self.notes = [f"the data replaces the stored value of '{name}'" for name in self.fed]
        self.provider = provider
        self.libraries = tuple(libraries)
        self._folder = tempfile.TemporaryDirectory(prefix="onnxsens-")
        self.ir_version: int | None = None
        self._copy = self._working_copy("copy")
        self._other_axis = not_batches(model, dataset.rows, dataset.specs)
        self._feeds: dict[bytes, Mapping[str, AnyArray]] = {}
        self._feed_bytes = 0

    def close(self) -> None:
        """Remove the working copy."""
        self._folder.cleanup()

    @property
    def batch_size(self) -> int:
        """Samples of one run."""
        return self.dataset.run_size or self.recipe.batch_size

    def outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """Tensor outputs by name, `[n, ...]`, a batch at a time, in the order of `indices`.

        Args:
            changes: weight name to its values, in the weight's own shape.
            indices: samples of the data set.
        Raises:
            ModelError: the variant cannot be loaded or run.
        """
        return self._run(self._session(changes), indices)

    def second_outputs(self, indices: IntArray) -> Iterator[Outputs]:
        """Outputs of the dense model when a session runs over these samples for the second time.

        A fresh session would begin with the same random numbers as the first one, and hide that there are any.
        """
        session = self._session({})
        for _ in self._run(session, indices):
            pass
        return self._run(session, indices)

    def all_outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """Every output that comes as an array, as each run gives it: those without samples too, padding included."""
        return self._runs(self._session(changes), indices)

    def saved_outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """The same by another road: write the changed model to a file, load that, run it."""
        with tempfile.TemporaryDirectory(prefix="onnxsens-") as folder:
            path = Path(folder) / "saved.onnx"
            write_model(self.model, changes, path)
            if self.fed or self.ir_version or self.inventory.normal.notes:
                # As it is saved it could not be fed or loaded; so it goes through a working copy of its own.
                saved = load_model(path)
                other = ModelRunner(
                    saved, take_inventory(saved), self.dataset, self.provider, self.recipe, self.libraries
                )
                try:
                    yield from other.all_outputs({}, indices)
                finally:
                    other.close()
            else:
                session = open_session(path, self.model, self.provider, self.recipe, libraries=self.libraries)
                yield from self._runs(session, indices)

    def _working_copy(self, name: str) -> WorkingCopy:
        folder = Path(self._folder.name) / name
        folder.mkdir()
        return write_working_copy(self.model, self.inventory, folder, fed=self.fed, ir_version=self.ir_version)

    def load(self) -> None:
        """See whether the model can be loaded at all.

        Raises:
            ModelError: it cannot.
        """
        self._session({})

    def _session(self, changes: Mapping[str, AnyArray]) -> Session:
        """A session of the working copy, which is made anew, once, with the newest IR version that can be loaded."""
        try:
            return self.opened(self._copy, changes, self.provider, self.recipe)
        except ModelError as error:
            newest = newest_ir(error.__cause__) if error.__cause__ else None
            if newest is None or self.ir_version is not None:
                raise
        self.ir_version = newest
        self._note(f"the model is IR version {self.model.proto.ir_version}; run as {newest}, the newest that can be")
        self._copy = self._working_copy("older-ir")
        return self.opened(self._copy, changes, self.provider, self.recipe)

    def opened(
        self,
        copy: WorkingCopy,
        changes: Mapping[str, AnyArray],
        provider: Provider,
        recipe: Recipe,
        profile: Path | None = None,
    ) -> Session:
        """A session of a copy of the model.

        Args:
            changes: weight name to values, stored type and shape.
            profile: where to record executions.
        """
        given = {name: self.model.array(name) for name in copy.inline} | dict(changes)
        return open_session(
            copy.path,
            self.model,
            provider,
            recipe,
            {copy.names[name]: values for name, values in given.items()},
            data_folder=copy.data_folder,
            libraries=self.libraries,
            profile=profile,
        )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _run(self, session: Session, indices: IntArray) -> Iterator[Outputs]:
        kinds = ", ".join(f"'{name}' is {kind}" for name, kind in session.unreadable.items())
        if not session.readable:
            raise ModelError(f"no output of '{self.model.path.name}' is one that a metric can read: {kinds}; add one")
        if kinds:
            self._note(f"left out, since no metric can read it: {kinds}")
        for number, values in enumerate(self._runs(session, indices)):
            yield self._by_sample(values, min(self.batch_size, len(indices) - number * self.batch_size))

    def _runs(self, session: Session, indices: IntArray) -> Iterator[Outputs]:
        for start in range(0, len(indices), self.batch_size):
            values = session.run(session.readable, self.feed(indices[start : start + self.batch_size]))
            yield dict(zip(session.readable, values, strict=True))

    def _by_sample(self, values: Outputs, samples: int) -> Outputs:
        """The outputs whose first axis is the samples, those of the padding left out.

        Where no input has an axis of samples, no output has one either: each is given a first axis of 1.
        """
        if self.dataset.batched:
            rows = self.dataset.rows or samples
            values = {
                name: value[:samples]
                for name, value in values.items()
                if value.ndim and len(value) == rows and name not in self._other_axis
            }
        else:
            values = {name: value[None] for name, value in values.items()}
        return values

    def feed(self, indices: IntArray) -> Mapping[str, AnyArray]:
        """Model-ready inputs of one run; a batch that is too short for a fixed batch is filled with its last sample."""
        key = indices.tobytes()
        if key in self._feeds:
            return self._feeds[key]
        feed = self.dataset.feed(indices)
        size = sum(value.nbytes for value in feed.values())
        if self._feed_bytes + size <= KEPT_FEED_BYTES:
            self._feeds[key] = feed
            self._feed_bytes += size
        return feed
