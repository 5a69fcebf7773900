"""What is prunable, and the account of all the rest."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, model_of, normal, saved, tied
from onnx import helper, numpy_helper
from stored_ways import with_function

from onnxsens.errors import ModelError
from onnxsens.model import dense_matrix, load_model, refuse_empty, stored_values, take_inventory

EXPECTED = {
    "fashion_cnn.onnx": (13, 103_984),
    "jv_gru.onnx": (6, 65_472),
    "jv_gru1.onnx": (3, 15_168),
    "jv_gru1_loop.onnx": (3, 15_168),
    "jv_lstm.onnx": (6, 85_056),
    "jv_transformer.onnx": (14, 56_304),
}


def stored_parameters(graph: onnx.GraphProto) -> int:
    """Every stored element, counted by another road: each tensor's values, whatever holds it."""
    total = sum(numpy_helper.to_array(tensor).size for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                total += numpy_helper.to_array(attribute.t).size
            if attribute.HasField("g"):
                total += stored_parameters(attribute.g)
    return total


@pytest.mark.parametrize("name", EXPECTED)
def test_planned_and_skipped_are_all_parameters_of_the_file(models: Path, name: str) -> None:
    inventory = take_inventory(load_model(models / name))
    assert (len(inventory.weights), inventory.planned_parameters) == EXPECTED[name]
    assert inventory.parameters == stored_parameters(onnx.load(str(models / name)).graph)
    assert all(row.reason for row in inventory.skipped)


def test_a_weight_that_two_nodes_share_is_found_and_counted_once(tmp_path: Path) -> None:
    inventory = take_inventory(load_model(saved(tied(), tmp_path / "m.onnx")))
    shared = inventory.weight("shared")
    assert [weight.name for weight in inventory.weights] == ["shared", "head"]
    assert len(shared.consumers) == 2
    assert inventory.planned_parameters == 36 + 18


def test_weights_are_in_graph_order_whatever_the_file_order(tmp_path: Path) -> None:
    proto = convolutional()
    turned = list(reversed(proto.graph.initializer))
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(turned)
    inventory = take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))
    assert [weight.name for weight in inventory.weights] == ["first", "depthwise", "up", "head"]


def reasons(proto: onnx.ModelProto, tmp_path: Path) -> dict[str, str]:
    inventory = take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))
    return {row.name: row.reason for row in inventory.skipped}


class TestWhatIsLeftAloneSaysWhy:
    def test_a_table_whose_rows_are_added(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((7, 5), np.float32), "table"))
        proto.graph.initializer.append(numpy_helper.from_array(np.array([1], np.int64), "index"))
        proto.graph.node.append(helper.make_node("Gather", ["table", "index"], ["row"]))
        proto.graph.node.append(helper.make_node("Add", ["logits", "row"], ["more"]))
        found = reasons(proto, tmp_path)
        assert found["table"] == "not the weight of a supported operator (Add input 1)"
        assert "(tensors that are not floating point)" in found

    def test_bytes_that_an_unknown_operator_reads(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2), np.int8), "bytes"))
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((4, 2), np.uint8), "idle"))
        proto.graph.node.append(helper.make_node("Shape", ["bytes"], ["lengths"]))
        proto.graph.node.append(helper.make_node("Strange", ["bytes"], ["z"], domain="own"))
        found = reasons(proto, tmp_path)
        assert found["bytes"] == "not the weight of a supported operator (own.Strange input 0)"
        assert "idle" not in found

    def test_one_inside_a_function_of_another_opset(self, tmp_path: Path) -> None:
        held = numpy_helper.from_array(np.ones((6, 4), np.float32))
        inside = [helper.make_node("Constant", [], ["w"], value=held), helper.make_node("MatMul", ["a", "w"], ["b"])]
        proto = with_function(inside, ["x"])
        del proto.functions[0].opset_import[:]
        proto.functions[0].opset_import.append(helper.make_opsetid("", 13))
        assert reasons(proto, tmp_path)["own::Block/w"] == "inside a function that could not be inlined"

    def test_one_that_nothing_reads(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), "lost"))
        assert reasons(proto, tmp_path)["lost"] == "no node reads it"

    def test_integers_that_nothing_says_the_meaning_of(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 5), np.int32), "whole"))
        proto.graph.node.append(helper.make_node("MatMul", ["whole_input", "whole"], ["whole_output"]))
        assert "MatMul takes its integers without a scale and zero point" in reasons(proto, tmp_path)["whole"]

    def test_operators_that_do_not_agree_on_what_is_zero(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 5), np.uint8), "bytes"))
        for number in (0, 1):
            scale = numpy_helper.from_array(np.array(0.5, np.float32), f"scale{number}")
            zero = numpy_helper.from_array(np.array(number, np.uint8), f"zero{number}")
            proto.graph.initializer.extend([scale, zero])
            inputs = ["bytes", scale.name, zero.name]
            proto.graph.node.append(helper.make_node("DequantizeLinear", inputs, [f"seen{number}"]))
            proto.graph.node.append(helper.make_node("MatMul", ["z", f"seen{number}"], [f"out{number}"]))
        assert reasons(proto, tmp_path)["bytes"] == "the operators that read it disagree on which value is zero"

    def test_a_tensor_that_is_a_weight_in_part_only(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 6), np.float32), "both"))
        proto.graph.node.append(helper.make_node("Split", ["both"], ["left", "right"], axis=1))
        proto.graph.node.append(helper.make_node("MatMul", ["z", "left"], ["out"]))
        proto.graph.node.append(helper.make_node("Add", ["out", "right"], ["more"]))
        assert reasons(proto, tmp_path)["both"] == "operators multiply by 9 of its 18 elements only"

    def test_a_table_of_counts_is_none(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((3, 5), np.int64), "counts"))
        proto.graph.node.append(helper.make_node("Gather", ["counts", "which"], ["row"]))
        assert "counts" not in reasons(proto, tmp_path)

    def test_a_packed_form(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((5, 1, 8), np.uint8), "packed"))
        proto.graph.initializer.append(numpy_helper.from_array(np.ones(5, np.float32), "scales"))
        inputs = ["z", "packed", "scales"]
        proto.graph.node.append(
            helper.make_node("MatMulNBits", inputs, ["out"], domain="com.microsoft", K=16, N=5, bits=4, block_size=16)
        )
        reason = reasons(proto, tmp_path)["packed"]
        assert reason == "com.microsoft.MatMulNBits keeps it in a packed form, which is not pruned yet"

    def test_values_that_are_not_finite(self, tmp_path: Path) -> None:
        proto = convolutional()
        weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "head")
        values = numpy_helper.to_array(weight).copy()
        values[0, :2] = [np.nan, np.inf]
        weight.CopyFrom(numpy_helper.from_array(values, "head"))
        assert reasons(proto, tmp_path)["head"] == "2 of its values are NaN or infinite"


