"""One net in two exports has one set of curves: what a weight is kept in makes no difference to what is measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import document
from networks import convolutional, samples_file, saved, with_external_data
from onnx import TensorProto, helper, numpy_helper

Curves = dict[str, dict[float, float]]


def curves_of(model: Path, data: Path | str, folder: Path, metric: str) -> Curves:
    """Drop by weight and level, as `scan --json` has it."""
    run = document(
        "scan",
        model,
        "-d",
        data,
        "--metric",
        metric,
        "--levels",
        "0.3,0.6,0.9",
        "-o",
        folder,
        "--threads",
        "1",
    )
    found: Curves = {}
    for point in run["points"]:
        found.setdefault(point["weight"], {})[point["level"]] = point["measurements"][metric]["drop"]
    return found


def assert_alike(one: Curves, other: Curves, pairs: Mapping[str, str], tolerance: float) -> None:
    assert set(one) == set(pairs)
    assert set(other) == set(pairs.values())
    for name, twin in pairs.items():
        assert one[name].keys() == other[twin].keys()
        for level, drop in one[name].items():
            assert other[twin][level] == pytest.approx(drop, abs=tolerance), (name, level)


def test_a_gru_and_the_loop_that_it_was_unrolled_to(models: Path, tmp_path: Path) -> None:
    data = models / "japanese_vowels_test.npz"
    one = curves_of(models / "jv_gru1.onnx", data, tmp_path / "one", "kl")
    loop = curves_of(models / "jv_gru1_loop.onnx", data, tmp_path / "loop", "kl")
    pairs = {"onnx::GRU_105": "ih.weight", "onnx::GRU_106": "hh.weight", "f.weight": "f.weight"}
    assert max(abs(drop) for curve in one.values() for drop in curve.values()) > 0.01
    assert_alike(one, loop, pairs, 1e-5)


def as_constants(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every initializer a Constant node."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    held = [helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in twin.graph.initializer]
    nodes = [*held, *twin.graph.node]
    del twin.graph.initializer[:]
    del twin.graph.node[:]
    twin.graph.node.extend(nodes)
    return twin


def stored_as(proto: onnx.ModelProto, kind: str) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Weights in float16 behind a Cast, or in int8 behind a DequantizeLinear; and the float32 model of equal values."""
    twin, plain = onnx.ModelProto(), onnx.ModelProto()
    twin.CopyFrom(proto)
    plain.CopyFrom(proto)
    before = []
    for number, tensor in enumerate(proto.graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.ndim < 2:
            continue
        if kind == "float16":
            stored = values.astype(np.float16)
            seen = stored.astype(np.float32)
            before.append(helper.make_node("Cast", [tensor.name + ".s"], [tensor.name], to=TensorProto.FLOAT))
        else:
            scale = np.array(np.abs(values).max() / 127, np.float32)
            stored = np.rint(values / scale).astype(np.int8)
            seen = stored.astype(np.float32) * scale
            twin.graph.initializer.append(numpy_helper.from_array(scale, tensor.name + ".scale"))
            before.append(
                helper.make_node("DequantizeLinear", [tensor.name + ".s", tensor.name + ".scale"], [tensor.name])
            )
        twin.graph.initializer[number].CopyFrom(numpy_helper.from_array(stored, tensor.name + ".s"))
        plain.graph.initializer[number].CopyFrom(numpy_helper.from_array(seen, tensor.name))
    nodes = [*before, *twin.graph.node]
    del twin.graph.node[:]
    twin.graph.node.extend(nodes)
    return twin, plain


WEIGHTS = ("first", "depthwise", "up", "head")


@pytest.mark.parametrize("kind", ["constants", "external", "float16", "int8"])
def test_twins_of_a_convolutional_net(kind: str, tmp_path: Path) -> None:
    proto = plain = convolutional()
    pairs = {name: name for name in WEIGHTS}
    if kind == "constants":
        twin = saved(as_constants(proto), tmp_path / "twin.onnx")
    elif kind == "external":
        twin = with_external_data(proto, tmp_path / "twin.onnx")
    else:
        stored, plain = stored_as(proto, kind)
        twin = saved(stored, tmp_path / "twin.onnx")
        pairs = {name: name + ".s" for name in WEIGHTS}
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None, samples=40)
    one = curves_of(saved(plain, tmp_path / "one.onnx"), data, tmp_path / "one", "dense-mse")
    other = curves_of(twin, data, tmp_path / "other", "dense-mse")
    assert max(drop for curve in one.values() for drop in curve.values()) > 1
    assert_alike(one, other, pairs, 1e-5)


def plan_of(model: Path, data: Path, folder: Path) -> dict[str, Any]:
    goal = ("--sparsity", "0.5", "--update", "none")
    return document("auto", model, "-d", data, *goal, "--metric", "dense-mse", "-o", folder)


def test_the_plan_of_a_quantized_net_is_applied_as_zero_points(tmp_path: Path) -> None:
    stored, _ = stored_as(convolutional(), "int8")
    for tensor in list(stored.graph.initializer):
        if tensor.name == "up.s":
            shifted = numpy_helper.to_array(tensor).astype(np.int16).clip(-124, 127 - 3) + 3
            tensor.CopyFrom(numpy_helper.from_array(shifted.astype(np.int8), "up.s"))
    stored.graph.initializer.append(numpy_helper.from_array(np.array(3, np.int8), "up.zero"))
    next(node for node in stored.graph.node if node.input[0] == "up.s").input.append("up.zero")
    model = saved(stored, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None, samples=40)
    plan = plan_of(model, data, tmp_path / "run")
    before = {t.name: numpy_helper.to_array(t) for t in stored.graph.initializer}
    written = onnx.load(str(tmp_path / "run" / "pruned.onnx"))
    after = {t.name: numpy_helper.to_array(t) for t in written.graph.initializer}
    zeros = {weight["name"]: weight["zeros"] for weight in plan["weights"]}
    assert zeros["up.s"] > 0
    for name, count in zeros.items():
        zero = 3 if name == "up.s" else 0
        assert int((after[name] == zero).sum()) == count
        changed = after[name] != before[name]
        assert (after[name][changed] == zero).all()
    assert {name for name in after if not np.array_equal(after[name], before[name])} <= set(plan["changed"])
