"""The calibration pass, against sums of squares of outputs that ONNX Runtime makes of other weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import convolutional, model_of, normal, samples_file, saved, tied, with_external_data
from onnx import TensorProto, helper, numpy_helper

from onnxsens.data import Preprocessing, open_dataset
from onnxsens.engine import ModelRunner, Recipe, choose_provider
from onnxsens.engine.calibration import Sampling, _Gathering, calibrate, passes
from onnxsens.engine.grams import Gram
from onnxsens.model import load_model, take_inventory
from onnxsens.model.features import input_sources
from onnxsens.model.interface import feedable

PLENTY = Sampling(rows=10**6, memory=2**30)


@contextmanager
def runner_of(path: Path, data: Path, batch: int = 8) -> Iterator[ModelRunner]:
    model = load_model(path)
    dataset = open_dataset(str(data), feedable(model.proto.graph), Preprocessing.parse(None, None, None), seed=0)
    provider = choose_provider("cpu")
    recipe = Recipe(provider.name, 1, dataset.run_size or batch)
    runner = ModelRunner(model, take_inventory(model), dataset, provider, recipe)
    try:
        yield runner
    finally:
        runner.close()


def grams_of(
    path: Path, data: Path, sampling: Sampling = PLENTY, samples: int = 20, batch: int = 8
) -> dict[str, Gram | str]:
    with runner_of(path, data, batch) as runner:
        return dict(calibrate(runner, input_sources(runner.model, runner.inventory), np.arange(samples), sampling))


def made_of(proto: onnx.ModelProto, tensors: Sequence[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(list(tensors), feed))


def energy_by_running(proto: onnx.ModelProto, node: int, change: np.ndarray, feed: dict[str, np.ndarray]) -> float:
    """Sum of squares of a node's output with another weight and no bias, for inputs of the dense model."""
    chosen = proto.graph.node[node]
    data = feed.get(chosen.input[0])
    if data is None:
        [data] = made_of(proto, [chosen.input[0]], feed)
    alone = onnx.NodeProto()
    alone.CopyFrom(chosen)
    del alone.input[2:]
    graph = helper.make_graph(
        [alone],
        "alone",
        [helper.make_tensor_value_info(alone.input[0], TensorProto.FLOAT, data.shape)],
        [helper.make_empty_tensor_value_info(alone.output[0])],
        [numpy_helper.from_array(change, alone.input[1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return float(np.square(session.run(None, {alone.input[0]: data})[0], dtype=np.float64).sum())


def as_matrix(values: np.ndarray, weight: str) -> np.ndarray:
    """By hand."""
    if weight == "up":  # two groups of two inputs and three outputs
        return values.reshape(2, 2, 3, 4).transpose(0, 2, 3, 1).reshape(6, 8)
    return values.transpose(0, 2, 3, 1).reshape(len(values), -1) if values.ndim == 4 else values


@pytest.mark.parametrize("external", [False, True])
def test_energies_are_those_of_outputs_without_bias(tmp_path: Path, external: bool) -> None:
    proto = convolutional()
    path = with_external_data(proto, tmp_path / "m.onnx") if external else saved(proto, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None)
    grams = grams_of(path, data)
    proto = convolutional()
    feed = {"x": np.load(data)["x"][:20]}
    rng = np.random.default_rng(8)
    for node, weight in ((0, "first"), (2, "depthwise"), (4, "up"), (6, "head")):
        shape = next(tuple(tensor.dims) for tensor in proto.graph.initializer if tensor.name == weight)
        change = normal(rng, *shape)
        gram = grams[weight]
        assert isinstance(gram, Gram)
        expected = energy_by_running(proto, node, change, feed)
        assert gram.energy(as_matrix(change, weight)) == pytest.approx(expected, rel=1e-5)
        assert gram.taken == gram.places == (20 if weight == "head" else 20 * 8 * 8 * (4 if weight == "up" else 1))


def test_a_tied_weight_adds_up_its_operators(tmp_path: Path) -> None:
    path, data = saved(tied(), tmp_path / "m.onnx"), samples_file(tmp_path / "d.npz", (6,), None)
    gram = grams_of(path, data)["shared"]
    x = np.load(data)["x"][:20]
    [b] = made_of(tied(), ["b"], {"x": x})
    assert isinstance(gram, Gram)
    both = np.concatenate([x, b]).astype(np.float64)
    np.testing.assert_allclose(gram.matrix(), [both.T @ both], rtol=1e-6)


def test_the_result_does_not_depend_on_memory_and_rows_are_spread_over_samples(tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None)
    whole, small = (grams_of(path, data, Sampling(100, memory, seed=3)) for memory in (2**30, 1))
    for name, gram in whole.items():
        other = small[name]
        assert isinstance(gram, Gram) and isinstance(other, Gram)
        assert gram.taken == other.taken == (20 if name == "head" else 100)
        np.testing.assert_array_equal(gram.matrix(), other.matrix())
    again = grams_of(path, data, Sampling(100, 2**30, seed=4))
    assert any(not np.array_equal(again[name].matrix(), whole[name].matrix()) for name in whole)


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (10**9, [["first", "depthwise", "up", "head"]]),
        (3500, [["first", "depthwise", "up"], ["head"]]),
        (1, [["first"], ["depthwise"], ["up"], ["head"]]),
    ],
)
def test_a_pass_takes_as_many_weights_as_fit_into_memory(
    tmp_path: Path, memory: int, expected: list[list[str]]
) -> None:
    """1000 bytes for each tensor, two of which are one; and 4 rows of 18 columns, of 4 times 9, of twice 8, of 6."""
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    found = input_sources(model, take_inventory(model))
    waiting = [
        _Gathering(name, 0, found[name], {"first": 18, "depthwise": 9, "up": 8, "head": 6}[name]) for name in found
    ]
    sizes = {place: ("x" if each.name == "depthwise" else each.name, 1000) for each in waiting for place in each.places}
    sizes[waiting[2].places[0]] = ("x", 1000)
    assert [each.most_bytes(4) for each in waiting] == [4 * 18 * 4, 4 * 9 * 4 * 4, 2 * 8 * 4 * 4, 6 * 4 * 4]
    groups = passes(waiting, sizes, Sampling(4, memory))
    assert [[each.name for each in group] for group in groups] == expected


def test_sampled_moments_come_close_to_all(tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None)
    everything, sampled = (grams_of(path, data, sampling) for sampling in (PLENTY, Sampling(400, 2**30)))
    for name, gram in everything.items():
        other = sampled[name]
        assert isinstance(gram, Gram) and isinstance(other, Gram)
        assert gram.places == other.places
        assert np.trace(other.matrix().sum(0)) == pytest.approx(np.trace(gram.matrix().sum(0)), rel=0.1)


@pytest.mark.parametrize(("samples", "taken"), [(19, 15), (3, 5)])
def test_a_fixed_batch_is_filled_only_where_there_is_no_other(tmp_path: Path, samples: int, taken: int) -> None:
    path = saved(convolutional(batch=5), tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None, samples=60)
    gram = grams_of(path, data, samples=samples)["head"]
    assert isinstance(gram, Gram) and gram.taken == taken


def test_an_input_that_is_not_finite_is_a_reason_to_go_without(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Log", ["x"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("MatMul", ["x", "v"], ["c"]),
        helper.make_node("Add", ["b", "c"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, {"w": normal(rng, 6, 3), "v": normal(rng, 6, 3)})
    grams = grams_of(saved(proto, tmp_path / "m.onnx"), samples_file(tmp_path / "d.npz", (6,), None))
    assert grams["w"] == "its input has values that are NaN or infinite"
    assert isinstance(grams["v"], Gram)


def test_states_are_read_where_the_operator_does_not_put_them_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = {"w": normal(rng, 1, 4, 5), "r": normal(rng, 1, 4, 4) / 4, "shape": np.array([-1, 4])}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("RNN", ["t", "w", "r"], ["", "last"], hidden_size=4),
        helper.make_node("Reshape", ["last", "shape"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 3, 5]}, {"logits": ["N", 4]}, weights)
    data = samples_file(tmp_path / "d.npz", (3, 5), None)
    grams = grams_of(saved(proto, tmp_path / "m.onnx"), data)
    x, state, expected = np.load(data)["x"][:20], np.zeros((20, 4)), np.zeros((4, 4))
    for step in range(3):
        expected += state.T @ state
        state = np.tanh(x[:, step] @ weights["w"][0].T + state @ weights["r"][0].T)
    gram = grams["r"]
    assert isinstance(gram, Gram) and gram.taken == 60
    np.testing.assert_allclose(gram.matrix(), [expected], rtol=1e-5)


def test_data_that_is_stored_in_the_model_is_read_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = {"w": normal(rng, 4, 6), "table": normal(rng, 3, 4)}
    nodes = [
        helper.make_node("MatMul", ["table", "w"], ["rows"]),
        helper.make_node("Gemm", ["x", "rows"], ["logits"], transB=1),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)
    grams = grams_of(saved(proto, tmp_path / "m.onnx"), samples_file(tmp_path / "d.npz", (6,), None))
    gram = grams["w"]
    assert isinstance(gram, Gram) and gram.taken == 9  # once a batch
    table = weights["table"].astype(np.float64)
    np.testing.assert_allclose(gram.matrix(), [3 * table.T @ table], rtol=1e-6)


def test_a_model_that_does_not_run_is_a_reason_for_all(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["logits"]),
    ]
    weights = {"w": normal(rng, 7, 3), "shape": np.array([-1, 7])}
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": [None, 3]}, weights)
    grams = grams_of(saved(proto, tmp_path / "m.onnx"), samples_file(tmp_path / "d.npz", (6,), None))
    assert isinstance(grams["w"], str) and "onnxruntime cannot run" in grams["w"]
