"""Plans carried out as a whole, held against runs of the whole model and against least squares by hand."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from benches import bench_of
from commands import ROOT
from onnx import TensorProto, helper, numpy_helper

from onnxsens.engine.methods import METHODS
from onnxsens.engine.rebuilding import Rebuilder
from onnxsens.engine.spill import Spill
from onnxsens.engine.walking import Budget, Walk
from onnxsens.model.features import input_sources
from onnxsens.options import Options
from onnxsens.station import Station
from onnxsens.techniques import make_sparsity
from onnxsens.techniques.moments import DAMPENING

MODELS = ROOT / "models"
IMAGES = {"scale": 255, "mean": "0.2860", "std": "0.3530", "provider": "cpu", "threads": 1}
VOWELS = {"provider": "cpu", "threads": 1}


def shipped(name: str) -> Station:
    images = name.startswith("fashion")
    data = MODELS / ("fashion_mnist_test.npz" if images else "japanese_vowels_test.npz")
    return Station(MODELS / f"{name}.onnx", Options(str(data), **(IMAGES if images else VOWELS)), update="reconstruct")


def rebuilder(bench: Station, **settings: object) -> Rebuilder:
    given = {"memory": 2**31, "spill": None} | settings
    return Rebuilder(bench.runner, input_sources(bench.model, bench.inventory), bench.shifts, **given)


def rebuilt(bench: Station, level: float, method: str, samples: int = 64, **settings: object) -> dict[str, np.ndarray]:
    weights = bench.inventory.weights
    levels = {weight.name: level for weight in weights}
    techniques = {weight.name: make_sparsity("obs" if METHODS[method].update else "magnitude") for weight in weights}
    found = rebuilder(bench, **settings).rebuild(levels, techniques, METHODS[method], bench.split.search[:samples])
    return dict(found.values)


def inner(model: onnx.ModelProto, name: str, changed: dict[str, np.ndarray], feed: dict[str, np.ndarray]) -> np.ndarray:
    """A tensor from inside a model with other values in some tensors, by plain onnx and onnxruntime."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    for tensor in proto.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    proto.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    value: np.ndarray = session.run([name], feed)[0]
    return value


