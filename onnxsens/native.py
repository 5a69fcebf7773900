"""Where native code runs, and the user's own: in this process, or in one that may be lost.

Both ways give the same answers. In this process a malformed model ends us; in another it costs an evaluation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from onnxsens.arrays import AnyArray
from onnxsens.care import Lighter, care_for
from onnxsens.engine import Evaluator
from onnxsens.engine.asked import Asked
from onnxsens.engine.carrying import Carried, Carrier, Order, variants_in
from onnxsens.engine.crew import Alone, Call, Crew
from onnxsens.engine.prediction import Prediction, Unpredicted
from onnxsens.engine.questions import Routes
from onnxsens.engine.serving import Build, Said
from onnxsens.engine.sharing import Sharing
from onnxsens.engine.tensor_file import names_in, read_tensors, write_tensors
from onnxsens.engine.workers import Workers
from onnxsens.facts import Facts
from onnxsens.files import TemporaryFolder
from onnxsens.model import Inventory, Model, load_model, take_inventory
from onnxsens.model.inlining import inline_here
from onnxsens.opened import limits_of
from onnxsens.options import Guard, Options
from onnxsens.scan import Nobody, Observer
from onnxsens.station import Station

FIT_OPERATIONS = 20  # for each cube of a weight's width: factorisations of the search for a mask
OPERATIONS_A_SECOND = 3e10


class Native(Protocol):
    """What a workbench has done elsewhere."""

    @property
    def model(self) -> Model:
        """As this process sees it."""

    @property
    def inventory(self) -> Inventory:
        """As this process sees it."""

    @property
    def evaluator(self) -> Evaluator:
        """For joint runs."""

    @property
    def crew(self) -> Crew:
        """Of one, for points."""

    @property
    def carrier(self) -> Carrier:
        """Carries plans out."""

    def facts(self) -> Facts:
        """What was found when all was opened."""

    def macs(self) -> dict[str, int]:
        """See `Station.macs`."""

    def sharing(self, work_seconds: float) -> Sharing:
        """See `Station.sharing`."""

    def without_moments(self) -> dict[str, str]:
        """See `Station.without_moments`."""

    def predictions(self, technique: str, levels: Sequence[float]) -> list[Prediction | Unpredicted]:
        """See `Station.predictions`."""

    def settle(self, folder: Path, lanes: int) -> None:
        """See `Station.settle`."""

    def give(self, name: str, tensors: Mapping[str, AnyArray]) -> None:
        """From here on there is a variant of this name, which has these values."""

    def base(self, name: str) -> Mapping[str, AnyArray]:
        """Stored tensors of a variant that was given, or carried out."""

    def close(self) -> None:
        """Give everything back."""


class Here:
    """In this process."""

    def __init__(self, station: Station) -> None:
        self.station = station
        self.model = station.model
        self.inventory = station.inventory
        self.facts = station.facts
        self.macs = station.macs
        self.sharing = station.sharing
        self.without_moments = station.without_moments
        self.predictions = station.predictions
        self.settle = station.settle
        self.base = station.base
        self.close = station.close

    @property
    def evaluator(self) -> Evaluator:
        """The station's own."""
        return self.station.evaluator

    @property
    def crew(self) -> Crew:
        """The same."""
        return Alone(self.evaluator)

    @property
    def carrier(self) -> Carrier:
        """The station's own."""
        return self.station.carrier

    def give(self, name: str, tensors: Mapping[str, AnyArray]) -> None:
        """Kept in memory."""
        self.station.given[name] = tensors


