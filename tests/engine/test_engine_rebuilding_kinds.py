"""Plans carried out on many kinds of models, against a carrying out in plain numpy that shares no code with ours."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from benches import bench_of
from commands import ROOT
from networks import model_of, normal, samples_file, saved, smallest_zeroed, with_external_data
from onnx import helper, numpy_helper

from onnxsens.engine.methods import METHODS, Rebuilt
from onnxsens.engine.rebuilding import Rebuilder
from onnxsens.model import write_model
from onnxsens.model.features import input_sources
from onnxsens.options import Options
from onnxsens.station import Station
from onnxsens.techniques import make_sparsity

SEQUENTIAL = [name for name, method in METHODS.items() if method.sequential]
UPDATING = [name for name, method in METHODS.items() if method.update]
MODELS = ROOT / "models"


def rebuilt(
    bench: Station, levels: float | Mapping[str, float], method: str, samples: int = 24, **more: object
) -> Rebuilt:
    weights = bench.inventory.weights
    spec = str(more.pop("technique", "magnitude"))
    given = {"memory": 2**30, "spill": None} | more
    own = Rebuilder(bench.runner, input_sources(bench.model, bench.inventory), bench.shifts, **given)
    return own.rebuild(
        {weight.name: levels for weight in weights} if isinstance(levels, float) else levels,
        {weight.name: make_sparsity(spec) for weight in weights},
        METHODS[method],
        bench.split.search[:samples],
    )


def stored(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}


def run(
    proto: onnx.ModelProto, changed: Mapping[str, np.ndarray], feed: Mapping[str, np.ndarray], *tensors: str
) -> list[np.ndarray]:
    """Outputs, or tensors inside, with other values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    outputs = {value.name for value in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors if name not in outputs)
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(list(tensors) or None, dict(feed)))


# In plain numpy ---------------------------------------------------------------------------------------------------


def perceptron(seed: int = 0) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    weights = {
        "one": normal(rng, 9, 7),
        "one.bias": normal(rng, 9),
        "two": normal(rng, 9, 8),
        "two.bias": normal(rng, 8),
        "three": normal(rng, 4, 8),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "one", "one.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "two"], ["c"]),
        helper.make_node("Add", ["c", "two.bias"], ["d"]),
        helper.make_node("Tanh", ["d"], ["e"]),
        helper.make_node("Gemm", ["e", "three"], ["logits"], transB=1),
    ]
    return model_of(nodes, {"x": ["N", 7]}, {"logits": ["N", 4]}, weights)


LAYERS = [("one", "x", "one.bias", False), ("two", "b", "two.bias", True), ("three", "e", "", False)]


def by_hand(proto: onnx.ModelProto, x: np.ndarray, level: float, method: str) -> dict[str, np.ndarray]:
    """Layer after layer, each row by least squares on stacked rows; the smallest elements go."""
    how, values, changed = METHODS[method], stored(proto), {}
    for name, place, bias, turned in LAYERS:
        pruned, dense = (
            (x if place == "x" else run(proto, some, {"x": x}, place)[0]).astype(np.float64)
            for some in (changed if how.sequential else {}, {})
        )
        matrix = (values[name].T if turned else values[name]).astype(np.float64)
        mask = smallest_zeroed(matrix, round(level * matrix.size)) != 0
        fits = np.where(mask, matrix, 0)
        xs, ys = pruned, dense
        if how.bias and bias:
            xs, ys = pruned - pruned.mean(axis=0), dense - dense.mean(axis=0)
        if how.update:
            damp = np.sqrt(0.01 * np.square(xs).mean() * len(xs))
            for row, kept in enumerate(mask):
                design = np.concatenate([xs, damp * np.eye(matrix.shape[1])])
                target = np.concatenate([ys @ matrix[row], damp * matrix[row]])
                own = np.zeros(len(kept))
                own[kept] = np.linalg.lstsq(design[:, kept], target)[0]
                errors = [np.square(ys @ matrix[row] - xs @ each).mean() for each in (own, fits[row])]
                fits[row] = own if errors[0] <= errors[1] else fits[row]
        changed[name] = (fits.T if turned else fits).astype(np.float32)
        if how.bias and bias:
            lost = dense.mean(axis=0) @ matrix.T - pruned.mean(axis=0) @ fits.T
            changed[bias] = (values[bias] + lost).astype(np.float32)
    return changed


