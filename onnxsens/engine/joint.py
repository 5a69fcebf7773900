"""Variants of many weights at once. Nearly always the first layer is among them, so the whole model is run.

Either all weights are inputs of one session, which is made once, or a session is made for each variant.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

from onnxsens.arrays import AnyArray, TensorSpec
from onnxsens.engine.answering import BatchKey, Variants
from onnxsens.engine.dense import DenseByBatch
from onnxsens.engine.frontier import Frontiers
from onnxsens.engine.parts import Parts
from onnxsens.engine.places import Place
from onnxsens.engine.questions import Change, Route, Routes
from onnxsens.engine.routes import choose, tried
from onnxsens.engine.runner import ModelRunner, Outputs
from onnxsens.engine.sessions import Session
from onnxsens.engine.shelf import WHOLE, Shelf
from onnxsens.model import Inventory
from onnxsens.model.cutting import CutModel

JOINT = ""  # the key of their route
LIKELY_VARIANTS = 40  # that a plan asks for


class JointRuns:
    """Runs of the model with all weights as inputs, and the choice whether to make them."""

    def __init__(
        self,
        runner: ModelRunner,
        inventory: Inventory,
        variants: Variants,
        frontiers: Frontiers,
        dense: DenseByBatch,
        shelf: Shelf,
        parts: Parts,
        place: Place,
        wanted: tuple[str, ...],
    ) -> None:
        self._runner = runner
        self._names = [weight.name for weight in inventory.weights]
        self._variants = variants
        self._frontiers = frontiers
        self._dense = dense
        self._shelf = shelf
        self._parts = parts
        self._place = place
        self._wanted = wanted
        self._values: tuple[tuple[Change, ...], dict[str, AnyArray]] = ((), {})

    def route(self, routes: Routes, batches: list[BatchKey], say: Callable[[str], None]) -> Route:
        """The kept one, or the one that is found on the first of these batches."""
        known = routes.known(JOINT)
        if known is not None:
            return known
        dense = self._dense.batch(batches[0])
        weights = self._weights({})

        def run() -> Outputs:
            return self._job(self._session(), batches[0], weights)()

        trial = tried(run, dense, once=self._session)
        whole = self._dense.trial(batches[0])
        rounds = -(-len(batches) // self._runner.lanes.count)
        route = choose({"input": trial}, whole, rounds, LIKELY_VARIANTS)
        routes.keep(JOINT, route)
        say(f"many weights at once: {'all weights as inputs' if route.engine == 'suffix' else 'a session a variant'}")
        if route.engine == "reference":
            self._shelf.drop((WHOLE, "joint"))
            self._place.rest()
        return route

    def run(self, changes: tuple[Change, ...], batches: list[BatchKey]) -> list[Outputs]:
        """The wanted outputs of a variant; the values of the last one are kept, since it is asked for in blocks.

        Raises:
            ModelError: it does not run.
            SmallerBatchError: batches are to be smaller.
        """
        if self._values[0] != changes:
            self._values = ((), {})  # before the next ones take their memory
            self._values = changes, self._weights(self._variants.values(changes))
        session = self._session()
        jobs = (self._job(session, batch, self._values[1]) for batch in batches)
        return list(self._runner.lanes.results(jobs))

    def rest(self) -> None:
        """Let go of the last variant's values."""
        if self._values[0]:
            self._values = ((), {})
            self._place.rest()

    def _weights(self, changed: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Initializer to values, of all weights."""
        names = self._runner.copy.names
        return {
            names[name]: changed[name] if name in changed else self._runner.model.array(name) for name in self._names
        }

    def _session(self) -> Session:
        _, size = self._needs
        return self._shelf.session((WHOLE, "joint"), size, lambda: self._parts.session(self._part(), {}))

    @cached_property
    def _needs(self) -> tuple[tuple[str, ...], int]:
        """What the model with all weights as inputs is fed, and the bytes of weights that it has besides."""
        part = self._part()
        return part.inputs, part.weight_bytes

    def _part(self) -> CutModel:
        arrays = {self._runner.copy.names[name]: self._runner.model.array(name) for name in self._names}
        inputs = {name: TensorSpec(name, array.dtype, array.shape) for name, array in arrays.items()}
        return self._runner.wiring.cut({}, self._wanted, inputs)

    def _job(self, session: Session, batch: BatchKey, values: Mapping[str, AnyArray]) -> Callable[[], Outputs]:
        """What runs one batch, all that it needs at hand."""
        _, start, stop = batch
        inputs, _ = self._needs
        with self._runner.fitting.room(stop - start):
            given = self._frontiers.fed(batch)
            given |= {name: self._place.changing(name, values[name]) for name in values}
        given = {name: given[name] for name in inputs if name in given}

        def run() -> Outputs:
            with self._runner.fitting.room(stop - start):
                found = self._place.read(session, session.readable, given)
            return self._runner.by_sample(found, stop - start)

        return run
