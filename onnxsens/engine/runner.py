"""Runs a model, or the model with some weights changed, over samples: feeds in, outputs out, batch by batch.

One session a variant. Comparing outputs is somebody else's business.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from onnxsens.arrays import AnyArray, IntArray, TensorSpec
from onnxsens.data import Dataset
from onnxsens.engine.failures import newest_ir
from onnxsens.engine.fitting import Fitting
from onnxsens.engine.lanes import Lanes, lanes_for
from onnxsens.engine.providers import CPU, Provider
from onnxsens.engine.sessions import Recipe, Session, open_session
from onnxsens.errors import ModelError
from onnxsens.files import TemporaryFolder
from onnxsens.model import Inventory, Model, load_model, take_inventory, write_model
from onnxsens.model.cutting import Wiring
from onnxsens.model.working import WorkingCopy, write_working_copy

Outputs = dict[str, AnyArray]

# Prepared batches (scaled, converted) are kept up to this size, because every variant is fed the same ones; less where
# an evaluator has less room for them.
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

    Whatever runs batches may raise `SmallerBatchError`: it is to be asked again.

    Args:
        say: told of each note when it is made.
        adjustable: stored tensors besides the weights that may be changed.

    Attributes:
        notes: what was done about the model that its owner should know; grows with the first session, and where
            memory runs out.
        fitting: how many samples are run at once.
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
        say: Callable[[str], None] = lambda note: None,
        adjustable: Collection[str] = (),
    ) -> None:
        self.model = model
        self.inventory = inventory
        self.dataset = dataset
        self.recipe = recipe
        self.fed = tuple(spec.name for spec in dataset.specs if spec.presence == "default")
        self._say = say
        self._adjustable = frozenset(adjustable)
        self.notes: list[str] = []
        for name in self.fed:
            self._note(f"the data replaces the stored value of '{name}'")
        size = dataset.run_size
        self.fitting = Fitting(size or recipe.batch_size, fixed=size is not None, say=self._note)
        self.fitting.alone = partial(self.run_side_by_side, 1)
        self.provider = provider
        self.libraries = tuple(libraries)
        self._folder = TemporaryFolder()
        self.ir_version: int | None = None
        self._copy = self._working_copy("copy")
        self._other_axis = not_batches(model, dataset.rows, dataset.specs)
        self._feeds: dict[bytes, Mapping[str, AnyArray]] = {}
        self._feed_bytes = 0
        self._feed_room = KEPT_FEED_BYTES
        self.lanes = Lanes()

    def close(self) -> None:
        """Remove the working copy."""
        self.lanes.close()
        self._folder.remove()

    def lanes_for(self, seconds: float) -> int:
        """How many batches are worth being run side by side, where one takes so many seconds.

        One on a device, which is busy with it, and where a session's state goes from run to run.
        """
        if self.provider.name != CPU or self.random is not None:
            return 1
        return lanes_for(self.recipe.threads, seconds)

    def run_side_by_side(self, batches: int) -> None:
        """Run so many batches at once; sessions that are opened from here on share out the threads."""
        self.lanes.close()
        self.lanes = Lanes(batches)
        self.fitting.side_by_side = batches

    @property
    def session_recipe(self) -> Recipe:
        """The recipe, with the threads of one session."""
        return replace(self.recipe, threads=max(self.recipe.threads // self.lanes.count, 1))

    @property
    def copy(self) -> WorkingCopy:
        """What sessions are made of; another one after a first session that only an older IR version could have."""
        return self._copy

    @cached_property
    def wiring(self) -> Wiring:
        """Which nodes read what."""
        return Wiring.of_file(self._copy.path)

    @cached_property
    def random(self) -> str | None:
        """Why two runs of the model may differ; None where they cannot."""
        return self.wiring.random(libraries=bool(self.libraries))

    @cached_property
    def weight_bytes(self) -> int:
        """Of all that the model stores in its main graph."""
        return self.wiring.weight_bytes

    @property
    def batch_size(self) -> int:
        """Samples of one run."""
        return self.fitting.most

    def outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """Tensor outputs by name, `[n, ...]`, a batch at a time, in the order of `indices`.

        Args:
            changes: weight name to its values, in the weight's own shape.
            indices: samples of the data set.
        Raises:
            ModelError: the variant cannot be loaded or run.
        """
        return self.run(self.session(changes), indices)

    def second_outputs(self, indices: IntArray, read: str | None = None) -> Iterator[Outputs]:
        """Outputs of the dense model when a session runs over these samples for the second time.

        A fresh session would begin with the same random numbers as the first one, and hide that there are any.
        """
        session = self.session({})
        for _ in self.run(session, indices, read):
            pass
        return self.run(session, indices, read)

    def all_outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """Every output that comes as an array, as each run gives it: those without samples too, padding included."""
        session = self.session(changes)
        return self._runs(session, session.readable, indices)

    def saved_outputs(self, changes: Mapping[str, AnyArray], indices: IntArray) -> Iterator[Outputs]:
        """The same by another road: write the changed model to a file, load that, run it."""
        with TemporaryFolder() as folder:
            path = folder / "saved.onnx"
            write_model(self.model, self.inventory.with_copies(changes), path)
            if self.fed or self.ir_version or self.inventory.normal.notes:
                # As it is saved it could not be fed or loaded; so it goes through a working copy of its own.
                saved = load_model(path)
                other = ModelRunner(
                    saved, take_inventory(saved), self.dataset, self.provider, self.session_recipe, self.libraries
                )
                other.fitting = self.fitting
                try:
                    yield from other.all_outputs({}, indices)
                finally:
                    other.close()
            else:
                session = open_session(path, self.model, self.provider, self.session_recipe, libraries=self.libraries)
                yield from self._runs(session, session.readable, indices)

    def _working_copy(self, name: str) -> WorkingCopy:
        folder = self._folder.path / name
        folder.mkdir()
        return write_working_copy(
            self.model, self.inventory, folder, fed=self.fed, ir_version=self.ir_version, adjustable=self._adjustable
        )

    def load(self) -> None:
        """See whether the model can be loaded at all.

        Raises:
            ModelError: it cannot.
        """
        self.session({})

    def session(self, changes: Mapping[str, AnyArray]) -> Session:
        """A session of the working copy, which is made anew, once, with the newest IR version that can be loaded."""
        try:
            return self.opened(self._copy, changes, self.provider, self.session_recipe)
        except ModelError as error:
            newest = newest_ir(error.__cause__) if error.__cause__ else None
            if newest is None or self.ir_version is not None:
                raise
        self.ir_version = newest
        self._note(f"the model is IR version {self.model.proto.ir_version}; run as {newest}, the newest that can be")
        self._copy = self._working_copy("older-ir")
        self.__dict__.pop("wiring", None)  # it was read from the copy that could not be loaded
        return self.opened(self._copy, changes, self.provider, self.session_recipe)

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
            self._say(text)

    def run(self, session: Session, indices: IntArray, read: str | None = None) -> Iterator[Outputs]:
        """As `outputs`, in a session that is there.

        Args:
            read: the only output that is looked at; the others need not come back from where they are computed.
        """
        return self.lanes.results(self.job(session, batch, read) for batch in self._batches(indices))

    def job(self, session: Session, batch: IntArray, read: str | None = None) -> Callable[[], Outputs]:
        """What runs one batch, as `run` does; may be called in another thread."""
        kinds = ", ".join(f"'{name}' is {kind}" for name, kind in session.unreadable.items())
        if not session.readable:
            raise ModelError(f"no output of '{self.model.path.name}' is one that a metric can read: {kinds}; add one")
        if kinds:
            self._note(f"left out, since no metric can read it: {kinds}")
        job = self._job(session, [read] if read else session.readable, batch)
        return lambda: self.by_sample(job(), len(batch))

    def _runs(self, session: Session, names: Sequence[str], indices: IntArray) -> Iterator[Outputs]:
        return self.lanes.results(self._job(session, names, batch) for batch in self._batches(indices))

    def _job(self, session: Session, names: Sequence[str], batch: IntArray) -> Callable[[], Outputs]:
        feed = self.feed(batch)

        def run() -> Outputs:
            with self.fitting.room(len(batch)):
                return dict(zip(names, session.run(names, feed), strict=True))

        return run

    def _batches(self, indices: IntArray) -> list[IntArray]:
        size = self.batch_size
        return [indices[start : start + size] for start in range(0, len(indices), size)]

    def by_sample(self, values: Outputs, samples: int) -> Outputs:
        """The outputs whose first axis is the samples, those of the padding left out.

        Where no input has an axis of samples, no output has one either: each is given a first axis of 1.

        Args:
            samples: in the batch, without padding.
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
        if self._feed_bytes + size <= self._feed_room:
            self._feeds[key] = feed
            self._feed_bytes += size
        return feed

    def keep_feeds(self, room: int) -> None:
        """Keep prepared batches of up to so many bytes, and no more than usual."""
        self._feed_room = min(room, KEPT_FEED_BYTES)
        self._feeds.clear()
        self._feed_bytes = 0