@pytest.mark.parametrize("method", ["none", "bias", "refit", "sequential"])
@pytest.mark.parametrize("level", [0.3, 0.7])
def test_a_plan_is_carried_out_as_in_plain_numpy(method: str, level: float, tmp_path: Path) -> None:
    proto = perceptron()
    with bench_of(proto, tmp_path, (7,), 4, batch_size=7) as bench:
        found = rebuilt(bench, level, method, samples=30).values
        expected = by_hand(proto, bench.dataset.feed(bench.split.search[:30])["x"], level, method)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=2e-3, atol=2e-3, err_msg=name)


def test_both_halves_of_a_recurrent_bias_take_means_as_in_plain_numpy(tmp_path: Path) -> None:
    """Of R, the states are those with W and its half changed already, and R itself as it was."""
    rng = np.random.default_rng(2)
    weights = {"w": normal(rng, 1, 20, 3), "r": normal(rng, 1, 20, 5) / 2, "b": normal(rng, 1, 40) / 2}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["a"], hidden_size=5),
        helper.make_node("ReduceMean", ["a"], ["logits"], axes=[0, 1], keepdims=0),
    ]
    proto = model_of(nodes, {"x": ["N", 4, 3]}, {"logits": ["N", 5]}, weights)
    data = samples_file(tmp_path / "shifted.npz", (4, 3), 5)
    with np.load(data) as arrays:
        shifted = {name: arrays[name] for name in arrays.files}
    shifted["x"] += np.float32(0.7)
    np.savez(data, **shifted)
    with bench_of(proto, tmp_path, (4, 3), data=str(data), batch_size=7) as bench:
        found = rebuilt(bench, 0.6, "bias").values
        feed = dict(bench.dataset.feed(bench.split.search[:24]))
    assert found.keys() == {"w", "r", "b"}

    def mean_state(changed: Mapping[str, np.ndarray]) -> np.ndarray:
        states = run(proto, changed, feed, "a")[0][:-1, 0]
        return np.concatenate([np.zeros_like(states[:1]), states]).mean(axis=(0, 1), dtype=np.float64)

    new = {name: smallest_zeroed(weights[name], round(0.6 * weights[name].size)) for name in "wr"}
    bias = weights["b"].copy()
    bias[0, :20] += (weights["w"] - new["w"])[0] @ feed["x"].mean(axis=(0, 1))
    halfway = {"w": new["w"], "b": bias.copy()}
    bias[0, 20:] += weights["r"][0] @ mean_state({}) - new["r"][0] @ mean_state(halfway)
    for name, values in (new | {"b": bias}).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


# Kinds of models --------------------------------------------------------------------------------------------------


def convolutions(batch: int | str = "N") -> tuple[onnx.ModelProto, tuple[int, ...]]:
    """With BatchNormalization after a Conv without bias and one with, a sum, depthwise and grouped ones."""
    rng = np.random.default_rng(3)
    norms = {
        f"{kind}{number}": values
        for number in (1, 2)
        for kind, values in (
            ("scale", normal(rng, 4) + 2),
            ("offset", normal(rng, 4)),
            ("mean", normal(rng, 4)),
            ("variance", np.abs(normal(rng, 4)) + np.float32(0.5)),
        )
    }
    weights = {
        "stem": normal(rng, 4, 2, 3, 3),
        "second": normal(rng, 4, 4, 3, 3) / 3,
        "second.bias": normal(rng, 4) + 3,
        "depthwise": normal(rng, 4, 1, 3, 3),
        "grouped": normal(rng, 8, 2, 3, 3) / 2,
        "grouped.bias": normal(rng, 8),
        "head": normal(rng, 3, 8),
        "head.bias": normal(rng, 3),
        **norms,
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "stem"], ["a"], **pads),
        helper.make_node("BatchNormalization", ["a", "scale1", "offset1", "mean1", "variance1"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "second", "second.bias"], ["d"], **pads),
        helper.make_node("BatchNormalization", ["d", "scale2", "offset2", "mean2", "variance2"], ["e"]),
        helper.make_node("Add", ["e", "c"], ["f"]),
        helper.make_node("Relu", ["f"], ["g"]),
        helper.make_node("Conv", ["g", "depthwise"], ["h"], group=4, **pads),
        helper.make_node("Conv", ["h", "grouped", "grouped.bias"], ["i"], group=2, **pads),
        helper.make_node("Relu", ["i"], ["j"]),
        helper.make_node("ReduceMean", ["j"], ["k"], axes=[2, 3], keepdims=0),
        helper.make_node("Gemm", ["k", "head", "head.bias"], ["logits"], transB=1),
    ]
    return model_of(nodes, {"x": [batch, 2, 6, 6]}, {"logits": [batch, 3]}, weights), (2, 6, 6)