def parts_with_zero_points(low: int, high: int, scales: tuple[float, float]) -> onnx.ModelProto:
    """`x w`, where each half of the columns has a scale and a zero point of its own."""
    stored = np.arange(24).reshape(6, 4).astype(np.uint8) * 5
    weights = {
        "s": stored,
        "scale_a": np.array(scales[0], np.float32),
        "scale_b": np.array(scales[1], np.float32),
        "zero_a": np.array(low, np.uint8),
        "zero_b": np.array(high, np.uint8),
    }
    nodes = [
        helper.make_node("Split", ["s"], ["a", "b"], axis=1),
        helper.make_node("DequantizeLinear", ["a", "scale_a", "zero_a"], ["da"]),
        helper.make_node("DequantizeLinear", ["b", "scale_b", "zero_b"], ["db"]),
        helper.make_node("Concat", ["da", "db"], ["w"], axis=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 4]}, weights)


def test_parts_of_a_tensor_keep_their_own_scale_and_zero_point(tmp_path: Path) -> None:
    model = load_model(saved(parts_with_zero_points(100, 7, (1e-4, 1.0)), tmp_path / "m.onnx"))
    weight = take_inventory(model).weight("s")
    stored = np.arange(24).reshape(6, 4) * 5.0
    expected = np.concatenate([(stored[:, :2] - 100) * 1e-4, stored[:, 2:] - 7], axis=1)
    np.testing.assert_allclose(dense_matrix(model, weight), expected.T, rtol=1e-6)
    zeroed = stored_values(model, weight, np.zeros((4, 6), np.float32))
    np.testing.assert_array_equal(zeroed, np.repeat([[100, 100, 7, 7]], 6, axis=0))


def test_quantized_weights_that_are_joined_before_they_are_undone_are_no_floats(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {
        "a": normal(rng, 6, 2),
        "b": normal(rng, 6, 2),
        "scale": np.array(0.1, np.float32),
        "zero": np.array(100, np.uint8),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["qa"]),
        helper.make_node("QuantizeLinear", ["b", "scale", "zero"], ["qb"]),
        helper.make_node("Concat", ["qa", "qb"], ["q"], axis=1),
        helper.make_node("Cast", ["q"], ["w"], to=1),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    proto = model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 4]}, weights)
    assert take_inventory(load_model(saved(proto, tmp_path / "m.onnx"))).weights == ()


def test_a_model_with_nothing_to_prune_is_refused_where_something_is_to_be_pruned(tmp_path: Path) -> None:
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, {})
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    assert inventory.weights == ()
    with pytest.raises(ModelError, match="has nothing to prune"):
        refuse_empty(model, inventory)


def test_an_impossible_group_count_is_no_weight(tmp_path: Path) -> None:
    proto = convolutional()
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "ConvTranspose" and attribute.name == "group":
                attribute.i = 0
    assert reasons(proto, tmp_path)["up"] == "not the weight of a supported operator (ConvTranspose input 1)"


def test_an_unsuitable_rank_is_no_weight(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("MatMul", ["x", "v"], ["a"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 3]}, {"v": normal(rng, 4), "w": normal(rng, 4, 3)})
    inventory = take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))
    assert [weight.name for weight in inventory.weights] == ["w"]
    assert inventory.parameters == 16
