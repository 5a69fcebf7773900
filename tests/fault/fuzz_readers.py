"""Every reader of a file that is handed in, or that an earlier run left, on damaged files.

They are Python, and sound or not, a file ends in a documented error or in a result; in no reader may a process die.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np

from onnxsens.data import Preprocessing, open_dataset
from onnxsens.engine.tensor_file import read_tensors
from onnxsens.errors import OnnxsensError
from onnxsens.frameworks.checkpoints import open_checkpoint
from onnxsens.frameworks.exporting import refuse_other_map
from onnxsens.frameworks.mapfile import read_map
from onnxsens.frameworks.masks import carry_back
from onnxsens.frameworks.sparse_files import plan_of, read_aliases, read_masks, read_weights
from onnxsens.model import Inventory, Model, load_model, take_inventory
from onnxsens.plan import Plan, planned_weights, read_plan
from onnxsens.plan.front import read_front
from onnxsens.scan.examining import examine
from onnxsens.scan.settings import read_settings
from onnxsens.scan.store import FILE, Store
from tests.fault.commits import IDENTITY, MADE_BY, SETTINGS
from tests.fault.corpus import Seed
from tests.fault.fuzz_loop import FOUND, OURS, Say, refused
from tests.fault.mutators import (
    mutated,
    mutated_json,
    mutated_npy,
    mutated_safetensors,
    mutated_zip,
)

READERS = "readers"
BYTES_ALONE = 0.25  # of the cases whose damage knows no format
MOST_DATA = 64 << 20  # bytes of samples


class Desk:
    """Where files are read: a folder that is like a run's, and the run's model.

    Args:
        run: with the sound files.
        scratch: where damaged ones are put.
    """

    def __init__(self, run: Path, scratch: Path) -> None:
        self.run = run
        self.scratch = scratch
        self.number = 0

    @cached_property
    def model(self) -> Model:
        """Of the run."""
        return load_model(self.run / "model.onnx")

    @cached_property
    def inventory(self) -> Inventory:
        """Of the model."""
        return take_inventory(self.model)

    @cached_property
    def plan(self) -> Plan:
        """Of the run, sound."""
        return read_plan(self.run / "plan.json")

    def put(self, name: str, content: bytes, *beside: Path) -> Path:
        """A damaged file in a folder of its own, with sound ones beside it."""
        self.number += 1
        folder = self.scratch / f"{self.number % 4}"
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
        folder.mkdir(exist_ok=True)
        for path in beside:
            (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_bytes(content)
        return folder / name


Damage = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Reader:
    """How files of a kind are damaged, and what is done with them.

    Attributes:
        share: of all cases, in thousandths.
        name: that files get; their own where it is empty.
        beside: names of sound files that lie beside them, from the run.
    """

    share: int
    damage: Damage
    read: Callable[[Desk, Path], None]
    name: str = ""
    beside: tuple[str, ...] = ()


def damaged_json(content: bytes, rng: Random) -> bytes:
    """Some values are others; or bytes are."""
    return mutated(content, rng) if rng.random() < BYTES_ALONE else mutated_json(content, rng)


def damaged_npz(content: bytes, rng: Random) -> bytes:
    """Some member is another; or bytes are."""
    return mutated(content, rng) if rng.random() < BYTES_ALONE else mutated_zip(content, rng, mutated_npy)


def damaged_torch(content: bytes, rng: Random) -> bytes:
    """Its pickle above all, stored as torch does."""
    if rng.random() < BYTES_ALONE or not content.startswith(b"PK"):
        return mutated(content, rng)
    return mutated_zip(content, rng, mutated, packed=False)


def any_damage(content: bytes, rng: Random) -> bytes:
    """To bytes."""
    return mutated(content, rng)


def samples(desk: Desk, path: Path) -> None:
    """As a run reads them."""
    dataset = open_dataset(str(path), desk.model.inputs, max_data_bytes=MOST_DATA)
    dataset.fingerprint()
    indices = np.arange(min(len(dataset), 3))
    dataset.feed(indices)
    dataset.labels_at(indices)


def images(desk: Desk, path: Path) -> None:
    """A folder of one."""
    from onnxsens.arrays import TensorSpec

    spec = TensorSpec("x", np.dtype(np.float32), ("N", 3, 8, 8))
    dataset = open_dataset(str(path.parent), [spec], Preprocessing(scale=255.0), max_data_bytes=MOST_DATA)
    dataset.feed(np.arange(len(dataset)))


def plan(desk: Desk, path: Path) -> None:
    """And carry it out, on a model that it need not be of, and on its own."""
    made = read_plan(path)
    if made.changes is None:
        dict(planned_weights(made, path.parent, desk.model, desk.inventory, by_name=True))
    dict(planned_weights(made, path.parent, desk.model, desk.inventory, by_name=False))


def front(desk: Desk, path: Path) -> None:
    read_front(path)


def map_file(desk: Desk, path: Path) -> None:
    """And take the run's plan back by it."""
    made = read_map(path)
    refuse_other_map(made, desk.model)
    changed = planned_weights(desk.plan, desk.run, desk.model, desk.inventory, by_name=False)
    carry_back(desk.plan, desk.model, desk.inventory, changed, made, guesses=True)


