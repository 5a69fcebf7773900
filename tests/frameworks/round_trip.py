"""The proof that a plan comes back: mask the source model, export it again, and compare with pruned.onnx.

Independent of onnxsens, which runs as a command only: what it wrote is read with onnx, safetensors and json alone.
Knows no framework: the caller says how to mask a source model and how to export it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from safetensors import safe_open

Arrays = Mapping[str, np.ndarray]
ApplyAndExport = Callable[[Path, Path | None, Path], None]  # masks, updated weights or None, the ONNX file to write


@dataclass(frozen=True)
class Trip:
    """What went in and what came back. Outputs are compared as shares of the largest output of pruned.onnx."""

    folder: Path
    log: str
    difference: float
    """Largest difference between the outputs of pruned.onnx and of the masked source model, exported again."""
    effect: float
    """The same between pruned.onnx and the dense model: what a difference has to be small against."""
    misplaced: Mapping[str, int]
    """Elements that are zero in one of the two files only, for each stored tensor of two axes or more."""

    @cached_property
    def plan(self) -> dict[str, Any]:
        return json.loads((self.folder / "plan.json").read_text())

    @cached_property
    def coverage(self) -> dict[str, Any]:
        """What map.json says of itself."""
        return json.loads((self.folder / "map.json").read_text())["coverage"]

    @cached_property
    def mapped(self) -> dict[str, Mapped]:
        return read_map(self.folder / "map.json")

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        return read_tensors(self.folder / "masks.safetensors")


def round_trip(
    model: Path,
    checkpoint: Path,
    apply_and_export: ApplyAndExport,
    folder: Path,
    inputs: Arrays,
    *,
    data: str = "random:64",
    update: str = "none",
    more: Sequence[str] = (),
) -> Trip:
    """Plan `model` with `onnxsens auto`, carry the plan to the source model, export that, compare.

    Args:
        checkpoint: the weights of the source model.
        apply_and_export: masks the dense source model and exports it as `model` was exported.
        folder: gets the run, and `again.onnx`.
        inputs: what the files are compared on.
        more: further arguments of `onnxsens auto`.
    """
    # Half of every weight, so that each has to be carried back; nothing is searched, which takes less time.
    options = [
        "-d",
        data,
        "--sparsity",
        "0.5",
        "--pin",
        "*=0.5",
        "--update",
        update,
        "--confidence",
        "none",
        "--seed",
        "3",
    ]
    log = onnxsens("auto", model, *options, "--checkpoint", checkpoint, "-o", folder, *more)
    weights = folder / "weights.safetensors"
    again = folder / "again.onnx"
    apply_and_export(folder / "masks.safetensors", weights if weights.exists() else None, again)
    dense, pruned, source = (outputs(path, inputs) for path in (model, folder / "pruned.onnx", again))
    return Trip(
        folder,
        log,
        difference=apart(pruned, source),
        effect=apart(pruned, dense),
        misplaced=misplaced_zeros(folder / "pruned.onnx", again),
    )


def onnxsens(*arguments: str | Path, expected: int = 0) -> str:
    """Run the command, as a user does; returns all that it says.

    Raises:
        AssertionError: it ended with another exit code than `expected`.
    """
    command = [sys.executable, "-m", "onnxsens", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == expected, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file; packed masks are unpacked."""
    with safe_open(str(path), "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        meta = file.metadata() or {}
    if meta.get("packing") == "bits":
        shapes = json.loads(meta["shapes"])
        tensors = {
            name: np.unpackbits(bits, count=prod(shapes[name])).reshape(shapes[name]) for name, bits in tensors.items()
        }
    return tensors


@dataclass(frozen=True)
class Mapped:
    """What map.json says of one weight. `ways`: the pieces that make it up, and those of its copies."""

    name: str
    shape: tuple[int, ...]
    confidence: str
    ways: tuple[Sequence[Mapping[str, Any]], ...]
    evidence: tuple[str, ...]

    @property
    def is_sure(self) -> bool:
        return self.confidence in ("exact", "scaled", "metadata", "name")

    @property
    def parameters(self) -> set[str]:
        return {piece["parameter"] for pieces in self.ways for piece in pieces}


def read_map(path: Path) -> dict[str, Mapped]:
    """The weights of a map.json; vectors are left out."""
    return {
        one["name"]: Mapped(
            one["name"],
            tuple(one["shape"]),
            one["confidence"],
            tuple(pieces for pieces in (one["pieces"], *one["copies"]) if pieces),
            tuple(one["evidence"]),
        )
        for one in json.loads(path.read_text())["tensors"]
        if one["role"] == "weight"
    }


# Comparing two ONNX files


def outputs(path: Path, inputs: Arrays) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, dict(inputs))