def recurrent(batch: int | str = "N") -> tuple[onnx.ModelProto, tuple[int, ...]]:
    rng = np.random.default_rng(4)
    weights = {
        "w": normal(rng, 2, 20, 3) / 2,
        "r": normal(rng, 2, 20, 5) / 2,
        "b": normal(rng, 2, 40) / 2,
        "head": normal(rng, 5, 3),
        "head.bias": normal(rng, 3),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["a"], hidden_size=5, direction="bidirectional"),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0, 1], keepdims=0),
        helper.make_node("Gemm", ["m", "head", "head.bias"], ["logits"]),
    ]
    return model_of(nodes, {"x": [batch, 4, 3]}, {"logits": [batch, 3]}, weights), (4, 3)


KINDS = {"convolutions": convolutions, "recurrent": recurrent}
WEIGHTS = {"convolutions": ["stem", "second", "depthwise", "grouped", "head"], "recurrent": ["w", "r", "head"]}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batch", ["N", 5])
@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_the_zeros_of_its_level_and_those_at_level_0_get_none(
    kind: str, batch: int | str, method: str, tmp_path: Path
) -> None:
    proto, shape = KINDS[kind](batch)
    values = stored(proto)
    levels = {name: (0.55, 0.0, 0.8)[number % 3] for number, name in enumerate(WEIGHTS[kind])}
    with bench_of(proto, tmp_path, shape, 3, batch_size=7) as bench:
        found = rebuilt(bench, levels, method)
        again = rebuilt(bench, levels, method)
        unlisted = rebuilt(bench, {name: level for name, level in levels.items() if level}, method)
    assert not found.why_not
    for other in (again, unlisted):
        assert {name: each.tobytes() for name, each in other.values.items()} == {
            name: each.tobytes() for name, each in found.values.items()
        }
    for name, level in levels.items():
        new = found.values.get(name, values[name])
        assert (new.dtype, new.shape) == (values[name].dtype, values[name].shape)
        assert np.isfinite(new).all()
        assert np.count_nonzero(new == 0) == round(level * new.size)
        assert not np.signbit(new[new == 0]).any()
        if not METHODS[method].update:
            np.testing.assert_array_equal(new[new != 0], values[name][new != 0])
            assert (name in found.values) == (level > 0)
    assert found.values.keys() <= values.keys()


@pytest.mark.parametrize(("kind", "memory"), [("convolutions", 70_000), ("recurrent", 4000)])
def test_little_memory_with_a_file_changes_no_bit(kind: str, memory: int, tmp_path: Path) -> None:
    """As much as the widest fit takes, which is less than the tensors at one stop."""
    proto, shape = KINDS[kind]()
    data = str(samples_file(tmp_path / "many.npz", shape, 3, samples=400))
    with bench_of(proto, tmp_path, shape, data=data) as bench:
        one = rebuilt(bench, 0.6, "reconstruct", 200).values
        other = rebuilt(bench, 0.6, "reconstruct", 200, memory=memory, spill=tmp_path / "spill")
    assert not other.why_not
    assert {name: each.tobytes() for name, each in one.items()} == {
        name: each.tobytes() for name, each in other.values.items()
    }
    assert (tmp_path / "spill").exists() and not any((tmp_path / "spill").iterdir())


