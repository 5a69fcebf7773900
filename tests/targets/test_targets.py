"""Targets: laws that all keep, and which weights each takes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, model_of, normal, saved
from onnx import helper
from stored_ways import ENCODINGS

from onnxsens.errors import UsageError
from onnxsens.model import Weight, load_model, take_inventory
from onnxsens.targets import Target, assess, look_up, targets
from onnxsens.targets.contract import TargetContract

node = helper.make_node


def mixed(dtype: type = np.float32) -> onnx.ModelProto:
    """Convolutions of several kernels and widths, a stack of matrices, a MatMul, a Gemm, a GRU's two weights."""
    rng = np.random.default_rng(0)
    shapes = {
        "odd": (8, 3, 1, 1),
        "wide": (8, 8, 3, 3),
        "depthwise": (8, 1, 3, 3),
        "pointwise": (6, 8, 1, 1),
        "stack": (6, 16, 16),
        "mean": (16, 12),
        "W": (1, 12, 12),
        "R": (1, 12, 4),
        "head": (5, 4),
    }
    nodes = [
        node("Conv", ["x", "odd"], ["a"]),
        node("Conv", ["a", "wide"], ["b"], pads=[1, 1, 1, 1]),
        node("Conv", ["b", "depthwise"], ["c"], pads=[1, 1, 1, 1], group=8),
        node("Conv", ["c", "pointwise"], ["d"]),
        node("MatMul", ["d", "stack"], ["e"]),
        node("ReduceMean", ["e"], ["f"], axes=[2], keepdims=0),
        node("MatMul", ["f", "mean"], ["g"]),
        node("GRU", ["g", "W", "R"], ["", "h"], hidden_size=4),
        node("Squeeze", ["h"], ["i"]),
        node("Gemm", ["i", "head"], ["y"], transB=1),
    ]
    values = {name: normal(rng, *shape).astype(dtype) for name, shape in shapes.items()}
    made = model_of(nodes, {"x": [2, 3, 16, 16]}, {"y": [6, 5]}, values)
    if dtype is np.float16:
        for value in (*made.graph.input, *made.graph.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    return made


def weights_of(proto: onnx.ModelProto, folder: Path) -> Sequence[Weight]:
    return take_inventory(load_model(saved(proto, folder / "m.onnx"))).weights


@pytest.fixture
def weights(tmp_path: Path) -> Sequence[Weight]:
    return weights_of(mixed(), tmp_path)


class TestEveryBuiltIn(TargetContract):
    @pytest.fixture(params=targets.names())
    def target(self, request: pytest.FixtureRequest) -> Target:
        return targets.get(request.param)


@pytest.mark.parametrize("name", targets.names())
def test_a_target_goes_by_its_own_name(name: str) -> None:
    assert targets.get(name).name == name


def refusals(name: str, weights: Sequence[Weight]) -> dict[str, str]:
    return {
        judgement.weight.name: judgement.refusal
        for judgement in assess(targets.get(name), weights)
        if judgement.refusal is not None
    }


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("size-only", {}),
        ("dense-runtime", {}),
        ("coreml-ane", {}),
        (
            "xnnpack",
            {
                "wide": "its Conv has a kernel of 3x3, not 1x1",
                "depthwise": "its Conv has a kernel of 3x3, not 1x1",
                "stack": "its MatMul takes a stack of matrices, 6x16x16, and is no fully connected layer",
                "W": "GRU is none of Conv, Gemm, MatMul",
                "R": "GRU is none of Conv, Gemm, MatMul",
            },
        ),
        (
            "tensorrt-2to4",
            {
                "odd": "its 3 input channels do not divide by 4",
                "depthwise": "its 1 input channel does not divide by 4",
                "W": "GRU is none of Conv, Gemm, MatMul",
                "R": "GRU is none of Conv, Gemm, MatMul",
            },
        ),
        (
            "openvino-cpu",
            {
                **dict.fromkeys(["odd", "wide", "depthwise", "pointwise"], "Conv is none of MatMul, Gemm"),
                **dict.fromkeys("WR", "GRU is none of MatMul, Gemm"),
            },
        ),
        ("channel", dict.fromkeys("WR", "GRU is none of Conv, ConvTranspose, Gemm, MatMul")),
    ],
)
def test_what_cannot_gain_is_refused_with_the_reason(
    name: str, refused: dict[str, str], weights: Sequence[Weight]
) -> None:
    assert refusals(name, weights) == refused


