"""Which stored vector takes a constant, and the law that it does, with ONNX Runtime as the judge."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from networks import model_of, normal, saved
from onnx import helper, numpy_helper

from onnxsens.model import load_model, take_inventory
from onnxsens.model.shifts import Shifts

RNG = np.random.default_rng(5)
IMAGE, ROWS = (2, 2, 5, 5), (3, 6)


def shifts_of(proto: onnx.ModelProto, folder: Path) -> Shifts:
    model = load_model(saved(proto, folder / "m.onnx"))
    return Shifts(model, take_inventory(model))


def outputs(proto: onnx.ModelProto, feed: Mapping[str, np.ndarray], changed: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output, with other values in some tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    made: np.ndarray = session.run(None, dict(feed))[0]
    return made.astype(np.float64)


def norm(channels: int) -> dict[str, np.ndarray]:
    return {
        "scale": normal(RNG, channels),
        "offset": normal(RNG, channels),
        "mean": normal(RNG, channels),
        "variance": np.abs(normal(RNG, channels)) + np.float32(0.5),
    }


Node = tuple[str, list[str], str, dict[str, object]]
NORM: Node = ("BatchNormalization", ["a", "scale", "offset", "mean", "variance"], "b", {})


def made(
    nodes: Sequence[Node], weights: Mapping[str, np.ndarray], shape: Sequence[object], outs: Sequence[str] = ()
) -> onnx.ModelProto:
    """The last node's output is the first one of the graph."""
    built = [helper.make_node(kind, inputs, [output], **attributes) for kind, inputs, output, attributes in nodes]
    return model_of(built, {"x": shape}, dict.fromkeys([nodes[-1][2], *outs]), weights)


def conv(**attributes: object) -> Node:
    return "Conv", ["x", "w", "bias"], "a", attributes


# Case to nodes, weights, shape of the data, and the axis of the output that rows of the weight run along.
TAKES: dict[str, tuple[list[Node], dict[str, np.ndarray], tuple[int, ...], int]] = {
    "a Conv's bias": ([conv()], {"w": normal(RNG, 4, 2, 3, 3), "bias": normal(RNG, 4)}, IMAGE, 1),
    "a grouped Conv's": ([conv(group=2)], {"w": normal(RNG, 4, 1, 3, 3), "bias": normal(RNG, 4)}, IMAGE, 1),
    "a ConvTranspose's": (
        [("ConvTranspose", ["x", "w", "bias"], "a", {})],
        {"w": normal(RNG, 2, 4, 3, 3), "bias": normal(RNG, 4)},
        IMAGE,
        1,
    ),
    "a grouped ConvTranspose's": (
        [("ConvTranspose", ["x", "w", "bias"], "a", {"group": 2})],
        {"w": normal(RNG, 2, 3, 2, 2), "bias": normal(RNG, 6)},
        IMAGE,
        1,
    ),
    "a Gemm's": (
        [("Gemm", ["x", "w", "bias"], "a", {"transB": 1})],
        {"w": normal(RNG, 5, 6), "bias": normal(RNG, 5)},
        ROWS,
        1,
    ),
    "a Gemm's in two axes, its product scaled": (
        [("Gemm", ["x", "w", "bias"], "a", {"alpha": 2.0, "beta": 1.0})],
        {"w": normal(RNG, 6, 5), "bias": normal(RNG, 1, 5)},
        ROWS,
        1,
    ),
    "what is added to a product": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {})],
        {"w": normal(RNG, 6, 5), "bias": normal(RNG, 5)},
        ROWS,
        1,
    ),
    "what a product is added to": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["bias", "p"], "a", {})],
        {"w": normal(RNG, 6, 5), "bias": normal(RNG, 1, 5)},
        ROWS,
        1,
    ),
    "what is added after a Gemm without its own": (
        [("Gemm", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {})],
        {"w": normal(RNG, 6, 5), "bias": normal(RNG, 5)},
        ROWS,
        1,
    ),
}


@pytest.mark.parametrize("case", TAKES)
@pytest.mark.parametrize("more", ["", "Relu", "output"])
def test_a_shift_by_c_moves_the_output_by_c_in_each_channel(case: str, more: str, tmp_path: Path) -> None:
    """Whatever comes after, and also where the sum is an output of the graph."""
    nodes, weights, shape, axis = TAKES[case]
    nodes = [*nodes, ("Relu", ["a"], "r", {})] if more else nodes
    shift = shifts_of(made(nodes, weights, shape, ["a"] if more == "output" else []), tmp_path).by_weight["w"]
    assert (shift.name, shift.sign) == ("bias", 1)
    before = weights["bias"].copy()
    c = np.linspace(-2, 3, len(shift.positions))
    moved = shift.moved(weights["bias"], c)
    assert moved.dtype == before.dtype and moved.shape == before.shape
    np.testing.assert_array_equal(weights["bias"], before)  # what came in is left alone
    alone = made(TAKES[case][0], weights, shape)
    feed = {"x": normal(RNG, *shape)}
    change = outputs(alone, feed, {"bias": moved}) - outputs(alone, feed, {})
    expected = c.reshape([-1 if each == axis else 1 for each in range(change.ndim)])
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=1e-5)


