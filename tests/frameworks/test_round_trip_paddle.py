"""Paddle: a plan carried back to the source model does there what it does in the ONNX file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import paddle_nets
import pytest
from journeys import Journey, RoundTrips, TwinTrips, UpdatedTrips
from round_trip import Arrays, read_tensors

# Paddle warns of a compiler that it does not find.
pytestmark = pytest.mark.filterwarnings("ignore")


Folders = pytest.TempPathFactory
CASES = [(net, exporter) for net in paddle_nets.NETS for exporter in paddle_nets.EXPORTERS]


@dataclass(frozen=True)
class PaddleSource:
    """One net, exported by paddle2onnx."""

    net: str
    exporter: str

    def build(self) -> Any:
        return paddle_nets.build(self.net)

    def values(self, model: Any) -> dict[str, np.ndarray]:
        return {value.name: value.numpy() for value in model.state_dict().values()}

    def put(self, model: Any, values: Arrays) -> None:
        paddle_nets.put(model, values)

    def kernels(self, model: Any) -> dict[str, tuple[int, ...]]:
        return paddle_nets.kernels(model)

    def neutral(self, model: Any) -> dict[str, np.ndarray]:
        return paddle_nets.neutral(model)

    def sample(self, count: int, seed: int) -> np.ndarray:
        return paddle_nets.sample(self.net, count, seed)

    def save(self, model: Any, path: Path) -> None:
        paddle_nets.save(model, path)

    def export(self, model: Any, path: Path) -> None:
        paddle_nets.export(model, self.net, self.exporter, path)

    def apply(self, model: Any, masks: Path, weights: Path | None) -> Any:
        """As the documentation says for a framework without an applier: the mask, and the parameter of that name."""
        updated = read_tensors(weights) if weights else {}
        paddle_nets.put(model, updated)
        values = self.values(model)
        paddle_nets.put(model, {name: np.where(mask, values[name], 0) for name, mask in read_tensors(masks).items()})
        return model

    def align(self, path: Path, like: Path) -> None:
        pass


@pytest.fixture(scope="module")
def frameworks(needed: Callable[[str], ModuleType]) -> None:
    for name in ("paddle", "paddle2onnx"):
        needed(name)


@pytest.mark.usefixtures("frameworks")
class TestPaddle(RoundTrips):
    @pytest.fixture(scope="class", params=CASES, ids="-".join)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        net, exporter = request.param
        return Journey(PaddleSource(net, exporter), ".npz", tmp_path_factory.mktemp(net))


@pytest.mark.usefixtures("frameworks")
class TestTwins(TwinTrips):
    @pytest.fixture(scope="class", params=paddle_nets.EXPORTERS)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        return Journey(PaddleSource("twins", request.param), ".npz", tmp_path_factory.mktemp("twins"))


@pytest.mark.usefixtures("frameworks")
class TestWeightNorm(UpdatedTrips):
    """Nothing is updated, but the lengths have to follow the zeros, or what is kept grows to make up for them."""

    @pytest.fixture(scope="class", params=paddle_nets.EXPORTERS)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        return Journey(PaddleSource("lengths", request.param), ".npz", tmp_path_factory.mktemp("lengths"))


@pytest.mark.usefixtures("frameworks")
class TestUpdated(UpdatedTrips):
    @pytest.fixture(scope="class", params=[("cnn", "folded"), ("cnn", "raw"), ("lstm", "folded")], ids="-".join)
    def journey(self, frameworks: None, request: pytest.FixtureRequest, tmp_path_factory: Folders) -> Journey:
        net, exporter = request.param
        return Journey(PaddleSource(net, exporter), ".npz", tmp_path_factory.mktemp(net), update="reconstruct")
