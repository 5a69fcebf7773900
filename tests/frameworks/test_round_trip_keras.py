"""Keras 3 and tf_keras: a plan carried back to the source model does there what it does in the ONNX file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras_nets
import numpy as np
import onnx
import pytest
from journeys import Journey, RoundTrips, TwinTrips, UpdatedTrips
from round_trip import Arrays

from onnxsens.errors import CheckpointError
from onnxsens.frameworks.checkpoints import open_checkpoint

# TensorFlow, Keras and tf2onnx warn of their own use of numpy and of each other.
pytestmark = pytest.mark.filterwarnings("ignore")

Folders = pytest.TempPathFactory
EVERY_KIND = "cnn"  # is saved as every kind of checkpoint, the others as one kind each


@dataclass(frozen=True)
class KerasSource:
    """One net, of the Keras that the exporter takes."""

    net: str
    exporter: str

    def build(self) -> Any:
        return keras_nets.build(self.net, self.exporter)

    def values(self, model: Any) -> dict[str, np.ndarray]:
        return {keras_nets.identity(weight): np.array(weight) for weight in model.weights}

    def put(self, model: Any, values: Arrays) -> None:
        keras_nets.put(model, values)

    def kernels(self, model: Any) -> dict[str, tuple[int, ...]]:
        return keras_nets.kernels(model)

    def neutral(self, model: Any) -> dict[str, np.ndarray]:
        return keras_nets.neutral(model)

    def sample(self, count: int, seed: int) -> np.ndarray:
        return keras_nets.sample(self.net, count, seed)

    def save(self, model: Any, path: Path) -> None:
        keras_nets.save(model, path)

    def export(self, model: Any, path: Path) -> None:
        keras_nets.export(model, self.exporter, path)

    def apply(self, model: Any, masks: Path, weights: Path | None) -> Any:
        from onnxsens.frameworks import keras

        keras.apply(model, masks, weights)
        return model

    def align(self, path: Path, like: Path) -> None:
        reorder(path, like)


def reorder(path: Path, like: Path) -> None:
    """Give the nodes of one file the order that they have in another: tf2onnx's differs from run to run."""
    model, other = onnx.load(path), onnx.load(like)
    ours, theirs = list(walk(model.graph)), list(walk(other.graph))
    assert [model.graph.node[at].op_type for at in ours] == [other.graph.node[at].op_type for at in theirs]
    nodes = dict(zip(theirs, (model.graph.node[at] for at in ours), strict=True))
    ordered = [nodes[at] for at in sorted(nodes)]
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    onnx.save(model, path)


def walk(graph: onnx.GraphProto) -> Iterator[int]:
    """Numbers of the nodes from the outputs backward, what is read before its reader; the file's order is not used."""
    makers = {name: number for number, node in enumerate(graph.node) for name in node.output if name}
    seen: set[int] = set()
    stack = [(makers[output.name], False) for output in reversed(graph.output)]
    while stack:
        number, ready = stack.pop()
        if ready:
            yield number
        elif number not in seen:
            seen.add(number)
            stack.append((number, True))
            stack += [(makers[name], False) for name in reversed(reads(graph.node[number])) if name in makers]


def reads(node: onnx.NodeProto) -> list[str]:
    """Names that a node may read; those of its inner graphs too, which see the values around them."""
    inner = [name for one in node.attribute if one.HasField("g") for part in one.g.node for name in reads(part)]
    return [*node.input, *inner]


def cases() -> Iterator[tuple[str, str, str]]:
    """Net, exporter, ending of the checkpoint."""
    for number, net in enumerate(keras_nets.NETS):
        for exporter, suffixes in keras_nets.SUFFIXES.items():
            for suffix in suffixes if net == EVERY_KIND else [suffixes[number % len(suffixes)]]:
                yield net, exporter, suffix


@pytest.fixture(scope="module")
def frameworks(needed: Callable[[str], ModuleType]) -> None:
    for name in ("tensorflow", "keras", "tf_keras", "tf2onnx", "h5py"):
        needed(name)


@pytest.mark.usefixtures("frameworks")
class TestKeras(RoundTrips):
    @pytest.fixture(scope="class", params=cases(), ids="-".join)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        net, exporter, suffix = request.param
        return Journey(KerasSource(net, exporter), suffix, tmp_path_factory.mktemp(net))


@pytest.mark.usefixtures("frameworks")
class TestTwins(TwinTrips):
    # Not by tf2onnx: it stores equal kernels once, and then folds no norm into them, so that stamps change the graph.
    @pytest.fixture(scope="class")
    def journey(self, frameworks: None, tmp_path_factory: Folders) -> Journey:
        return Journey(KerasSource("twins", "keras"), ".keras", tmp_path_factory.mktemp("twins"))


@pytest.mark.usefixtures("frameworks")
class TestNumbered(RoundTrips):
    """Files number the layers of a class as they are called, whatever their names are."""

    @pytest.fixture(scope="class", params=[("keras", ".weights.h5"), ("tf2onnx", ".h5"), ("tf2onnx", ".keras")])
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        exporter, suffix = request.param
        return Journey(KerasSource("numbered", exporter), suffix, tmp_path_factory.mktemp("numbered"))


@pytest.mark.usefixtures("frameworks")
def test_weights_of_tf_keras_without_names_are_refused(tmp_path: Path) -> None:
    model = keras_nets.build("numbered", "tf2onnx")
    keras_nets.save(model, tmp_path / "m.weights.h5")
    with pytest.raises(CheckpointError, match=r"does not name its layers.*; save it as \.keras or \.h5 instead"):
        open_checkpoint(tmp_path / "m.weights.h5")


UPDATED = [("cnn", "keras"), ("cnn", "tf2onnx"), ("attention", "keras"), ("gru", "tf2onnx")]


@pytest.mark.usefixtures("frameworks")
class TestUpdated(UpdatedTrips):
    @pytest.fixture(scope="class", params=UPDATED, ids="-".join)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        net, exporter = request.param
        return Journey(KerasSource(net, exporter), ".keras", tmp_path_factory.mktemp(net), update="reconstruct")


@pytest.mark.usefixtures("frameworks")
def test_values_that_have_no_place_in_the_source_are_said_to_stay_behind(tmp_path: Path) -> None:
    """An LSTM of ONNX has two biases, whose second half was zero, and one of Keras has one."""
    journey = Journey(KerasSource("lstm", "tf2onnx"), ".keras", tmp_path, update="reconstruct")
    assert "updated values that stay behind (1: 'B0__" in journey.trip.log
    wrong = journey.misplaced()
    assert len(wrong) == 1
    assert min(wrong).startswith("B0__")
