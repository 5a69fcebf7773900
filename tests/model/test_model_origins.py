"""What files say of where their tensors came from: metadata and names as exporters leave them, and nonsense."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsens.model import load_model, take_inventory
from onnxsens.model.origins import Hint, Origins, origins, path_of

SIGNATURE = """
# inputs
p_fc_weight: PARAMETER target='fc.weight'
p_fc_bias: PARAMETER target='fc.bias'
b_bn_running_mean: BUFFER target='bn.running_mean' persistent=True
x: USER_INPUT
"""
CALL = (
    "%linear : [num_users=1] = call_function[target=torch.ops.aten.linear.default]"
    "(args = (%x, %p_fc_weight, %p_fc_bias), kwargs = {})"
)


def written(
    folder: Path, call: str = CALL, scopes: str = "['', 'fc', 'linear']", signature: str = SIGNATURE
) -> Origins:
    """Of a MatMul and an Add, as a Linear is exported."""
    rng = np.random.default_rng(0)
    node = helper.make_node("MatMul", ["x", "val_0"], ["y"], name="node_linear")
    for key, value in (("fx_node", call), ("name_scopes", scopes)):
        prop = node.metadata_props.add()
        prop.key, prop.value = f"pkg.torch.onnx.{key}", value
    graph = helper.make_graph(
        [node, helper.make_node("Add", ["y", "fc.bias"], ["z"], name="/fc/Add")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [
            numpy_helper.from_array(rng.standard_normal((6, 4)).astype(np.float32), "val_0"),
            numpy_helper.from_array(np.zeros(4, np.float32), "fc.bias"),
        ],
    )
    prop = graph.metadata_props.add()
    prop.key, prop.value = "pkg.torch.export.ExportedProgram.graph_signature", signature
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    model.producer_name, model.producer_version = "pytorch", "2.13.0"
    onnx.save(model, folder / "m.onnx")
    loaded = load_model(folder / "m.onnx")
    return origins(loaded, take_inventory(loaded))


def test_a_node_says_which_parameters_its_call_read_and_how(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert found.producer == "pytorch 2.13.0"
    assert found.parameters == {"fc.weight", "fc.bias", "bn.running_mean"}
    call = ("", "fc.weight", "fc.bias")
    assert found.of("val_0") == (
        Hint("MatMul", "node_linear", 1, 0, "fc", "aten.linear.default", call, "", turned=True),
    )
    (bias,) = found.of("fc.bias")
    assert (bias.operator, bias.path, bias.parameters) == ("Add", "fc", ())
    assert found.of("nobody") == ()


@pytest.mark.parametrize("scopes", ["", "[", "__import__('os')", "{}", "[1, 2]", "[" * 5000])
def test_scopes_that_are_none_say_nothing(tmp_path: Path, scopes: str) -> None:
    (hint,) = written(tmp_path, scopes=scopes).of("val_0")
    assert hint.path == ""


@pytest.mark.parametrize(("call", "signature"), [("", SIGNATURE), ("%p_fc_weight", ""), ("args = (", "garbage")])
def test_calls_that_are_none_name_no_parameter(tmp_path: Path, call: str, signature: str) -> None:
    (hint,) = written(tmp_path, call=call, signature=signature).of("val_0")
    assert hint.parameters == ()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/enc/layers.0/linear1/MatMul", "enc.layers.0.linear1"),
        ("/res/res.0/conv/Conv", "res.0.conv"),
        ("/res/res.0/res.0.1/Conv", "res.0.1"),
        ("/a/a.0/b/b.1/Conv", "a.0.b.1"),
        ("/MatMul", ""),
        ("Conv_12", ""),
        ("", ""),
    ],
)
def test_the_path_in_a_nodes_name(name: str, path: str) -> None:
    assert path_of(name) == path