class Away:
    """In a process that is started at once, and again whenever it is lost.

    Args:
        arguments: of `Station`, by name.
    """

    def __init__(
        self, path: Path, options: Options, observer: Observer, routes: Routes, arguments: Mapping[str, Any]
    ) -> None:
        self._observer = observer
        self._told: set[str] = set()
        self._folder: Path | None = None
        self._given: dict[str, Mapping[str, AnyArray]] = {}
        self._scratch = TemporaryFolder()
        self._lighter = Lighter(options.batch_size, observer)
        self._options, self._path, self._arguments = options, path, arguments
        care = care_for(options.guard, self._lighter)
        self.crew = Workers(stationed, (path, options, arguments), 1, routes, self._hear, care)
        self.evaluator: Evaluator = Asked(self.crew)
        self.carrier: Carrier = self
        try:
            self.crew.start()
            model = load_model(path, limits_of(options.guard))
            self.model = replace(model, inline=partial(inlined_by, self.crew))
            self.inventory = take_inventory(self.model, arguments["apart"])
        except BaseException:
            self.close()
            raise

    def facts(self) -> Facts:
        """Whoever is started later takes over what was decided."""
        found: Facts = self.crew.call("facts", doing="looked at the samples")
        self.crew.per_sample = found.seconds_per_sample
        self._lighter.most = found.recipe.batch_size
        own = replace(
            self._options,
            provider=found.provider,
            threads=found.recipe.threads,
            cache_memory=found.cache_bytes,
        )
        self.crew.open_later(self._path, own, self._arguments)
        self.crew.stand(same_as(found))
        return found

    def macs(self) -> dict[str, int]:
        """Asked."""
        macs: dict[str, int] = self.crew.call("macs", doing="counted MACs", seconds=10 * self.crew.per_sample)
        return macs

    def sharing(self, work_seconds: float) -> Sharing:
        """Asked."""
        found: Sharing = self.crew.call("sharing", work_seconds, doing="tried how fast it is", seconds=work_seconds)
        return found

    def without_moments(self) -> dict[str, str]:
        """Asked."""
        found: dict[str, str] = self.crew.call(
            "without_moments", doing="gathered moments", seconds=self._seconds_of_samples(512)
        )
        return found

    def predictions(self, technique: str, levels: Sequence[float]) -> list[Prediction | Unpredicted]:
        """Asked."""
        seconds = self._seconds_of_samples(512) + len(levels) * self._seconds_of_fits()
        found: list[Prediction | Unpredicted] = self.crew.call(
            "predictions", technique, tuple(levels), doing="predicted curves", seconds=seconds
        )
        return found

    def settle(self, folder: Path, lanes: int) -> None:
        """Told to all."""
        self._folder = folder = folder.absolute()  # code of the user's may go elsewhere
        self.crew.stand(Call("settle", (folder, lanes), "opened the run folder"))

    def give(self, name: str, tensors: Mapping[str, AnyArray]) -> None:
        """By a file."""
        path = self._scratch.path / f"{len(self._given)}.safetensors"
        write_tensors(path, tensors)
        self._given[name] = tensors
        self.crew.stand(Call("give", (name, path), "read a variant"))

    def base(self, name: str) -> Mapping[str, AnyArray]:
        """Read where the other process has left it."""
        if name in self._given:
            return self._given[name]
        if self._folder is None:
            raise KeyError(name)
        path = variants_in(self._folder) / f"{name}.safetensors"
        return read_tensors(path, {each: self.model.array(each) for each in names_in(path)})

    def carry(self, order: Order) -> Carried:
        """Asked."""
        seconds = self._seconds_of_samples(2 * order.samples) + self._seconds_of_fits()
        carried: Carried = self.crew.call("carry", order, doing="carried a plan out", seconds=seconds)
        return carried

    def compressed(self, name: str) -> dict[str, int]:
        """Asked."""
        found: dict[str, int] = self.crew.call("compressed", name, doing="compressed weights")
        return found

    def close(self) -> None:
        """End the process."""
        self.crew.close()
        self._scratch.remove()

    def _seconds_of_samples(self, samples: int) -> float:
        return samples * self.crew.per_sample

    def _seconds_of_fits(self) -> float:
        cubes = sum(float(weight.matrix_shape[1]) ** 3 for weight in self.inventory.weights)
        return FIT_OPERATIONS * cubes / OPERATIONS_A_SECOND

    def _hear(self, said: Said) -> None:
        """A note is told once: whoever is started later opens the same files."""
        if said.kind == "stage":
            self._observer.stage(said.text, 1)
        elif said.kind == "detail":
            self._observer.detail(said.text)
        elif said.text not in self._told:
            self._told.add(said.text)
            self._observer.note(said.text)


def same_as(facts: Facts) -> Call:
    """What a process that opens the same later has to hold against what was found first."""
    return Call("refuse_other", (facts.digests,), "compared what it opened")


class Reporting(Nobody):
    """An observer in another process."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell

    def note(self, text: str) -> None:
        """Passed on."""
        self._tell(Said("note", text))

    def detail(self, text: str) -> None:
        """Passed on."""
        self._tell(Said("detail", text))

    def stage(self, name: str, expected: int) -> None:
        """Passed on."""
        self._tell(Said("stage", name))


def stationed(
    path: Path, options: Options, arguments: Mapping[str, Any], *, routes: Routes, tell: Callable[[object], None]
) -> Station:
    """What a process serves that has all open."""
    return Station(path, options, observer=Reporting(tell), routes=routes, begin=tell, **arguments)


class Inliner:
    """What a process serves that inlines functions, and opens nothing."""

    @property
    def evaluator(self) -> Evaluator:
        """None."""
        raise NotImplementedError

    def call(self, name: str, *arguments: Any) -> Any:
        """`inlined`, the only one."""
        if name != "inlined":
            raise ValueError(f"'{name}' is no call")
        return inline_here(*arguments)


def inliner(*, routes: Routes, tell: Callable[[object], None]) -> Inliner:
    """What such a process serves."""
    return Inliner()


def inlined_by(crew: Workers, model: bytes) -> bytes:
    """A model without its functions, made by a process of the crew."""
    made: bytes = crew.call("inlined", model, doing="inlined the model's functions")
    return made


@contextmanager
def processes(build: Build, arguments: tuple[Any, ...], guard: Guard, say: Observer) -> Iterator[Workers]:
    """One process for a short task."""
    from onnxsens.opened import RunRoutes

    def hear(said: Said) -> None:
        if said.kind == "note":
            say.note(said.text)

    crew = Workers(build, arguments, 1, RunRoutes(), hear, care_for(guard))
    try:
        yield crew
    finally:
        crew.close()


@contextmanager
def model_at(path: str | Path, guard: Guard, observer: Observer | None = None) -> Iterator[Model]:
    """A model whose functions are inlined where the guard has native code run."""
    model = load_model(path, limits_of(guard))
    if guard.in_process or not model.proto.functions:
        yield model
        return
    with processes(inliner, (), guard, observer or Nobody()) as crew:
        yield replace(model, inline=partial(inlined_by, crew))