@pytest.mark.parametrize("group", [1, 2])
def test_the_mean_of_a_normalization_takes_what_a_conv_without_bias_loses(group: int, tmp_path: Path) -> None:
    """It is subtracted, so the law is that the output is that of a Conv whose bias has the constant."""
    weights = {"w": normal(RNG, 4, 2 // group, 3, 3), **norm(4)}
    proto = made([("Conv", ["x", "w"], "a", {"group": group}), NORM, ("Relu", ["b"], "y", {})], weights, IMAGE)
    shifts = shifts_of(proto, tmp_path)
    shift = shifts.by_weight["w"]
    assert (shift.name, shift.sign) == ("mean", -1)
    statistics = shifts.statistics["w"]
    assert (statistics.mean, statistics.variance, statistics.bias) == ("mean", "variance", "")
    assert shifts.names == {"mean", "variance"}
    c = np.linspace(-2, 3, 4)
    biased = made([conv(group=group), NORM], {**weights, "bias": c.astype(np.float32)}, IMAGE)
    plain = made([("Conv", ["x", "w"], "a", {"group": group}), NORM], weights, IMAGE)
    feed = {"x": normal(RNG, *IMAGE)}
    found = outputs(plain, feed, {"mean": shift.moved(weights["mean"], c)})
    np.testing.assert_allclose(found, outputs(biased, feed, {}), atol=1e-4)


def test_a_conv_with_a_bias_takes_it_there_and_its_normalization_is_known_with_the_bias(tmp_path: Path) -> None:
    shifts = shifts_of(
        made([conv(), NORM], {"w": normal(RNG, 4, 2, 3, 3), "bias": normal(RNG, 4), **norm(4)}, IMAGE), tmp_path
    )
    assert (shifts.by_weight["w"].name, shifts.by_weight["w"].sign) == ("bias", 1)
    assert (shifts.statistics["w"].mean, shifts.statistics["w"].bias) == ("mean", "bias")


GEMM, SQUARE = {"w": normal(RNG, 6, 6), "bias": normal(RNG, 6)}, (6, 6)
PLAIN: Node = ("Gemm", ["x", "w", "bias"], "a", {})
REFUSED: dict[str, tuple[list[Node], dict[str, np.ndarray], tuple[int, ...], list[str]]] = {
    "a bias times two": ([("Gemm", ["x", "w", "bias"], "a", {"beta": 2.0})], GEMM, SQUARE, []),
    "a bias that is read twice": ([PLAIN, ("Add", ["a", "bias"], "y", {})], GEMM, SQUARE, []),
    "a bias that two weights share": (
        [PLAIN, ("Gemm", ["a", "v", "bias"], "y", {})],
        {**GEMM, "v": normal(RNG, 6, 6)},
        SQUARE,
        [],
    ),
    "a bias that is an output itself": ([PLAIN], GEMM, SQUARE, ["bias"]),
    "a bias along the other axis": ([PLAIN], {**GEMM, "bias": normal(RNG, 6, 1)}, SQUARE, []),
    "the bias of a weight on the left": ([("Gemm", ["w", "x", "bias"], "a", {})], GEMM, SQUARE, []),
    "one number for all channels": ([PLAIN], {**GEMM, "bias": normal(RNG, 1)}, SQUARE, []),
    "a bias that is computed": (
        [("Neg", ["bias"], "n", {}), ("Gemm", ["x", "w", "n"], "a", {})],
        GEMM,
        SQUARE,
        [],
    ),
    "a product that is an output too": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {})],
        GEMM,
        SQUARE,
        ["p"],
    ),
    "a product that something else reads": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {}), ("Mul", ["a", "p"], "y", {})],
        GEMM,
        SQUARE,
        [],
    ),
    "a table that is added": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {})],
        {**GEMM, "bias": normal(RNG, 6, 6)},
        SQUARE,
        [],
    ),
    "what is added along rows": (
        [("MatMul", ["x", "w"], "p", {}), ("Add", ["p", "bias"], "a", {})],
        {**GEMM, "bias": normal(RNG, 6, 1)},
        SQUARE,
        [],
    ),
    "what is subtracted": ([("MatMul", ["x", "w"], "p", {}), ("Sub", ["p", "bias"], "a", {})], GEMM, SQUARE, []),
    "a weight that is used twice": ([PLAIN, ("Gemm", ["a", "w"], "y", {})], GEMM, SQUARE, []),
    "a weight that something else reads": ([PLAIN, ("Add", ["a", "w"], "y", {})], GEMM, SQUARE, []),
    "a normalization behind an output": (
        [("Conv", ["x", "w"], "a", {}), NORM],
        {"w": normal(RNG, 4, 2, 3, 3), **norm(4)},
        IMAGE,
        ["a"],
    ),
    "a normalization whose mean is read twice": (
        [("Conv", ["x", "w"], "a", {}), NORM],
        {"w": normal(RNG, 4, 2, 3, 3), **norm(4)},
        IMAGE,
        ["mean"],
    ),
    "no bias at all": ([("Conv", ["x", "w"], "a", {})], {"w": normal(RNG, 4, 2, 3, 3)}, IMAGE, []),
}


