"""Two runs side by side, against runs of the whole model by onnx and onnxruntime alone."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from benches import bench_of
from networks import model_of, normal
from onnx import helper, numpy_helper

from onnxsens.engine.spill import Spill
from onnxsens.engine.walking import Budget, Held, Walk
from onnxsens.station import Station

SHAPES = {"images": (2, 6, 6), "sequences": (4, 3)}
BATCHES = [np.arange(0, 7), np.arange(7, 14), np.arange(14, 17)]


def images(seed: int = 0) -> onnx.ModelProto:
    """Conv with BatchNormalization, a residual sum, a depthwise and a grouped Conv, two Gemms."""
    rng = np.random.default_rng(seed)
    weights = {
        "stem": normal(rng, 4, 2, 3, 3),
        "scale": normal(rng, 4) + 2,
        "offset": normal(rng, 4),
        "mean": normal(rng, 4),
        "variance": np.abs(normal(rng, 4)) + np.float32(0.5),
        "inner": normal(rng, 4, 2, 3, 3) / 4,
        "inner.bias": normal(rng, 4),
        "depthwise": normal(rng, 4, 1, 3, 3),
        "hidden": normal(rng, 8, 4),
        "hidden.bias": normal(rng, 8),
        "head": normal(rng, 8, 3),
        "head.bias": normal(rng, 3),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], **pads),
        helper.make_node("BatchNormalization", ["a", "scale", "offset", "mean", "variance"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "inner", "inner.bias"], ["d"], group=2, **pads),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "depthwise"], ["f"], group=4, **pads),
        helper.make_node("Add", ["f", "c"], ["g"]),
        helper.make_node("ReduceMean", ["g"], ["h"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["h", "hidden", "hidden.bias"], ["i"], transB=1),
        helper.make_node("Relu", ["i"], ["j"]),
        helper.make_node("MatMul", ["j", "head"], ["k"]),
        helper.make_node("Add", ["k", "head.bias"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", *SHAPES["images"]]}, {"logits": ["N", 3]}, weights)


def sequences(seed: int = 0) -> onnx.ModelProto:
    """Two LSTMs, the first bidirectional, and a product with what comes in again."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": normal(rng, 2, 20, 3) / 2,
        "r1": normal(rng, 2, 20, 5) / 2,
        "b1": normal(rng, 2, 40) / 2,
        "w2": normal(rng, 1, 16, 10) / 2,
        "r2": normal(rng, 1, 16, 4) / 2,
        "b2": normal(rng, 1, 32) / 2,
        "head": normal(rng, 4, 3),
        "head.bias": normal(rng, 3),
        "axis": np.array([1]),
        "flat": np.array([0, 0, -1]),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w1", "r1", "b1"], ["a"], hidden_size=5, direction="bidirectional"),
        helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["b", "flat"], ["c"]),
        helper.make_node("LSTM", ["c", "w2", "r2", "b2"], ["d"], hidden_size=4),
        helper.make_node("Squeeze", ["d", "axis"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["f"], axes=[0], keepdims=0),
        helper.make_node("Gemm", ["f", "head", "head.bias"], ["logits"]),
    ]
    return model_of(nodes, {"x": ["N", *SHAPES["sequences"]]}, {"logits": ["N", 3]}, weights)


MODELS = {"images": images, "sequences": sequences}
# Weights in the order of the graph, and what is there to be stopped at before each.
STOPS = {
    "images": [("stem", "x"), ("inner", "c"), ("depthwise", "e"), ("hidden", "h"), ("head", "j")],
    "sequences": [("w1", "t"), ("r1", "t"), ("w2", "c"), ("r2", "c"), ("head", "f")],
}
# What else is changed with a weight.
BESIDE = {"stem": ["mean", "variance"], "inner": ["inner.bias"], "head": ["head.bias"], "w1": ["b1"], "r2": ["b2"]}