@pytest.mark.parametrize("budget", [2**30, 1000])
@pytest.mark.parametrize("name", ["fashion_resnet", "jv_transformer"])
def test_at_every_stop_both_runs_have_what_whole_runs_have(name: str, budget: int, tmp_path: Path) -> None:
    with shipped(name) as bench:
        model = onnx.load(str(bench.model.path))
        indices = bench.split.search[:40]
        batches = [indices[:32], indices[32:]]
        wiring, names = bench.runner.wiring, bench.runner.copy.names
        weights = sorted(bench.inventory.weights, key=lambda weight: wiring.first_reader(names[weight.name]))
        nodes = {node.name: node for node in wiring.nodes}
        ports = {weight.name: nodes[weight.consumers[0].site].input[0] for weight in weights}
        held = Budget(budget, Spill(tmp_path))
        walk = Walk(bench.runner, batches, [names[weight.name] for weight in weights], list(ports.values()), held)
        changed: dict[str, np.ndarray] = {}
        rng = np.random.default_rng(0)
        feed = {
            key: np.concatenate([bench.dataset.feed(batch)[key] for batch in batches])
            for key in ("image", "x")
            if key in bench.dataset.feed(batches[0])
        }
        for number, weight in enumerate(weights):
            port = ports[weight.name]
            assert walk.reaches([port])
            walk.go_to([port])
            stops = list(walk.tensors([port]))
            pruned = np.concatenate([own[0] for _, own, _ in stops])
            dense = np.concatenate([(own if other is None else other)[0] for _, own, other in stops])
            if number in (0, len(weights) // 2, len(weights) - 1):
                scale = np.abs(dense).max()
                inside = port not in feed
                np.testing.assert_allclose(
                    dense, inner(model, port, {}, feed) if inside else feed[port], atol=1e-4 * scale
                )
                expected = inner(model, port, changed, feed) if inside else feed[port]
                np.testing.assert_allclose(pruned, expected, atol=1e-4 * max(scale, np.abs(expected).max()))
            values = bench.model.array(weight.name)
            own = {weight.name: np.where(rng.random(values.shape) < 0.3, 0, values).astype(values.dtype)}
            walk.settle(names[weight.name], own if number != 1 else {})
            changed |= own if number != 1 else {}
        held.spill.close()


def one_layer(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> onnx.ModelProto:
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)]
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "one",
        [value("x", TensorProto.FLOAT, ["n", rows.shape[1]])],
        [value("y", TensorProto.FLOAT, ["n", len(weight)])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_single_layer_gets_the_least_squares_answer_of_its_mask_and_the_bias_that_keeps_the_mean(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((200, 9)).astype(np.float32) + 1.5
    rows[:, 1:] += 0.8 * rows[:, :-1]
    weight, bias = rng.standard_normal((5, 9)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=rows)
    proto = one_layer(rows, weight, bias)
    with bench_of(proto, tmp_path, (9,), None, data=str(tmp_path / "rows.npz"), metrics=("dense-mse",)) as bench:
        seen = rows[bench.split.search].astype(np.float64)
        found = rebuilt(bench, 0.6, "reconstruct", samples=len(seen))
    assert (found["w"] == 0).sum() == round(0.6 * weight.size)
    centred = seen - seen.mean(axis=0)
    damp = DAMPENING * np.square(centred).mean(axis=0).mean() * len(seen)
    for row in range(5):
        kept = found["w"][row] != 0
        # Dampening rows pull to the old values; what is cut off has to be made up for by what is kept.
        left = np.vstack([centred[:, kept], np.sqrt(damp) * np.eye(9)[:, kept]])
        right = np.concatenate([centred @ weight[row], np.sqrt(damp) * weight[row]])
        expected = np.linalg.lstsq(left, right, rcond=None)[0]
        np.testing.assert_allclose(found["w"][row, kept], expected, rtol=2e-3, atol=2e-3)
    before, after = seen @ weight.T + bias, seen @ found["w"].T + found["b"]
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("name", ["fashion_resnet", "fashion_cnn", "jv_lstm", "jv_gru", "jv_gru1_loop"])
@pytest.mark.parametrize("method", list(METHODS))
def test_zeros_are_those_of_the_level_whatever_the_method(name: str, method: str) -> None:
    with shipped(name) as bench:
        found = rebuilt(bench, 0.55, method, samples=24)
        for weight in bench.inventory.weights:
            values = found[weight.name]
            assert values.shape == weight.shape
            assert int((values == 0).sum()) == round(0.55 * weight.size)
            assert not np.signbit(values[values == 0]).any()
        others = set(found) - {weight.name for weight in bench.inventory.weights}
        assert others <= bench.shifts.names
        assert bool(others) == (METHODS[method].bias or (METHODS[method].statistics and name == "fashion_resnet"))


@pytest.mark.parametrize(("name", "times"), [("fashion_cnn", 20), ("jv_transformer", 20), ("jv_lstm", 20)])
def test_a_rebuilt_model_is_far_nearer_to_the_dense_one_on_samples_that_it_was_not_fitted_on(
    name: str, times: int
) -> None:
    with shipped(name) as bench:
        unseen = bench.split.holdout[:128]
        read = bench.outlook.reading.output

        def outputs(values: dict[str, np.ndarray]) -> np.ndarray:
            return np.concatenate([batch[read] for batch in bench.runner.outputs(values, unseen)])

        dense = outputs({})
        errors = {
            method: float(np.square(outputs(rebuilt(bench, 0.6, method, samples=160)) - dense).mean())
            for method in ("none", "refit", "reconstruct")
        }
        assert errors["reconstruct"] < errors["refit"] < errors["none"]
        assert errors["reconstruct"] * times < errors["none"]


def test_frozen_weights_keep_every_bit_and_a_second_time_gives_the_same_bytes() -> None:
    with shipped("jv_transformer") as bench:
        first = bench.inventory.weights[0].name
        one, other = (rebuilt(bench, 0.5, "reconstruct", untouched=(first,)) for _ in range(2))
        assert first not in one
        assert one.keys() == other.keys()
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_weight_that_is_too_wide_for_the_memory_is_masked_only_and_says_why() -> None:
    with shipped("jv_gru") as bench:
        weights = bench.inventory.weights
        made = rebuilder(bench, memory=6 * 8 * 50**2).rebuild(
            {weight.name: 0.5 for weight in weights},
            {weight.name: make_sparsity("obs") for weight in weights},
            METHODS["reconstruct"],
            bench.split.search[:16],
        )
        wide = [weight.name for weight in weights if weight.matrix_shape[1] > 50]
        assert wide
        assert all("MB are allowed" in made.why_not[name] for name in wide)
        for name in wide:
            kept = made.values[name] != 0
            np.testing.assert_array_equal(made.values[name][kept], bench.model.array(name)[kept])


@pytest.mark.parametrize("name", ["fashion_cnn", "fashion_resnet", "jv_transformer", "jv_lstm", "jv_gru"])
def test_a_shift_adds_a_constant_to_what_the_operator_makes_and_nothing_else(name: str) -> None:
    """Of recurrent operators, whose sum is inside, only the place is checked."""
    with shipped(name) as bench:
        model = onnx.load(str(bench.model.path))
        stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        makers = {node.output[0]: node for node in model.graph.node}
        feed = dict(bench.dataset.feed(bench.split.search[:4]))
        assert bench.shifts.by_weight
        for weight, shift in bench.shifts.by_weight.items():
            node = next(node for node in model.graph.node if weight in node.input)
            if node.op_type in {"LSTM", "GRU"}:
                assert shift.name == node.input[3]
                assert len(shift.positions) == bench.inventory.weight(weight).layout.rows
                continue
            [after] = [other for other in model.graph.node if shift.name in other.input]
            by = np.arange(1.0, len(shift.positions) + 1)
            moved = {shift.name: shift.moved(stored[shift.name], by)}
            place = after.output[0]
            change = inner(model, place, moved, feed) - inner(model, place, {}, feed)
            axis = 1 if makers[place].op_type in {"Conv", "BatchNormalization"} else change.ndim - 1
            expected = by.copy()
            if after.op_type == "BatchNormalization":
                scale = stored.get(after.input[1])
                expected = by * scale / np.sqrt(stored[after.input[4]] + 1e-5)
            shape = [1] * change.ndim
            shape[axis] = len(by)
            np.testing.assert_allclose(
                change, np.broadcast_to(expected.reshape(shape), change.shape), rtol=2e-2, atol=2e-2
            )
