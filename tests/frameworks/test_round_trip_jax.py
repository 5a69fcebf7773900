"""Flax nnx and Linen: a plan carried back to the parameter tree does there what it does in the ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import jax_nets
import numpy as np
import pytest
from jax_nets import Net
from journeys import Journey, RoundTrips, TwinTrips, UpdatedTrips
from round_trip import Arrays

# JAX, Flax and jax2onnx warn of their own deprecations.
pytestmark = pytest.mark.filterwarnings("ignore")


Folders = pytest.TempPathFactory
# Each as one kind of checkpoint, and one of each module system as both kinds.
CASES = [(net, jax_nets.SUFFIXES[number % 2]) for number, net in enumerate(jax_nets.NETS)]
CASES += [("cnn", ".npz"), ("linen", ".npz")]


@dataclass(frozen=True)
class FlaxSource:
    """One net, exported by jax2onnx."""

    net: str

    def build(self) -> Net:
        return Net(self.net)

    def values(self, model: Net) -> dict[str, np.ndarray]:
        return jax_nets.flat(model.tree())

    def put(self, model: Net, values: Arrays) -> None:
        model.put(model.changed(values))

    def kernels(self, model: Net) -> dict[str, tuple[int, ...]]:
        return model.kernels()

    def neutral(self, model: Net) -> dict[str, np.ndarray]:
        return model.neutral()

    def sample(self, count: int, seed: int) -> np.ndarray:
        return self.build().sample(count, seed)

    def save(self, model: Net, path: Path) -> None:
        model.save(path)

    def export(self, model: Net, path: Path) -> None:
        model.export(path)

    def apply(self, model: Net, masks: Path, weights: Path | None) -> Net:
        from onnxsens.frameworks import jax

        if model.is_linen:
            model.variables = jax.apply(model.variables, masks, weights)
        else:
            model.module = jax.apply(model.module, masks, weights)
        return model

    def align(self, path: Path, like: Path) -> None:
        pass


@pytest.fixture(scope="module")
def frameworks(needed: Callable[[str], ModuleType]) -> None:
    for name in ("jax", "flax", "jax2onnx", "msgpack"):
        needed(name)


@pytest.mark.usefixtures("frameworks")
class TestFlax(RoundTrips):
    @pytest.fixture(scope="class", params=CASES, ids="-".join)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        net, suffix = request.param
        return Journey(FlaxSource(net), suffix, tmp_path_factory.mktemp(net))


@pytest.mark.usefixtures("frameworks")
class TestTwins(TwinTrips):
    @pytest.fixture(scope="class")
    def journey(self, frameworks: None, tmp_path_factory: Folders) -> Journey:
        return Journey(FlaxSource("twins"), ".msgpack", tmp_path_factory.mktemp("twins"))


@pytest.mark.usefixtures("frameworks")
class TestUpdated(UpdatedTrips):
    @pytest.fixture(scope="class", params=["cnn", "attention", "linen"])
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        return Journey(FlaxSource(request.param), ".npz", tmp_path_factory.mktemp("net"), update="reconstruct")
