"""A model and its twin are the same to the inventory, to a criterion, and once they are pruned."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import convolutional
from twins import TWINS, Pair

from onnxsens.model import (
    Inventory,
    Model,
    Weight,
    dense_matrix,
    load_model,
    stored_values,
    take_inventory,
    write_model,
)
from onnxsens.techniques import make_technique

MAGNITUDE = make_technique("magnitude")
BASES: dict[str, Callable[[Path], onnx.ModelProto]] = {
    "convolutional": lambda models: convolutional(),
    **{
        name: lambda models, name=name: onnx.load(str(models / f"{name}.onnx"))
        for name in ("fashion_cnn", "jv_gru", "jv_transformer")
    },
}


@dataclass(frozen=True)
class Opened:
    """A pair of files, and what the package reads in them."""

    pair: Pair
    base: tuple[Model, Inventory]
    twin: tuple[Model, Inventory]


@pytest.fixture(scope="module", params=[(base, twin) for base in BASES for twin in TWINS], ids=" ".join)
def opened(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    base, twin = request.param
    proto = BASES[base](models)
    folder = tmp_path_factory.mktemp("twins")
    (folder / "first.onnx").write_bytes(proto.SerializeToString())
    first = take_inventory(load_model(folder / "first.onnx"))
    initializers = {tensor.name for tensor in proto.graph.initializer}
    pair = TWINS[twin](proto, [weight.name for weight in first.weights if weight.name in initializers])
    one, other = (load_model(path) for path in pair.saved(folder))
    return Opened(pair, (one, take_inventory(one)), (other, take_inventory(other)))


def test_the_same_weights_are_found_in_the_same_order_with_the_same_matrices(opened: Opened) -> None:
    (base, inventory), (twin, other) = opened.base, opened.twin
    assert len(inventory.weights) == len(other.weights) > 0
    assert inventory.planned_parameters == other.planned_parameters
    for one, two in matched(opened):
        assert [each.operator for each in one.consumers] == [each.operator for each in two.consumers]
        assert one.zeros == two.zeros
        np.testing.assert_array_equal(dense_matrix(base, one), dense_matrix(twin, two))


def matched(opened: Opened) -> list[tuple[Weight, Weight]]:
    """The weights of both, by position or by name."""
    (_, inventory), (_, other) = opened.base, opened.twin
    if not opened.pair.ordered:
        return [(weight, other.weight(weight.name)) for weight in inventory.weights]
    return list(zip(inventory.weights, other.weights, strict=True))


def pruned(model: Model, inventory: Inventory, level: float) -> dict[str, np.ndarray]:
    """Every weight's matrix at a level."""
    return {w.name: MAGNITUDE.prepare(dense_matrix(model, w)).at(level) for w in inventory.weights}


def written(model: Model, inventory: Inventory, matrices: dict[str, np.ndarray]) -> Path:
    """A file with these, beside the model."""
    values = {name: stored_values(model, inventory.weight(name), matrix) for name, matrix in matrices.items()}
    path = model.path.with_name(f"{model.path.stem}-pruned.onnx")
    write_model(model, values, path)
    return path


def said(path: Path, entries: Mapping[str, str]) -> list[np.ndarray]:
    """By a plain session, of seeded inputs."""
    options = onnxruntime.SessionOptions()
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    shapes = [[dim if isinstance(dim, int) else 4 for dim in value.shape] for value in session.get_inputs()]
    feed = [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, feed, strict=True))))


@pytest.mark.parametrize("level", [0.0, 0.3, 0.7])
def test_pruned_twins_have_the_same_zeros_and_say_the_same(opened: Opened, level: float) -> None:
    matrices, others = pruned(*opened.base, level), pruned(*opened.twin, level)
    for one, two in matched(opened):
        np.testing.assert_array_equal(matrices[one.name], others[two.name])
        assert int((others[two.name] == 0).sum()) == max(round(level * two.size), two.zeros)
    base, twin = written(*opened.base, matrices), written(*opened.twin, others)
    for options, tolerance in ((opened.pair.options, opened.pair.close), ({}, opened.pair.tolerance)):
        for one, two in zip(said(base, options), said(twin, options), strict=True):
            np.testing.assert_allclose(two, one, rtol=0, atol=tolerance * np.abs(one).max())
