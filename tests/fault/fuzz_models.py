"""What a command and its workers do with a model, done with a damaged one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np

from onnxsens.engine.questions import Change, Question
from onnxsens.engine.serving import Doing
from onnxsens.model import load_model, refuse_empty, take_inventory, write_model
from onnxsens.model.inlining import inline_here
from onnxsens.model.shifts import Shifts
from onnxsens.options import Guard, Options
from onnxsens.station import Station
from onnxsens.ways import choose_way
from tests.fault import corpus
from tests.fault.fuzz_loop import OURS, Say
from tests.fault.fuzz_structure import changed
from tests.fault.mutators import mutated

BYTES, STRUCTURE = "bytes", "structure"
SAMPLES = 2
OPTIONS = Options(
    f"random:{SAMPLES}", threads=1, holdout=0.0, cache_memory=1 << 24, batch_size=SAMPLES, guard=Guard(in_process=True)
)


class ModelCases:
    """Damaged models, by kind and number.

    Args:
        seed: of all of them.
        folder: with sound ones.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._seeds = corpus.read_seeds(folder)
        self._contents = [each.content for each in self._seeds]

    def content(self, kind: str, number: int) -> bytes:
        """Of one case; the same for the same seed, kind and number."""
        rng = Random(f"{self._seed} {kind} {number}")
        start = rng.choice(self._contents)
        return mutated(start, rng, self._contents) if kind == BYTES else changed(start, self._contents, rng)


def open_cases(seed: int, folder: Path, scratch: Path, say: Say) -> Callable[[str, int], str]:
    """What runs a case in a process."""
    cases = ModelCases(seed, folder)
    return runner(cases.content, folder, scratch, say)


def open_kept(kept: Path, folder: Path, scratch: Path, say: Say) -> Callable[[str, int], str]:
    """What runs a model that was kept, by its number among them."""
    models = kept_models(kept)
    return runner(lambda kind, number: models[number].content, folder, scratch, say)


def kept_models(kept: Path) -> list[corpus.Seed]:
    """In the order of their names."""
    return [corpus.Seed(path.name, path.read_bytes()) for path in sorted(kept.glob("*.onnx"))]


def runner(content: Callable[[str, int], bytes], folder: Path, scratch: Path, say: Say) -> Callable[[str, int], str]:
    """What puts a model where its data file is, and examines it."""
    from onnxsens.engine.runtime import runtime

    runtime()
    inside = scratch / "in"
    inside.mkdir(exist_ok=True)
    (inside / corpus.DATA_FILE).write_bytes((folder / corpus.DATA_FILE).read_bytes())
    path = inside / "m.onnx"

    def run(kind: str, number: int) -> str:
        put(path, content(kind, number))
        return examine(path, number, say)

    return run


def put(path: Path, content: bytes) -> None:
    """A new file in place of the old one, which may still be mapped."""
    fresh = path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(path)


def examine(path: Path, number: int, say: Say) -> str:
    """Open it as a command does, then as a worker does, and measure."""
    as_a_command_does(path, say)
    return as_a_worker_does(path, number, say)


def as_a_command_does(path: Path, say: Say) -> None:
    """All that is done with a model in the process of the command itself; functions are inlined elsewhere."""

    def inline(content: bytes) -> bytes:
        say("inlined functions")
        made = inline_here(content)
        say(f"{OURS}went on")
        return made

    model = replace(load_model(path), inline=inline)
    inventory = take_inventory(model)
    refuse_empty(model, inventory)
    choose_way(OPTIONS, "none", model, inventory)
    Shifts(model, inventory)
    weight = inventory.weights[0]
    zeros = np.zeros_like(model.array(weight.name))
    written = path.parent / "written.onnx"
    write_model(model, inventory.with_copies({weight.name: zeros}), written)
    load_model(written)


def as_a_worker_does(path: Path, number: int, say: Say) -> str:
    """Open it with samples, zero a weight, measure another level; sometimes what inspecting and predicting do."""

    def begin(doing: Doing) -> None:
        say(doing.text)

    with Station(path, OPTIONS, begin=begin) as station:
        station.facts()
        weights = station.inventory.weights
        weight = weights[number % len(weights)]
        say("zeroed a weight")
        effect = station.evaluator.effect(weight.name, SAMPLES)
        if effect == "effective":
            say("measured a point")
            change = Change(weight.name, station.technique.name, 0.5)
            question = Question((change,), "search", (0, len(station.split.search)), tuple(station.metrics))
            answer = station.evaluator.answer(question)
            refuse_lines(answer.failures.values())
        if number % 4 == 0:
            say("counted MACs")
            station.macs()
        elif number % 4 == 1:
            say("predicted curves")
            station.predictions(station.technique.name, (0.5,))
    return f"measured, {effect}"


def refuse_lines(reasons: object) -> None:
    """Raises:
    AssertionError: a reason takes more than a line.
    """
    for reason in reasons:  # type: ignore[attr-defined]
        assert len(reason.splitlines()) == 1, reason