def test_ethos_u_takes_what_is_stored_as_int8_however_it_is_read(tmp_path: Path, weights: Sequence[Weight]) -> None:
    assert refusals("ethos-u", weights)["wide"] == "stored as float32, not as int8"
    assert refusals("ethos-u", weights_of(ENCODINGS["dequantized_then_transposed"]().proto, tmp_path)) == {}


@pytest.mark.parametrize(("encoding", "dtype"), [("bfloat16", "bfloat16"), ("dequantized_then_transposed", "int8")])
def test_xnnpack_takes_float32_and_float16_only(tmp_path: Path, encoding: str, dtype: str) -> None:
    found = refusals("xnnpack", weights_of(ENCODINGS[encoding]().proto, tmp_path))
    assert list(found.values()) == [f"stored as {dtype}, not as float32 or float16"]
    assert refusals("xnnpack", weights_of(mixed(np.float16), tmp_path)).keys() == {
        "wide",
        "depthwise",
        "stack",
        "W",
        "R",
    }


def test_every_user_of_a_tied_weight_has_to_be_eligible(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "shared"], ["a"]), node("ConvTranspose", ["a", "shared"], ["y"])]
    proto = model_of(nodes, {"x": [1, 4, 5, 5]}, {"y": [1, 4, 5, 5]}, {"shared": np.ones((4, 4, 1, 1), np.float32)})
    made = weights_of(proto, tmp_path)
    assert refusals("xnnpack", made) == {"shared": "ConvTranspose is none of Conv, Gemm, MatMul"}
    assert refusals("channel", made) == {}


def test_eligible_weights_that_may_gain_nothing_say_why(tmp_path: Path, weights: Sequence[Weight]) -> None:
    doubts = {judgement.weight.name: judgement.doubt for judgement in assess(targets.get("xnnpack"), weights)}
    assert {name for name, doubt in doubts.items() if doubt} == {"mean", "head"}
    large = model_of(
        [node("MatMul", ["x", "narrow"], ["a"]), node("MatMul", ["a", "large"], ["y"])],
        {"x": [1, 260]},
        {"y": [1, 260]},
        {"narrow": np.ones((260, 256), np.float32), "large": np.ones((256, 260), np.float32)},
    )
    narrow, other = assess(targets.get("tensorrt-2to4"), weights_of(large, tmp_path))
    assert narrow.doubt == "260 input and 256 output channels; gains are reported above 256 of each"
    assert other.doubt == "256 input and 260 output channels; gains are reported above 256 of each"
    wide = model_of(
        [node("Conv", ["x", "w"], ["y"])], {"x": [1, 260, 3, 3]}, {"y": None}, {"w": np.ones((257, 260, 3, 3), "f4")}
    )
    [judgement] = assess(targets.get("tensorrt-2to4"), weights_of(wide, tmp_path))
    assert (judgement.refusal, judgement.doubt) == (None, None)


def test_a_model_is_looked_up_by_its_file_in_graph_order(tmp_path: Path) -> None:
    found = look_up(targets.get("channel"), load_model(saved(convolutional(), tmp_path / "m.onnx")))
    assert [judgement.weight.name for judgement in found.judgements] == ["first", "depthwise", "up", "head"]
    assert found.eligible == list(found.judgements)
    assert found.model == "m.onnx"


def test_levels_of_the_table_are_those_of_its_sources() -> None:
    xnnpack = targets.get("xnnpack")
    assert xnnpack.levels is not None and xnnpack.least == pytest.approx(2 / 3)
    assert all(level * 3 > 2 for level in xnnpack.levels)  # num_zeroes * 3 > num_params * 2
    assert (targets.get("tensorrt-2to4").technique_pattern, targets.get("tensorrt-2to4").levels) == ("2:4", (0.5,))
    assert targets.get("openvino-cpu").least == 0.8
    assert targets.get("coreml-ane").least == 0.75


def test_no_target_promises_a_number() -> None:
    for name in targets.names():
        assert "x faster" not in targets.get(name).line and " times faster" not in targets.get(name).line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"technique_pattern": "2:5:1"}, "unknown pattern '2:5:1'"),
        ({"levels": (0.5, 1.0)}, r"target 'xnnpack' has the sparsity 1.0; give one in \(0, 1\)"),
        ({"least": 0.0}, "target 'xnnpack' has the sparsity 0.0"),
    ],
)
def test_a_target_that_makes_no_sense_cannot_be_made(change: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(targets.get("xnnpack"), **change)