@pytest.mark.parametrize("case", REFUSED)
def test_where_a_constant_would_go_elsewhere_too_there_is_none(case: str, tmp_path: Path) -> None:
    shifts = shifts_of(made(*REFUSED[case]), tmp_path)
    assert "w" not in shifts.by_weight
    assert "w" not in shifts.statistics


def test_a_function_that_is_called_twice_has_one_bias_for_two_weights(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(normal(RNG, 6), "b"))
    opset = [helper.make_opsetid("", 17)]
    body = [constant, helper.make_node("Gemm", ["x", "w", "b"], ["y"])]
    proto = model_of(
        [
            helper.make_node("Layer", ["x", "w"], ["a"], domain="own"),
            helper.make_node("Layer", ["a", "v"], ["y"], domain="own"),
        ],
        {"x": SQUARE},
        {"y": SQUARE},
        {"w": normal(RNG, 6, 6), "v": normal(RNG, 6, 6)},
    )
    proto.functions.append(helper.make_function("own", "Layer", ["x", "w"], ["y"], body, opset))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert not shifts_of(proto, tmp_path).by_weight


@pytest.mark.parametrize(("kind", "gates"), [("RNN", 1), ("GRU", 3), ("LSTM", 4)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_halves_of_a_recurrent_bias_go_to_its_two_weights(
    kind: str, gates: int, direction: str, tmp_path: Path
) -> None:
    """With R at zero, what is put into W's half is what another W adds for an input that is always 1."""
    directions = 2 if direction == "bidirectional" else 1
    weights = {
        "w": normal(RNG, directions, gates * 2, 3),
        "r": normal(RNG, directions, gates * 2, 2),
        "b": normal(RNG, directions, gates * 4),
    }
    more = {"linear_before_reset": 1} if kind == "GRU" else {}
    attributes = {"hidden_size": 2, "direction": direction, **more}
    proto = made([(kind, ["x", "w", "r", "b"], "y", attributes)], weights, ("T", 2, 3))
    shifts = shifts_of(proto, tmp_path).by_weight
    assert {name: (shift.name, shift.sign) for name, shift in shifts.items()} == {"w": ("b", 1), "r": ("b", 1)}
    both = np.concatenate([shifts["w"].positions, shifts["r"].positions])
    np.testing.assert_array_equal(np.sort(both), np.arange(weights["b"].size))
    rows = directions * gates * 2
    c = np.linspace(-1, 1, rows)
    # An input that is always 1 has a column of W to itself.
    x = np.concatenate([normal(RNG, 4, 2, 2), np.ones((4, 2, 1), np.float32)], axis=2)
    wider = weights["w"].copy()
    wider[..., 2] += c.reshape(directions, -1).astype(np.float32)
    found = outputs(proto, {"x": x}, {"b": shifts["w"].moved(weights["b"], c)})
    np.testing.assert_allclose(found, outputs(proto, {"x": x}, {"w": wider}), atol=1e-5)
    # Of a first step, R makes nothing of a state of zeros; its half is what moves the output there.
    once = {"x": x[:1]}
    other = shifts["r"].moved(np.zeros_like(weights["b"]), c).reshape(directions, 2, -1)
    np.testing.assert_array_equal(other[:, 0], 0)
    np.testing.assert_allclose(other[:, 1].reshape(-1), c, atol=1e-6)
    moved = outputs(proto, once, {"b": shifts["r"].moved(weights["b"], c)})
    assert np.abs(moved - outputs(proto, once, {})).max() > 1e-3