def stored(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def whole(
    proto: onnx.ModelProto, changed: Mapping[str, np.ndarray], tensor: str, feed: Mapping[str, np.ndarray]
) -> np.ndarray:
    """A tensor from the middle of a model."""
    if tensor in feed:
        return feed[tensor]
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for each in copy.graph.initializer:
        if each.name in changed:
            each.CopyFrom(numpy_helper.from_array(changed[each.name], each.name))
    copy.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    made: np.ndarray = session.run([tensor], dict(feed))[0]
    return made


def others(name: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """New values of a weight and of what is beside it."""
    rng = np.random.default_rng(len(name))
    found = {}
    for each in [name, *BESIDE.get(name, [])]:
        kept = rng.random(values[each].shape) < 0.6
        found[each] = np.where(kept, values[each], 0).astype(np.float32) + np.float32(0.1)
    return found


def walk_of(bench: Station, stops: list[tuple[str, str]], budget: Budget) -> Walk:
    names = bench.runner.copy.names
    ports = {port for _, port in stops}
    return Walk(bench.runner, BATCHES, [names[weight] for weight, _ in stops], sorted(ports), budget)


@pytest.mark.parametrize("memory", [2**30, 600, 0])
@pytest.mark.parametrize("untouched", [(), ("stem", "w1", "r1"), ("inner", "depthwise", "w2")])
@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_at_every_stop_there_is_what_a_whole_run_has_with_what_is_changed_so_far(
    name: str, memory: int, untouched: Collection[str], lanes: int, tmp_path: Path
) -> None:
    proto = MODELS[name]()
    values = stored(proto)
    spill = Spill(tmp_path / "spill")
    with bench_of(proto, tmp_path, SHAPES[name], 3, threads=2) as bench:
        bench.runner.run_side_by_side(lanes)
        budget = Budget(memory, spill)
        walk = walk_of(bench, STOPS[name], budget)
        changed: dict[str, np.ndarray] = {}
        feeds = [bench.dataset.feed(batch) for batch in BATCHES]
        for weight, port in STOPS[name]:
            assert walk.reaches([port])
            walk.go_to([port])
            seen = []
            for feed, (batch, pruned, dense) in zip(feeds, walk.tensors([port]), strict=True):
                seen.append(batch)
                expected = whole(proto, {}, port, feed)
                np.testing.assert_allclose(pruned[0], whole(proto, changed, port, feed), rtol=1e-4, atol=1e-5)
                if dense is None:
                    assert not walk.parted
                else:
                    np.testing.assert_allclose(dense[0], expected, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(np.concatenate(seen), np.concatenate(BATCHES))
            own = {} if weight in untouched else others(weight, values)
            walk.settle(bench.runner.copy.names[weight], own)
            changed |= own
            assert budget.used <= max(memory, 0)
        assert walk.parted
    spill.close()


def test_until_a_changed_weight_is_run_both_are_one_run(tmp_path: Path) -> None:
    proto = images()
    with bench_of(proto, tmp_path, SHAPES["images"], 3) as bench:
        walk = walk_of(bench, STOPS["images"], Budget(2**30, None))
        walk.go_to(["x"])
        for weight, port in STOPS["images"]:
            walk.go_to([port])
            assert not walk.parted
            assert all(dense is None for _, _, dense in walk.tensors([port]))
            walk.settle(bench.runner.copy.names[weight], {})


def test_what_depends_on_a_weight_that_is_open_is_not_reached(tmp_path: Path) -> None:
    with bench_of(images(), tmp_path, SHAPES["images"], 3) as bench:
        names = bench.runner.copy.names
        walk = walk_of(bench, STOPS["images"], Budget(2**30, None))
        assert walk.reaches(["x"]) and not walk.reaches(["a"]) and not walk.reaches(["x", "j"])
        walk.settle(names["stem"], {})
        assert walk.reaches(["c"]) and not walk.reaches(["d"]) and not walk.reaches(["g"])
        walk.settle(names["inner"], {})
        assert walk.reaches(["e"]) and not walk.reaches(["g"])


def test_what_is_stored_or_made_of_it_alone_is_not_reached_since_no_sample_gets_there(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    weights = {"table": normal(rng, 9, 4), "w": normal(rng, 4, 6)}
    nodes = [
        helper.make_node("Tanh", ["table"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["rows"]),
        helper.make_node("Gemm", ["x", "rows"], ["logits"], transB=1),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 9]}, weights)
    with bench_of(proto, tmp_path, (6,), 9) as bench:
        walk = Walk(bench.runner, BATCHES, [bench.runner.copy.names["w"]], ["t"], Budget(2**30, None))
        assert not walk.reaches(["t"]) and not walk.reaches(["table"]) and walk.reaches(["x"])


def test_tensors_beyond_the_budget_come_back_as_they_were(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "s")
    budget = Budget(100, spill)
    held = Held(budget)
    given = {(n, name): np.full((n + 3, 5), n, np.float32) for n in range(4) for name in ("a", "b")}
    for (batch, name), values in given.items():
        held.put(batch, name, values)
    assert 0 < budget.used <= 100
    for (batch, name), values in given.items():
        np.testing.assert_array_equal(held.get(batch, name), values)
    held.forget(["a"])
    for batch in range(4):  # their places are taken by others
        held.put(batch, "c", np.full((batch + 3, 5), -1, np.float32))
    for batch in range(4):
        np.testing.assert_array_equal(held.get(batch, "b"), given[batch, "b"])
        np.testing.assert_array_equal(held.get(batch, "c"), -np.ones((batch + 3, 5)))
    held.forget(["b", "c"])
    assert budget.used == 0
    spill.close()
