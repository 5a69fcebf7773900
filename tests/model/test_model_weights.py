"""What is prunable, and the account of all the rest."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, model_of, normal, saved, tied
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import load_model, take_inventory

EXPECTED = {
    "fashion_cnn.onnx": (13, 103_984),
    "jv_gru.onnx": (6, 65_472),
    "jv_gru1.onnx": (3, 15_168),
    "jv_gru1_loop.onnx": (1, 576),
    "jv_lstm.onnx": (6, 85_056),
    "jv_transformer.onnx": (14, 56_304),
}


def stored_parameters(path: Path) -> int:
    """Every stored element, counted by another road: serialise each tensor on its own."""
    proto = onnx.load(str(path))
    total = sum(numpy_helper.to_array(tensor).size for tensor in proto.graph.initializer)
    for node in proto.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                values = numpy_helper.to_array(attribute.t)
                total += values.size if values.ndim >= 2 and values.dtype.kind == "f" else 0
            total += sum(numpy_helper.to_array(tensor).size for tensor in attribute.g.initializer)
    return total


@pytest.mark.parametrize("name", EXPECTED)
def test_planned_and_skipped_are_all_parameters_of_the_file(models: Path, name: str) -> None:
    inventory = take_inventory(load_model(models / name))
    assert (len(inventory.weights), inventory.planned_parameters) == EXPECTED[name]
    assert inventory.parameters == stored_parameters(models / name)
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
    def test_a_table_that_is_only_looked_up(self, tmp_path: Path) -> None:
        proto = convolutional()
        table = numpy_helper.from_array(np.ones((7, 3), np.float32), "table")
        proto.graph.initializer.append(table)
        index = numpy_helper.from_array(np.array([1], np.int64), "index")
        proto.graph.initializer.append(index)
        proto.graph.node.append(helper.make_node("Gather", ["table", "index"], ["row"]))
        found = reasons(proto, tmp_path)
        assert found["table"] == "not the weight of a supported operator (Gather input 0)"
        assert "(tensors that are not floating point)" in found

    def test_one_that_nothing_reads(self, tmp_path: Path) -> None:
        proto = convolutional()
        proto.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), "lost"))
        assert reasons(proto, tmp_path)["lost"] == "no node reads it"

    def test_other_element_types(self, tmp_path: Path) -> None:
        proto = convolutional()
        half = numpy_helper.from_array(np.ones((3, 5), np.float16), "half")
        proto.graph.initializer.append(half)
        proto.graph.node.append(helper.make_node("MatMul", ["half_input", "half"], ["half_output"]))
        assert reasons(proto, tmp_path)["half"] == "element type float16 is not read yet"

    def test_bfloat16_is_seen_as_floating_point(self, tmp_path: Path) -> None:
        proto = convolutional()
        tensor = helper.make_tensor("brain", TensorProto.BFLOAT16, [2, 3], np.ones(6).tolist())
        proto.graph.initializer.append(tensor)
        proto.graph.node.append(helper.make_node("MatMul", ["b_input", "brain"], ["b_output"]))
        assert reasons(proto, tmp_path)["brain"] == "element type bfloat16 is not read yet"

    def test_values_that_are_not_finite(self, tmp_path: Path) -> None:
        proto = convolutional()
        weight = next(tensor for tensor in proto.graph.initializer if tensor.name == "head")
        values = numpy_helper.to_array(weight).copy()
        values[0, :2] = [np.nan, np.inf]
        weight.CopyFrom(numpy_helper.from_array(values, "head"))
        assert reasons(proto, tmp_path)["head"] == "2 of its values are NaN or infinite"

    def test_what_a_loop_body_uses(self, models: Path) -> None:
        inventory = take_inventory(load_model(models / "jv_gru1_loop.onnx"))
        found = {row.name: row.reason for row in inventory.skipped}
        assert "inside the body of Loop" in found["hh.weight"]

    def test_a_constant_node(self, tmp_path: Path) -> None:
        proto = convolutional()
        value = numpy_helper.from_array(np.ones((2, 3), np.float32))
        proto.graph.node.append(helper.make_node("Constant", [], ["held"], value=value))
        assert reasons(proto, tmp_path)["held"] == "value of a Constant node, which is not read yet"


def test_a_model_with_nothing_to_prune_is_refused(tmp_path: Path) -> None:
    proto = model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3]}, {"y": ["N", 3]}, {})
    with pytest.raises(ModelError, match="has nothing to prune"):
        take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))


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