@pytest.mark.parametrize("lanes", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_batches_side_by_side_change_no_bit(kind: str, lanes: int, tmp_path: Path) -> None:
    proto, shape = KINDS[kind]()
    with bench_of(proto, tmp_path, shape, 3, batch_size=7) as bench:
        one = rebuilt(bench, 0.6, "reconstruct").values
        bench.runner.run_side_by_side(lanes)
        other = rebuilt(bench, 0.6, "reconstruct").values
    assert {name: each.tobytes() for name, each in one.items()} == {
        name: each.tobytes() for name, each in other.items()
    }


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_not_to_be_touched_keep_every_bit_and_so_does_what_is_beside_them(
    kind: str, method: str, tmp_path: Path
) -> None:
    proto, shape = KINDS[kind]()
    untouched = {"convolutions": ("stem", "grouped"), "recurrent": ("w", "r")}[kind]
    beside = {"mean1", "variance1", "grouped.bias", "b"}
    with bench_of(proto, tmp_path, shape, 3) as bench:
        found = rebuilt(bench, 0.6, method, untouched=untouched).values
    assert not (set(untouched) | beside) & set(found)
    assert set(WEIGHTS[kind]) - set(untouched) <= set(found)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.0, 0.2, 0.7])
def test_zeros_that_are_there_stay(method: str, level: float, tmp_path: Path) -> None:
    proto, shape = convolutions()
    rng = np.random.default_rng(5)
    zeros = {}
    for tensor in proto.graph.initializer:
        if tensor.name in WEIGHTS["convolutions"]:
            values = numpy_helper.to_array(tensor).copy()
            zeros[tensor.name] = rng.random(values.shape) < 0.4
            values[zeros[tensor.name]] = 0
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    with bench_of(proto, tmp_path, shape, 3) as bench:
        found = rebuilt(bench, level, method).values
    for name, zero in zeros.items():
        new = found.get(name, stored(proto)[name])
        assert not new[zero].any()
        assert np.count_nonzero(new == 0) == max(np.count_nonzero(zero), round(level * zero.size))


@pytest.mark.parametrize("method", METHODS)
def test_zeros_that_are_there_are_no_excuse_to_miss_a_pattern(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    weight = normal(rng, 8, 16)
    weight.reshape(-1)[:80] = 0  # more than half, and not two of four
    proto = model_of(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], {"x": ["N", 16]}, {"y": ["N", 8]}, {"w": weight}
    )
    with bench_of(proto, tmp_path, (16,), None, metrics=("dense-mse",)) as bench:
        found = rebuilt(bench, 0.5, method, technique="magnitude:2:4").values["w"]
    assert np.count_nonzero(found.reshape(-1, 4), axis=1).max() == 2


