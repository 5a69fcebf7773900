"""The graph in order: functions inlined, nodes sorted, names unique."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import convolutional, model_of, normal, saved
from onnx import TensorProto, helper

from onnxsens.errors import ModelError
from onnxsens.model import load_model, take_inventory
from onnxsens.model.normal import normal_form


def weighted(nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    return model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 4]}, {"w": normal(np.random.default_rng(0), 4, 4)})


def test_an_orderly_file_stays_as_it_is_but_for_names(tmp_path: Path) -> None:
    model = load_model(saved(convolutional(), tmp_path / "m.onnx"))
    form = normal_form(model)
    assert form.notes == ()
    assert [node.op_type for node in form.proto.graph.node] == [node.op_type for node in model.proto.graph.node]
    assert len({node.name for node in form.proto.graph.node}) == len(form.proto.graph.node)
    assert not any(node.name for node in model.proto.graph.node)


def test_nodes_are_sorted_with_as_little_moving_as_possible(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Tanh", ["b"], ["y"], name="last"),
        helper.make_node("Relu", ["x"], ["a"], name="first"),
        helper.make_node("MatMul", ["a", "w"], ["b"], name="second"),
    ]
    form = normal_form(load_model(saved(weighted(nodes), tmp_path / "m.onnx")))
    assert [node.name for node in form.proto.graph.node] == ["first", "second", "last"]
    assert form.notes == ("the file's nodes are not in order; they are sorted in the working copy",)


def test_a_node_waits_for_what_its_body_takes_from_outside(tmp_path: Path) -> None:
    def branch(name: str, source: str) -> onnx.GraphProto:
        return helper.make_graph(
            [helper.make_node("Identity", [source], [name])],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None)],
        )

    nodes = [
        helper.make_node("If", ["c"], ["y"], then_branch=branch("t", "late"), else_branch=branch("e", "x"), name="if"),
        helper.make_node("MatMul", ["x", "w"], ["late"], name="late"),
    ]
    proto = weighted(nodes)
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    form = normal_form(load_model(saved(proto, tmp_path / "m.onnx")))
    assert [node.name for node in form.proto.graph.node] == ["late", "if"]


def test_nodes_that_share_a_name_get_names_of_their_own(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="n"),
        helper.make_node("Relu", ["a"], ["b"], name="n#1"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="n"),
    ]
    form = normal_form(load_model(saved(weighted(nodes), tmp_path / "m.onnx")))
    assert [node.name for node in form.proto.graph.node] == ["n", "n#1", "n#2"]
    assert "2 nodes share their name" in form.notes[0]


def calling(body: list[onnx.NodeProto], name: str = "Block") -> onnx.FunctionProto:
    return helper.make_function(
        "own", name, ["a"], ["b"], body, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def test_functions_are_inlined_at_every_call(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Block", ["x"], ["m"], domain="own"),
        helper.make_node("Block", ["m"], ["n"], domain="own"),
        helper.make_node("MatMul", ["n", "w"], ["y"]),
    ]
    proto = weighted(nodes)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(calling([helper.make_node("Relu", ["a"], ["c"]), helper.make_node("Tanh", ["c"], ["b"])]))
    form = normal_form(load_model(saved(proto, tmp_path / "m.onnx")))
    assert [node.op_type for node in form.proto.graph.node] == ["Relu", "Tanh", "Relu", "Tanh", "MatMul"]


def test_functions_that_grow_without_bound_are_refused(tmp_path: Path) -> None:
    proto = weighted(
        [helper.make_node("F30", ["x"], ["n"], domain="own"), helper.make_node("MatMul", ["n", "w"], ["y"])]
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(calling([helper.make_node("Relu", ["a"], ["b"])], "F0"))
    for number in range(1, 31):
        twice = [
            helper.make_node(f"F{number - 1}", ["a"], ["c"], domain="own"),
            helper.make_node(f"F{number - 1}", ["c"], ["b"], domain="own"),
        ]
        proto.functions.append(calling(twice, f"F{number}"))
    with pytest.raises(ModelError, match="more than 2,000,000 nodes"):
        normal_form(load_model(saved(proto, tmp_path / "m.onnx")))


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (calling([helper.make_node("Block", ["a"], ["b"], domain="own")]), "must not be recursive"),
        (
            helper.make_function(
                "own", "Block", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 16)]
            ),
            "is of another opset than the model",
        ),
    ],
    ids=["recursive", "another opset"],
)
def test_what_cannot_be_inlined_stays_and_says_why(function: onnx.FunctionProto, reason: str, tmp_path: Path) -> None:
    nodes = [helper.make_node("Block", ["x"], ["n"], domain="own"), helper.make_node("MatMul", ["n", "w"], ["y"])]
    proto = weighted(nodes)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(function)
    inventory = take_inventory(load_model(saved(proto, tmp_path / "m.onnx")))
    assert any(reason in note for note in inventory.notes)
    assert [weight.name for weight in inventory.weights] == ["w"]
