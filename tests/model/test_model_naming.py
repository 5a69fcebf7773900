"""The copy that executions are counted on: named, without idle nodes, and the same function of its inputs."""

from pathlib import Path

import numpy as np
import onnx
from networks import IR_VERSION, OPSET, convolutional, oracle, saved, with_idle_branch
from onnx import TensorProto, helper

from onnxsens.model import load_model, take_inventory
from onnxsens.model.naming import drop_idle_nodes, write_named_copy


def test_every_consumer_has_its_token_and_no_other_node_a_name(tmp_path: Path) -> None:
    proto = convolutional()
    for position, node in enumerate(proto.graph.node):
        node.name = f"onnxsens#{6 - position}"  # as if to mislead
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    (tmp_path / "copy").mkdir()
    copy, tokens = write_named_copy(model, inventory, tmp_path / "copy")
    path = copy.path
    names = {node.output[0]: node.name for node in onnx.load(str(path)).graph.node}
    sites = {consumer.node: consumer.site for weight in inventory.weights for consumer in weight.consumers}
    assert sites == {f"onnxsens#{number}": f"onnxsens#{number}" for number in (6, 4, 2, 0)} or set(tokens) == set(
        sites.values()
    )
    assert [name for name in names.values() if "onnxsens" in name] == list(tokens.values())
    assert len(set(tokens.values())) == 4
    x = {"x": np.random.default_rng(0).standard_normal((2, 2, 8, 8), dtype=np.float32)}
    np.testing.assert_array_equal(oracle(path, {}, x)[0], oracle(tmp_path / "m.onnx", {}, x)[0])


def left(graph: onnx.GraphProto) -> list[str]:
    drop_idle_nodes(graph)
    return [node.output[0] for node in graph.node]


def test_nodes_that_no_output_depends_on_are_left_out_in_any_order() -> None:
    assert left(with_idle_branch().graph) == ["logits"]


def info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])


def relu(source: str, result: str) -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [result])


def test_what_a_body_takes_from_outside_is_needed_unless_the_body_needs_it_not() -> None:
    body = helper.make_graph([relu("used", "out"), relu("unused", "idle")], "body", [], [info("out")])
    graph = helper.make_graph(
        [
            relu("x", "used"),
            relu("x", "unused"),
            helper.make_node("If", ["flag"], ["y", ""], then_branch=body, else_branch=body),
            helper.make_node("If", ["flag"], ["z"], then_branch=body, else_branch=body),
        ],
        "made",
        [info("x"), helper.make_tensor_value_info("flag", TensorProto.BOOL, [])],
        [info("y")],
    )
    assert left(graph) == ["used", "y"]
    assert [[node.output[0] for node in attribute.g.node] for attribute in graph.node[1].attribute] == [["out"]] * 2


def test_one_output_of_several_is_enough_and_a_given_one_needs_no_node() -> None:
    split = helper.make_node("Split", ["x"], ["a", "b"], axis=0)
    graph = helper.make_graph([split, relu("a", "c")], "made", [info("x")], [info("b"), info("x")])
    assert left(graph) == ["a"]
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    assert [output.name for output in made.graph.output] == ["b", "x"]