def test_batchnorm_changes_weights_means_and_variances_to_what_convs_put_out_now(tmp_path: Path) -> None:
    """A Conv's own bias is in the mean that is normalised."""
    proto, shape = convolutions()
    with bench_of(proto, tmp_path, shape, 3, batch_size=7) as bench:
        found = rebuilt(bench, 0.5, "batchnorm").values
        feed = bench.dataset.feed(bench.split.search[:24])
    assert set(found) == {*WEIGHTS["convolutions"], "mean1", "variance1", "mean2", "variance2"}
    for number, tensor in ((1, "a"), (2, "d")):
        [made] = run(proto, found, feed, tensor)
        np.testing.assert_allclose(found[f"mean{number}"], made.mean(axis=(0, 2, 3)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found[f"variance{number}"], made.var(axis=(0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("method", [name for name in SEQUENTIAL if METHODS[name].bias])
def test_with_biases_the_mean_of_every_channel_is_the_dense_one(method: str, tmp_path: Path) -> None:
    """On the samples that it was fitted on; behind a BatchNormalization its mean does that."""
    proto, shape = convolutions()
    with bench_of(proto, tmp_path, shape, 3, batch_size=7) as bench:
        found = rebuilt(bench, 0.7, method).values
        feed = bench.dataset.feed(bench.split.search[:24])
    places = ["b", "d", "i", "logits"]
    for name, pruned, dense in zip(
        places, run(proto, found, feed, *places), run(proto, {}, feed, *places), strict=True
    ):
        axes = tuple(axis for axis in range(dense.ndim) if axis != 1)
        np.testing.assert_allclose(pruned.mean(axis=axes), dense.mean(axis=axes), rtol=1e-3, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("method", UPDATING)
def test_a_weight_whose_inputs_cannot_be_read_is_masked_only_and_says_why(method: str, tmp_path: Path) -> None:
    """The states of a GRU that resets before it multiplies are not among its outputs."""
    rng = np.random.default_rng(6)
    weights = {"w": normal(rng, 1, 12, 3), "r": normal(rng, 1, 12, 4), "head": normal(rng, 4, 3)}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["t", "w", "r"], ["a"], hidden_size=4),
        helper.make_node("ReduceMean", ["a"], ["m"], axes=[0, 1], keepdims=0),
        helper.make_node("MatMul", ["m", "head"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 4, 3]}, {"logits": ["N", 3]}, weights)
    with bench_of(proto, tmp_path, (4, 3), 3) as bench:
        found = rebuilt(bench, 0.5, method, technique="obs")
    assert found.why_not.keys() == {"r"} and "resets the state" in found.why_not["r"]
    np.testing.assert_array_equal(found.values["r"], smallest_zeroed(weights["r"], 24))


def test_rows_that_are_infinite_are_no_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    weights = {"one": normal(rng, 6, 6), "two": normal(rng, 6, 3), "zero": np.zeros(6, np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "one"], ["a"]),
        helper.make_node("Div", ["a", "zero"], ["b"]),
        helper.make_node("MatMul", ["b", "two"], ["c"]),
        helper.make_node("ReduceSum", ["x"], ["d"]),
        helper.make_node("Greater", ["d", "never"], ["finite"]),  # always, since x is positive
        helper.make_node("Where", ["finite", "d", "c"], ["logits"]),
    ]
    weights["never"] = np.full(1, -1, np.float32)
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)
    data = tmp_path / "rows.npz"
    np.savez(data, x=np.abs(normal(rng, 40, 6)))
    with bench_of(proto, tmp_path, (6,), None, data=str(data), metrics=("dense-mse",)) as bench:
        found = rebuilt(bench, 0.5, "reconstruct")
    assert "NaN or infinite" in found.why_not["two"]
    np.testing.assert_array_equal(found.values["two"], smallest_zeroed(weights["two"].T, 9).T)


@pytest.mark.parametrize("method", UPDATING)
def test_a_product_of_stored_tensors_is_fitted_to_what_is_stored(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    weights = {"table": normal(rng, 9, 4), "w": normal(rng, 4, 6)}
    nodes = [
        helper.make_node("Tanh", ["table"], ["t"]),
        helper.make_node("MatMul", ["t", "w"], ["rows"]),
        helper.make_node("Gemm", ["x", "rows"], ["logits"], transB=1),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 9]}, weights)
    with bench_of(proto, tmp_path, (6,), 9) as bench:
        found = rebuilt(bench, 0.5, method)
    rows, new = np.tanh(weights["table"]), found.values["w"]
    assert not found.why_not and np.count_nonzero(new == 0) == 12
    errors = [np.square(rows @ weights["w"] - rows @ each).sum() for each in (new, np.where(new, weights["w"], 0))]
    assert errors[0] < errors[1]