def changes(desk: Desk, path: Path) -> None:
    read_tensors(path, {name: desk.model.array(name) for name in desk.model.stored})


def masks(desk: Desk, path: Path) -> None:
    plan_of(path)
    read_aliases(path)
    read_masks(path)


def weights(desk: Desk, path: Path) -> None:
    read_weights(path)


def checkpoint(desk: Desk, path: Path) -> None:
    """All of it."""
    for parameter in open_checkpoint(path).parameters:
        values = parameter.read()
        assert values.shape == parameter.shape


def store(desk: Desk, path: Path) -> None:
    """Look at it, read its settings, open it for work, and read all that is in it."""
    examine(path)
    try:
        read_settings(path.parent)
        opened = Store(path.parent, IDENTITY, SETTINGS, MADE_BY)
    finally:
        (path.parent / FILE).unlink(missing_ok=True)
    with opened:
        opened.points("magnitude")
        opened.joint("0" * 64, "holdout")
        opened.predictions("magnitude")
        opened.effects()
        opened.artefacts()
        opened.known("layer0.weight")


TABLE: dict[str, Reader] = {
    "npz": Reader(150, damaged_npz, samples, "samples.npz"),
    "npy": Reader(150, mutated_npy, samples, "samples.npy"),
    "images": Reader(20, any_damage, images),
    "labels": Reader(15, any_damage, images, "labels.csv", ("a.png", "b.png")),
    "plan": Reader(160, damaged_json, plan, "plan.json", ("changes.safetensors",)),
    "pareto": Reader(100, damaged_json, front, "pareto.json"),
    "map": Reader(150, damaged_json, map_file, "map.json"),
    "changes": Reader(40, mutated_safetensors, changes, "changes.safetensors"),
    "masks": Reader(70, mutated_safetensors, masks, "masks.safetensors"),
    "weights": Reader(40, mutated_safetensors, weights, "weights.safetensors"),
    "safetensors": Reader(40, mutated_safetensors, checkpoint, "m.safetensors"),
    "shards": Reader(15, damaged_json, checkpoint, "", ("source.safetensors",)),
    "arrays": Reader(20, damaged_npz, checkpoint, "m.npz"),
    "flax": Reader(20, any_damage, checkpoint, "m.msgpack"),
    "torch": Reader(5, damaged_torch, checkpoint, "m.pt"),
    "store": Reader(5, any_damage, store, FILE),
}
# Run only when named: each case of it takes a process of its own.
APART: dict[str, Reader] = {"keras": Reader(0, any_damage, checkpoint, "m.weights.h5")}


class ReaderCases:
    """Damaged files by number; which reader a number goes to is drawn, or is the kind.

    Args:
        seed: of all of them.
        folder: with sound files, a folder each kind.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._seed = seed
        self._seeds = {
            kind: [Seed(path.name, path.read_bytes()) for path in sorted((folder / kind).iterdir())]
            for kind in (*TABLE, *APART)
            if (folder / kind).is_dir()
        }

    def case(self, kind: str, number: int) -> tuple[str, str, bytes]:
        """Which reader, the name of the file, and what is in it."""
        rng = Random(f"{self._seed} {kind} {number}")
        if kind == READERS:
            kinds = [each for each in TABLE if each in self._seeds]
            kind = rng.choices(kinds, [TABLE[each].share for each in kinds])[0]
        reader = TABLE.get(kind) or APART[kind]
        start = rng.choice(self._seeds[kind])
        return kind, reader.name or start.name, reader.damage(start.content, rng)

    def content(self, kind: str, number: int) -> bytes:
        """Of one case."""
        return self.case(kind, number)[2]


def open_cases(seed: int, folder: Path, scratch: Path, say: Say) -> Callable[[str, int], str]:
    """What runs a case in a process."""
    cases = ReaderCases(seed, folder)
    desk = Desk(folder / "run", scratch)
    sources = (folder / "run", folder / "beside")

    def run(kind: str, number: int) -> str:
        name, file, content = cases.case(kind, number)
        reader = TABLE.get(name) or APART[name]
        beside = [next(each / other for each in sources if (each / other).exists()) for other in reader.beside]
        path = desk.put(file, content, *beside)
        say_quietly(name)
        try:
            reader.read(desk, path)
        except OnnxsensError as error:
            became = refused(error)
            return became if became.startswith(FOUND) else f"{name}: {became}"
        return f"{name}: read"

    def say_quietly(name: str) -> None:
        """Only where a process takes long to come to the next case."""
        if name in APART:
            say(f"{OURS}{name}")

    return run