def apart(reference: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Largest difference between two sets of outputs, as a share of the reference's largest value."""
    assert [one.shape for one in reference] == [one.shape for one in other]
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(reference, other, strict=True))


class Graph:
    """The stored tensors of an ONNX file, and the places where they are read.

    A place is the number of a node and of its input. Identity nodes are seen through: an exporter writes one where two
    parameters have the same values, so whether it is there depends on the values.
    """

    def __init__(self, path: Path) -> None:
        model = onnx.load(path)
        self.tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.tensors[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        behind = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Identity"}
        nodes = [node for node in model.graph.node if node.op_type not in ("Identity", "Constant")]
        self.operators = [node.op_type for node in nodes]
        self.at: dict[tuple[int, int], str] = {}
        for number, node in enumerate(nodes):
            for place, value in enumerate(node.input):
                name = value
                while name in behind:
                    name = behind[name]
                if name in self.tensors:
                    self.at[number, place] = name

    def places(self, name: str) -> list[tuple[int, int]]:
        found = [place for place, stored in self.at.items() if stored == name]
        assert found, f"nothing reads '{name}'"
        return found


def counterparts(one: Graph, other: Graph, name: str) -> Iterator[np.ndarray]:
    """What `other` stores where `one` reads `name`: by position where the files have the same nodes, else by name."""
    if one.operators == other.operators:
        for place in one.places(name):
            assert place in other.at, (
                f"'{name}' is input {place} of a node, which reads no stored tensor in the other file"
            )
            yield other.tensors[other.at[place]]
    else:
        assert name in other.tensors, f"the files differ in their nodes, and only one has a tensor '{name}'"
        yield other.tensors[name]


def misplaced_zeros(pruned: Path, again: Path) -> dict[str, int]:
    """For each stored tensor that is no vector, how many elements are zero in one file only, at all places of it."""
    first, second = Graph(pruned), Graph(again)
    count: dict[str, int] = defaultdict(int)
    for name in dict.fromkeys(first.at.values()):
        before = first.tensors[name]
        if before.ndim > 1 and before.dtype.kind == "f":
            for after in counterparts(first, second, name):
                assert after.shape == before.shape, f"'{name}' has shapes {before.shape} and {after.shape}"
                count[name] += int(np.count_nonzero((after == 0) != (before == 0)))
    return dict(count)


# Where each element really comes from


def stamps(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
    """Values that say where they are from: whole parts number the parameters, from 1; the rest is the place in it.

    A model with these values, and factors of 1 in its norms, is exported with the stamps moved about as the exporter
    moves the weights. Float32 holds this for up to 63 parameters of up to 32,768 elements.
    """
    assert len(shapes) < 64
    stamped = {}
    for number, (name, shape) in enumerate(shapes.items(), start=1):
        size = prod(shape)
        assert size <= 2**15, name
        stamped[name] = (number + (np.arange(size) + 1) / (2 * (size + 1))).reshape(shape).astype(np.float32)
    return stamped


@dataclass(frozen=True, eq=False)
class Origin:
    """Of each element of a stored tensor at one place: the number of its parameter and its place there, flat."""

    parameter: np.ndarray
    element: np.ndarray

    def agrees(self, other: Origin, where: np.ndarray) -> bool:
        """Whether both say the same of the elements `where` this is True."""
        ours, theirs = (self.parameter, self.element), (other.parameter, other.element)
        return all(np.array_equal(one[where], another[where]) for one, another in zip(ours, theirs, strict=True))

    def names(self, shapes: Mapping[str, Sequence[int]]) -> list[str]:
        listed = list(shapes)
        return [listed[number] for number in np.unique(self.parameter)]


def origins(model: Path, stamped: Path, shapes: Mapping[str, Sequence[int]]) -> dict[str, list[Origin]]:
    """The truth: for each weight of `model`, and each place where it is read, where its elements come from.

    Args:
        stamped: the export of the same model with `stamps(shapes)` as values.
    """
    first, second = Graph(model), Graph(stamped)
    assert first.operators == second.operators
    found: dict[str, list[Origin]] = defaultdict(list)
    for place, name in first.at.items():
        # An exporter leaves out what is all zero, such as the folded bias of a norm without effect.
        origin = _origin(second.tensors[second.at[place]], shapes) if place in second.at else None
        if origin is not None:
            found[name].append(origin)
    return dict(found)


def _origin(values: np.ndarray, shapes: Mapping[str, Sequence[int]]) -> Origin | None:
    """None where the values are not stamps, all of them."""
    if values.dtype.kind != "f" or values.ndim < 2:
        return None
    sizes = np.array([prod(shape) for shape in shapes.values()])
    number = np.floor(values).astype(int) - 1
    if ((number < 0) | (number >= len(sizes))).any():
        return None
    steps = (values - np.floor(values)) * 2 * (sizes[number] + 1) - 1
    element = np.round(steps).astype(int)
    if np.abs(steps - element).max() > 0.1 or (element < 0).any() or (element >= sizes[number]).any():
        return None
    return Origin(number, element)


def claimed(mapped: Mapped, shapes: Mapping[str, Sequence[int]], named: Mapping[str, str]) -> list[Origin]:
    """What a map says about where each element comes from, for each way that it gives.

    Args:
        named: the name in `shapes` for each name that the map may use; tied parameters have several.
    """
    found = []
    for pieces in mapped.ways:
        origin = Origin(np.full(mapped.shape, -1), np.full(mapped.shape, -1))
        for piece in pieces:
            name = named[piece["parameter"]]
            box, to_box = (
                tuple(slice(*bounds) for bounds in zip(piece[f"{to}start"], piece[f"{to}stop"], strict=True))
                for to in ("", "to_")
            )
            place = np.arange(prod(shapes[name])).reshape(shapes[name])
            moved = np.flip(place[box], piece.get("flip", [])).transpose(piece["order"])
            origin.element[to_box] = moved.reshape(origin.element[to_box].shape)
            origin.parameter[to_box] = list(shapes).index(name)
        found.append(origin)
    return found


def true_masks(
    dense: Path, pruned: Path, truth: Mapping[str, Sequence[Origin]], shapes: Mapping[str, Sequence[int]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The masks that the parameters have to get, uint8, and where these are binding.

    Not binding is an element that is zero in the dense file as well: there is nothing to prune.

    Raises:
        AssertionError: two copies of an element have different fates, so no mask carries both.
    """
    masks = {name: np.ones(shape, np.uint8) for name, shape in shapes.items()}
    binding = {name: np.zeros(shape, bool) for name, shape in shapes.items()}
    listed = list(shapes)
    before, after = Graph(dense).tensors, Graph(pruned).tensors
    touched = set()
    for weight, places in truth.items():
        for origin in places:
            for number in np.unique(origin.parameter):
                here = origin.parameter == number
                element, live = origin.element[here], before[weight][here] != 0
                mask, bound = masks[listed[number]].reshape(-1), binding[listed[number]].reshape(-1)
                kept = after[weight][here] != 0
                both = live & bound[element]
                assert np.array_equal(mask[element][both], kept[both]), f"'{weight}' and its copy are pruned unequally"
                mask[element[live]] = kept[live]
                bound[element] |= live
                touched.add(listed[number])
    return {name: masks[name] for name in sorted(touched)}, {name: binding[name] for name in sorted(touched)}