def test_a_tied_weight_is_fitted_to_the_inputs_of_all_its_operators(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    weights = {"shared": normal(rng, 6, 6), "head": normal(rng, 6, 3)}
    nodes = [
        helper.make_node("MatMul", ["x", "shared"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "shared"], ["c"]),
        helper.make_node("MatMul", ["c", "head"], ["logits"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, weights)
    with bench_of(proto, tmp_path, (6,), 3, batch_size=7) as bench:
        found = rebuilt(bench, 0.5, "refit").values["shared"]
        feed = bench.dataset.feed(bench.split.search[:24])
    rows = np.concatenate([feed["x"], *run(proto, {}, feed, "b")]).astype(np.float64)
    damp = np.sqrt(0.01 * np.square(rows).mean() * len(rows))
    design = np.concatenate([rows, damp * np.eye(6)])
    for column, kept in enumerate(smallest_zeroed(weights["shared"].T, 18) != 0):
        target = design @ weights["shared"][:, column]
        expected = np.linalg.lstsq(design[:, kept], target)[0]
        np.testing.assert_allclose(found[kept, column], expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_weights_of_other_types_stay_of_their_type(kind: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    proto = model_of(
        [
            helper.make_node("Cast", ["x"], ["a"], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind))),
            helper.make_node("Gemm", ["a", "w", "b"], ["c"], transB=1),
            helper.make_node("Cast", ["c"], ["logits"], to=onnx.TensorProto.FLOAT),
        ],
        {"x": ["N", 6]},
        {"logits": ["N", 8]},
        {"w": normal(rng, 8, 6).astype(kind), "b": normal(rng, 8).astype(kind)},
    )
    with bench_of(proto, tmp_path, (6,), 8) as bench:
        found = rebuilt(bench, 0.5, "reconstruct").values
    assert set(found) == {"w", "b"}
    assert {each.dtype for each in found.values()} == {np.dtype(kind)}
    assert np.count_nonzero(found["w"] == 0) == 24


def kept_in_constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same with a Constant for every initializer."""
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    constants = [helper.make_node("Constant", [], [each.name], value=each) for each in proto.graph.initializer]
    del made.graph.initializer[:], made.graph.node[:]
    made.graph.node.extend([*constants, *proto.graph.node])
    return made


@pytest.mark.parametrize("kept", ["inside", "in constants", "in a file beside it"])
@pytest.mark.parametrize("method", ["batchnorm", "reconstruct"])
def test_a_session_with_the_values_is_the_model_that_is_written_with_them(
    kept: str, method: str, tmp_path: Path
) -> None:
    """Wherever the model keeps its tensors; and they are the same values."""
    proto, shape = convolutions()
    with bench_of(proto, tmp_path, shape, 3) as bench:
        expected = rebuilt(bench, 0.6, method).values
    (tmp_path / "other").mkdir()
    path = tmp_path / "other/m.onnx"
    if kept == "in a file beside it":
        with_external_data(convolutions()[0], path)
    else:
        saved(kept_in_constants(proto) if kept == "in constants" else proto, path)
    with Station(path, Options(str(tmp_path / "d.npz"), provider="cpu", threads=1)) as bench:
        found = rebuilt(bench, 0.6, method).values
        samples = bench.split.holdout
        [made] = bench.runner.outputs(found, samples)
        write_model(bench.model, found, tmp_path / "other/written.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "other/written.onnx", providers=["CPUExecutionProvider"])
        [written] = session.run(None, dict(bench.dataset.feed(samples)))
    assert {name: each.tobytes() for name, each in found.items()} == {
        name: each.tobytes() for name, each in expected.items()
    }
    np.testing.assert_allclose(made["logits"], written, rtol=1e-5, atol=1e-5)


# Operator with weights `w` and, where it takes one, `b`, and the data that it gets.
OPERATORS: dict[str, tuple[onnx.NodeProto, tuple[int, ...], tuple[int, ...], int, tuple[int, ...]]] = {
    "Conv of one axis": (
        helper.make_node("Conv", ["s", "w", "b"], ["y"], pads=[2, 2], dilations=[2], strides=[2]),
        (6, 4, 3),
        (6,),
        1,
        (4, 12),
    ),
    "Conv of three axes": (helper.make_node("Conv", ["s", "w", "b"], ["y"]), (5, 2, 2, 2, 2), (5,), 1, (2, 3, 4, 3)),
    "Conv in groups": (
        helper.make_node("Conv", ["s", "w", "b"], ["y"], group=2, strides=[2, 1], auto_pad="SAME_UPPER"),
        (6, 2, 3, 3),
        (6,),
        1,
        (4, 6, 6),
    ),
    "depthwise Conv with a multiplier": (
        helper.make_node("Conv", ["s", "w", "b"], ["y"], group=4),
        (8, 1, 3, 3),
        (8,),
        1,
        (4, 6, 6),
    ),
    "ConvTranspose in groups": (
        helper.make_node("ConvTranspose", ["s", "w", "b"], ["y"], group=2, strides=[2, 2]),
        (4, 3, 3, 3),
        (6,),
        1,
        (4, 5, 5),
    ),
    "scaled Gemm": (helper.make_node("Gemm", ["s", "w", "b"], ["y"], alpha=0.5), (9, 5), (5,), 1, (9,)),
    "MatMul of sequences": (helper.make_node("MatMul", ["s", "w"], ["y"]), (9, 5), (), 2, (7, 9)),
    "Einsum": (helper.make_node("Einsum", ["s", "w"], ["y"], equation="nti,oi->nto"), (5, 9), (), 2, (7, 9)),
    "MatMul from the left": (helper.make_node("MatMul", ["w", "s"], ["y"]), (5, 7), (), 1, (7, 9)),
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("method", ["bias", "obs", "refit", "sequential", "reconstruct"])
def test_what_an_operator_puts_out_is_nearer_with_every_method(operator: str, method: str, tmp_path: Path) -> None:
    """Inputs depend on each other and have a mean; so a method that took wrong rows would do harm."""
    node, shape, bias, axis, data = OPERATORS[operator]
    rng = np.random.default_rng(11)
    weights = {"w": normal(rng, *shape)} | ({"b": normal(rng, *bias)} if bias else {})
    smooth = [helper.make_node("CumSum", ["x", "last"], ["c"]), helper.make_node("Abs", ["c"], ["s"])]
    proto = model_of(
        [*smooth, node], {"x": ["N", *data]}, {"y": ["N", *[None] * (len(data))]}, {**weights, "last": np.array(-1)}
    )
    if len(data) == 1:
        proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5
    with bench_of(proto, tmp_path, data, None, metrics=("dense-mse",), batch_size=7) as bench:
        found = {name: rebuilt(bench, 0.6, name) for name in ("none", method)}
        feed = bench.dataset.feed(bench.split.search[:24])
    [dense] = run(proto, {}, feed)
    errors = {name: np.square(run(proto, each.values, feed)[0] - dense) for name, each in found.items()}
    assert not found[method].why_not
    others = tuple(each for each in range(dense.ndim) if each != axis)
    if method == "bias":  # where there is one, no channel is off by more
        assert ("b" in found[method].values) == bool(bias)
        assert (errors[method].mean(axis=others) <= errors["none"].mean(axis=others) + 1e-6).all()
    else:
        share = 0.9 if method == "obs" else 0.7  # which has no bias, and is no exact answer
        assert errors[method].mean() < share * errors["none"].mean()


# Shipped models ---------------------------------------------------------------------------------------------------


def shipped(name: str) -> Station:
    images = {"scale": 255, "mean": "0.2860", "std": "0.3530"} if name.startswith("fashion") else {}
    data = MODELS / ("fashion_mnist_test.npz" if images else "japanese_vowels_test.npz")
    return Station(MODELS / f"{name}.onnx", Options(str(data), provider="cpu", threads=1, holdout=0.5, **images))


def divergence(bench: Station, changed: Mapping[str, np.ndarray], samples: np.ndarray) -> float:
    """Mean KL of the classes, in nats, by a session of the file with other values."""
    proto, feed = onnx.load(bench.model.path), bench.dataset.feed(samples)

    def logs(some: Mapping[str, np.ndarray]) -> np.ndarray:
        made = run(proto, some, feed)[0].astype(np.float64)
        return (
            made - np.log(np.exp(made - made.max(1, keepdims=True)).sum(1, keepdims=True)) - made.max(1, keepdims=True)
        )

    dense, pruned = logs({}), logs(changed)
    return float((np.exp(dense) * (dense - pruned)).sum(axis=1).mean())


@pytest.mark.parametrize("name", ["jv_transformer", "fashion_cnn"])
def test_rebuilt_a_model_loses_five_times_less_on_samples_that_it_was_not_fitted_to(name: str) -> None:
    with shipped(name) as bench:
        unseen = bench.split.holdout[:256]
        assert not set(unseen) & set(bench.split.search[:128])
        lost = {
            method: divergence(bench, rebuilt(bench, 0.6, method, 128, technique=technique).values, unseen)
            for method, technique in (("none", "magnitude"), ("reconstruct", "obs"))
        }
    assert lost["none"] > 5 * lost["reconstruct"] > 0


def test_on_a_residual_network_batchnorm_sets_every_mean_and_variance_and_nothing_else_beside_weights() -> None:
    with shipped("fashion_resnet") as bench:
        proto = onnx.load(bench.model.path)
        found = rebuilt(bench, 0.5, "batchnorm", 32).values
        names = {weight.name for weight in bench.inventory.weights}
        unseen = bench.split.holdout[:128]
        plain = {name: values for name, values in found.items() if name in names}
        assert divergence(bench, found, unseen) < divergence(bench, plain, unseen)
    norms = [node for node in proto.graph.node if node.op_type == "BatchNormalization"]
    assert set(found) == names | {name for node in norms for name in node.input[3:]}
