"""One set of routes, one plan: over processes, hash seeds, the order of work, and whether there is a process apart.

How a model's weights are run is chosen by measuring and stored, and last bits depend on it; so all runs of a model are
given the routes of the first one. Then plans are the same to the byte, on every model that is shipped.

python -m tests.fault determinism --cases 20
"""

import argparse
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.fault.running import MODELS, Task, outcome, run, with_routes_of, work_folder

SHORT = ("--sparsity", "0.5", "--scan-samples", "64", "--update", "none")
SAMPLES = {
    "fashion": ("fashion_mnist_test.npz", ("--scale", "255")),
    "jv": ("japanese_vowels_test.npz", ()),
}
JOBS = (1, 2, 4)
FEW = 370  # samples: all that the smaller file has


@dataclass(frozen=True)
class Way:
    """Another way to come to the same plan.

    Attributes:
        jobs: processes that measure.
        seed: of Python's hashes.
        in_process: without a process apart.
        before: weights and a level that are measured first, in this order.
    """

    jobs: int = 1
    seed: int = 0
    in_process: bool = False
    before: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        apart = "in process" if self.in_process else f"-j {self.jobs}"
        return f"{apart}, hash seed {self.seed}{', in another order' if self.before else ''}"


def shipped() -> list[str]:
    """Every model that is shipped, by name."""
    return sorted(model.stem for model in MODELS.glob("*.onnx"))


def task_on(name: str, place: Path) -> Task:
    """A short task on a model, with few samples in a file of its own."""
    samples, options = SAMPLES[name.split("_", maxsplit=1)[0]]
    place.mkdir(parents=True)
    with np.load(MODELS / samples) as arrays:
        np.savez(place / samples, **{key: arrays[key][:FEW] for key in arrays.files})
    return Task(name, MODELS / f"{name}.onnx", place / samples, (*options, *SHORT))


def ways(rng: np.random.Generator, weights: Sequence[str], cases: int) -> Iterator[Way]:
    """Two processes in a shuffled order, and none; with `cases` also each thing alone, and as many mixtures."""

    def seed() -> int:
        return int(rng.integers(1, 2**32))

    def shuffled() -> tuple[tuple[str, float], ...]:
        some = rng.permutation(len(weights))[:2]
        return tuple((weights[number], round(float(rng.uniform(0.05, 0.95)), 3)) for number in some)

    yield Way(2, seed(), before=shuffled())
    yield Way(1, seed(), in_process=True)
    if not cases:
        return
    yield from (Way(jobs, seed()) for jobs in JOBS)
    yield Way(1, seed(), before=shuffled())
    for _ in range(cases):
        alone = bool(rng.random() < 0.3)
        before = shuffled() if rng.random() < 0.5 else ()
        yield Way(1 if alone else int(rng.choice(JOBS)), seed(), alone, before)


def go(task: Task, way: Way, first: Path, place: Path) -> list[str]:
    """Come to a plan in that way; what is not the same."""
    with_routes_of(first, place / "run")
    surroundings = {"PYTHONHASHSEED": str(way.seed)}
    apart = ["--in-process"] if way.in_process else ["-j", str(way.jobs)]
    for weight, level in way.before:
        given = task.arguments(place / "run")[1:]
        given = [text for number, text in enumerate(given) if "--sparsity" not in (text, given[number - 1])]
        done = run(["scan", *given, "--weights", weight, "--levels", level], place, environment=surroundings)
        if done.code:
            return [f"{task.name}, {way}: scan ends with {done.code}: {done.err[-300:]}"]
    done = run([*task.arguments(place / "run"), *apart], place, environment=surroundings)
    if done.code:
        return [f"{task.name}, {way}: exit code {done.code}: {done.err[-300:]}"]
    expected, found = outcome(first), outcome(place / "run")
    wrong = [f"{task.name}, {way}: {name} is another" for name in expected if expected[name] != found.get(name)]
    if not wrong:
        shutil.rmtree(place)
    return wrong


def weights_in(folder: Path) -> list[str]:
    """Weights that a run has measured points of."""
    with closing(sqlite3.connect(f"{(folder / 'scan.db').as_uri()}?mode=ro", uri=True)) as database:
        return [name for (name,) in database.execute("SELECT DISTINCT weight FROM point ORDER BY weight")]


def determinism(
    folder: Path, seed: int, cases: int, lanes: int = 2, names: Sequence[str] | None = None
) -> tuple[int, list[str]]:
    """All ways on all models: how many runs were compared, and what was not the same."""

    def one(numbered: tuple[int, str]) -> tuple[int, list[str]]:
        number, name = numbered
        rng = np.random.default_rng((seed, number))
        place = folder / name
        task = task_on(name, place)
        done = run(task.arguments(place / "run"), place, environment={"PYTHONHASHSEED": "0"})
        if done.code:
            return 0, [f"{task.name}: exit code {done.code}: {done.err[-300:]}"]
        wanted = list(ways(rng, weights_in(place / "run"), cases))
        wrong = [
            what
            for count, way in enumerate(wanted)
            for what in go(task, way, place / "run", folder / f"{task.name}-{count}")
        ]
        return len(wanted), wrong

    with ThreadPoolExecutor(lanes) as pool:
        found = list(pool.map(one, enumerate(shipped() if names is None else names)))
    return sum(count for count, _ in found), [what for _, wrong in found for what in wrong]


def main(arguments: list[str]) -> int:
    """The tool: prints complaints and a summary; 1 where there is any."""
    parser = argparse.ArgumentParser(prog="determinism", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=0, help="mixtures on each model, besides each thing alone")
    parser.add_argument("--lanes", type=int, default=2, help="models at a time")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave there what is complained of")
    given = parser.parse_args(arguments)
    with work_folder(given.keep) as folder:
        compared, wrong = determinism(folder, given.seed, given.cases, given.lanes)
    sys.stdout.write("".join(f"{complaint}\n" for complaint in wrong))
    sys.stdout.write(f"determinism: {compared} runs of {len(shipped())} models compared, {len(wrong)} complaints\n")
    return 1 if wrong else 0
