"""Models that are odd, damaged or made to take long: an account of their tensors, or one line."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from damaging import cases
from networks import convolutional, model_of, saved, with_external_data
from onnx import helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import Inventory, load_model, take_inventory

W = np.ones((4, 8), np.float32)
node = helper.make_node


def model(nodes: Sequence[onnx.NodeProto], **weights: Any) -> onnx.ModelProto:
    """`x [N, 4]` to `y [N, 8]`, with the weight `w [4, 8]` and others."""
    return model_of(nodes, {"x": ["N", 4]}, {"y": ["N", 8]}, {"w": W} | weights)


def product(*more: onnx.NodeProto, **fields: Any) -> onnx.ModelProto:
    """`y = x @ w`, more nodes behind it, and fields of the file changed."""
    made = model([node("MatMul", ["x", "w"], ["y"]), *more])
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def without_opset() -> onnx.ModelProto:
    made = product()
    del made.opset_import[:]
    return made


def of_opset(version: int) -> onnx.ModelProto:
    made = product()
    made.opset_import[0].version = version
    return made


def with_output(name: str) -> onnx.ModelProto:
    made = product()
    made.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return made


def in_a_body() -> onnx.ModelProto:
    """Both branches write a name of the outer graph."""
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    body = helper.make_graph([node("MatMul", ["x", "w"], ["y"])], "b", [], [result])
    return model([node("If", ["c"], ["y"], then_branch=body, else_branch=body)])


def raw(**names: bytes) -> bytes:
    """A model whose names are no texts."""
    content = product(node("Relu", ["NAME"], ["OTHR"], name="NODE")).SerializeToString()
    for name, other in names.items():
        assert len(other) == 4
        content = content.replace(name.encode(), other)
    return content


# How many weights each has for us, before onnxruntime has its say.
ODD: dict[str, tuple[Callable[[], onnx.ModelProto | bytes], int]] = {
    "a cycle": (lambda: model([node("MatMul", ["b", "w"], ["y"]), node("Add", ["x", "y"], ["b"])]), 1),
    "a node that reads itself": (lambda: product(node("Add", ["x", "z"], ["z"])), 1),
    "an input from nowhere": (lambda: model([node("MatMul", ["gone", "w"], ["y"])]), 1),
    "an output written twice": (lambda: product(node("MatMul", ["x", "w"], ["y"])), 1),
    "an output from nowhere": (lambda: with_output("gone"), 1),
    "a weight that is an output": (lambda: with_output("w"), 1),
    "an output twice": (lambda: with_output("y"), 1),
    "names of a body that are taken": (in_a_body, 1),
    "no opset": (without_opset, 1),
    "an opset of the future": (lambda: of_opset(99), 1),
    "a negative opset": (lambda: of_opset(-5), 1),
    "a negative IR version": (lambda: product(ir_version=-1), 1),
    "operators without inputs": (lambda: product(node("Sum", [], ["z"]), node("Conv", ["x"], ["u"])), 1),
    "an operator without outputs": (lambda: product(node("MatMul", ["x", "w"], [])), 1),
    "an operator without a name": (lambda: model([node("", ["x", "w"], ["y"])]), 0),
    "attributes of other types": (lambda: model([node("Conv", ["x", "w"], ["y"], group="a", dilations=3.5)]), 0),
    "no groups": (lambda: model([node("Conv", ["x", "w"], ["y"], group=0)]), 0),
    "fewer groups than none": (lambda: model([node("Conv", ["x", "w"], ["y"], group=-(2**62))]), 0),
    "a recurrence of nonsense": (
        lambda: model([node("LSTM", ["x", "w", "w"], ["y"], hidden_size=-3, direction="sideways")]),
        0,
    ),
    "an axis that is not there": (lambda: model([node("Gather", ["w", "x"], ["y"], axis=99)]), 0),
    "an axis twice": (
        lambda: model([node("Transpose", ["w"], ["t"], perm=[5, 5]), node("MatMul", ["x", "t"], ["y"])]),
        0,
    ),
    "a shape of nonsense": (
        lambda: model(
            [node("Reshape", ["w", "s"], ["t"]), node("MatMul", ["x", "t"], ["y"])], s=np.array([2**62, -1, -1])
        ),
        0,
    ),
    "a scale that is the weight": (
        lambda: model([node("DequantizeLinear", ["w", "w", "w"], ["t"], axis=-77), node("MatMul", ["x", "t"], ["y"])]),
        0,
    ),
    "a weight of no elements": (lambda: model([node("MatMul", ["x", "v"], ["y"])], v=np.zeros((4, 0), np.float32)), 0),
    "a weight of no axes": (lambda: model([node("MatMul", ["x", "v"], ["y"])], v=np.float32(3)), 0),
    "a weight of one axis too many": (
        lambda: model([node("Gemm", ["x", "v"], ["y"], transB=7)], v=np.zeros((4, 2, 2), np.float32)),
        0,
    ),
    "a name of 5 MB": (lambda: product(node("Relu", ["y"], ["n" * 5_000_000])), 1),
    "names that are code": (
        lambda: product(
            node("Relu", ["y"], ["a\x1b[31m\n\0"], name="</script>"), node("Relu", ["y"], ["\u202e../../x"])
        ),
        1,
    ),
    "names that are no texts": (
        lambda: raw(NAME=b"\xff\xfe\0\n", OTHR=b"\xed\xa0\x80\x80", NODE=b"\xc0\xaf\xc0\xae"),
        1,
    ),
    "50,000 nodes in a row, the last first": (
        lambda: model(
            [node("Relu", [f"r{n - 1}" if n else "y"], [f"r{n}"]) for n in reversed(range(50_000))]
            + [node("MatMul", ["x", "w"], ["y"])]
        ),
        1,
    ),
    "50,000 nodes of one name": (
        lambda: product(*[node("Relu", ["y"], [f"r{n}"], name="same") for n in range(50_000)]),
        1,
    ),
    "one weight for 20,000": (lambda: product(*[node("MatMul", ["x", "w"], [f"z{n}"]) for n in range(20_000)]), 1),
    "5,000 equal weights": (
        lambda: model(
            [node("MatMul", ["x", f"v{n}"], [f"z{n}"]) for n in range(5000)], **{f"v{n}": W for n in range(5000)}
        ),
        5000,
    ),
}


def account(path: Path) -> Inventory:
    """Of a model, all of whose tensors can be read; and the account has each of them."""
    opened = load_model(path)
    found = take_inventory(opened)
    for name in opened.stored:
        opened.array(name)
    total = sum(int(np.prod(stored.shape)) for stored in opened.stored.values())
    assert sum(weight.size for weight in found.weights) + sum(row.parameters for row in found.skipped) == total
    return found


@pytest.mark.parametrize("case", ODD)
def test_an_odd_model_has_its_account(tmp_path: Path, case: str) -> None:
    make, weights = ODD[case]
    made = make()
    path = tmp_path / "m.onnx"
    path.write_bytes(made if isinstance(made, bytes) else made.SerializeToString())
    started = time.process_time()
    found = account(path)
    assert len(found.weights) == weights
    assert all(note.isprintable() and len(note) < 1000 for note in found.notes)
    assert time.process_time() - started < 60  # a second or two; a square of the nodes would be hours


@pytest.mark.parametrize("external", [False, True], ids=["one file", "with external data"])
def test_damage_is_one_line_or_another_model(tmp_path: Path, external: bool) -> None:
    made = convolutional()
    made.graph.initializer.append(numpy_helper.from_array(np.ones(400, np.float32), "large"))
    path = with_external_data(made, tmp_path / "m.onnx") if external else saved(made, tmp_path / "m.onnx")
    account(path)
    refused = 0
    for case in cases(path.read_bytes(), seed=17, number=1500):
        path.write_bytes(case)
        try:
            account(path)
        except ModelError as error:
            assert str(error).isprintable()
            assert len(str(error)) < len(str(path)) + 600
            refused += 1
    assert refused > 500


@pytest.mark.parametrize("given", ["raw", "typed", "nothing"])
def test_a_tensor_that_claims_far_more_than_it_holds_is_refused_before_it_is_followed(
    tmp_path: Path, given: str
) -> None:
    proto = convolutional()
    tensor = proto.graph.initializer[0]
    values = {"raw_data": bytes(40)} if given == "raw" else {"float_data": [0.0] * 10} if given == "typed" else {}
    claimed = onnx.TensorProto(name=tensor.name, dims=[10, 2**31], data_type=tensor.data_type, **values)
    tensor.CopyFrom(claimed)
    with pytest.raises(ModelError, match=r"of shape \[10, 2147483648\] takes .* and holds"):
        load_model(saved(proto, tmp_path / "m.onnx"))
