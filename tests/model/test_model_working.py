"""The engine's copy takes other values for a weight wherever it is stored, and says what a saved model says."""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import convolutional, model_of, normal, saved, with_external_data
from onnx import TensorProto, helper, numpy_helper
from stored_ways import ENCODINGS, IN, WEIGHT, Encoding, product

from onnxsens.model import Inventory, Model, dense_matrix, load_model, stored_values, take_inventory, write_model
from onnxsens.model.naming import write_named_copy
from onnxsens.model.working import WorkingCopy, trivial_model, write_working_copy

X = normal(np.random.default_rng(3), 5, IN)


def session_of(model: Model, copy: WorkingCopy, changes: Mapping[str, np.ndarray]) -> onnxruntime.InferenceSession:
    """As the engine makes one."""
    options = onnxruntime.SessionOptions()
    if copy.data_folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(copy.data_folder))
    given = {name: model.array(name) for name in copy.inline} | dict(changes)
    values = [
        onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), TensorProto.BFLOAT16)
        if array.dtype == ml_dtypes.bfloat16
        else onnxruntime.OrtValue.ortvalue_from_numpy(array)
        for array in map(np.array, given.values())
    ]
    options.add_external_initializers([copy.names[name] for name in given], values)
    session = onnxruntime.InferenceSession(str(copy.path), options, providers=["CPUExecutionProvider"])
    session.kept = values
    return session


def plain(path: Path, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, dict(feed))


def opened(path: Path, folder: Path) -> tuple[Model, Inventory, WorkingCopy]:
    model = load_model(path)
    inventory = take_inventory(model)
    folder.mkdir()
    return model, inventory, write_working_copy(model, inventory, folder)


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    return ENCODINGS[request.param]()


def test_a_copy_says_what_the_file_says_before_and_after_a_change(encoding: Encoding, tmp_path: Path) -> None:
    path = saved(encoding.proto, tmp_path / "m.onnx")
    model, inventory, copy = opened(path, tmp_path / "work")
    assert set(copy.names) == {weight.name for weight in inventory.weights}
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": X})[0], plain(path, {"x": X})[0])
    for name in encoding.names:
        weight = inventory.weight(name)
        matrix = dense_matrix(model, weight)
        matrix = np.where(np.random.default_rng(5).random(matrix.shape) < 0.5, matrix, np.float32(0))
        changes = {name: stored_values(model, weight, matrix)}
        write_model(model, changes, tmp_path / "changed.onnx")
        by_file = plain(tmp_path / "changed.onnx", {"x": X})[0]
        by_copy = session_of(model, copy, changes).run(None, {"x": X})[0]
        np.testing.assert_array_equal(by_copy, by_file)
        assert not np.array_equal(by_copy, plain(path, {"x": X})[0])


def test_external_data_is_used_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    path = with_external_data(convolutional(), tmp_path / "theirs" / "m.onnx")
    model, inventory, copy = opened(path, tmp_path / "work")
    assert [file.name for file in (tmp_path / "work").iterdir()] == ["model.onnx"]
    assert copy.data_folder == (tmp_path / "theirs").resolve()
    x = normal(np.random.default_rng(0), 3, 2, 8, 8)
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": x})[0], plain(path, {"x": x})[0])
    weight = inventory.weight("up")
    changes = {"up": stored_values(model, weight, np.zeros_like(dense_matrix(model, weight)))}
    write_model(model, changes, tmp_path / "changed.onnx")
    np.testing.assert_array_equal(
        session_of(model, copy, changes).run(None, {"x": x})[0], plain(tmp_path / "changed.onnx", {"x": x})[0]
    )


def test_inline_weights_beside_external_ones_are_given_to_each_session(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save_model(convolutional(), str(path), save_as_external_data=True, location="m.bin", size_threshold=200)
    model, inventory, copy = opened(path, tmp_path / "work")
    assert copy.inline
    assert copy.inline < {weight.name for weight in inventory.weights}
    x = normal(np.random.default_rng(0), 3, 2, 8, 8)
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": x})[0], plain(path, {"x": x})[0])


def test_a_stored_input_is_a_constant_unless_the_samples_give_it(tmp_path: Path) -> None:
    proto = product(helper.make_node("Mul", ["s", "factor"], ["w"]), s=WEIGHT, factor=np.array(2, np.float32))
    proto.graph.node.append(helper.make_node("MatMul", ["x", "s"], ["unscaled"]))
    proto.graph.output.add().name = "unscaled"
    proto.graph.input.append(helper.make_tensor_value_info("factor", TensorProto.FLOAT, []))
    model, inventory, copy = opened(saved(proto, tmp_path / "m.onnx"), tmp_path / "work")
    assert [value.name for value in session_of(model, copy, {}).get_inputs()] == ["x"]
    (tmp_path / "fed").mkdir()
    fed = write_working_copy(model, inventory, tmp_path / "fed", fed=["factor"])
    given = {"x": X, "factor": np.array(3, np.float32)}
    scaled, unscaled = session_of(model, fed, {}).run(["y", "unscaled"], given)
    np.testing.assert_allclose(scaled, 3 * unscaled, rtol=1e-6)


def test_a_newer_ir_is_lowered_on_request(tmp_path: Path) -> None:
    proto = product(w=WEIGHT)
    proto.ir_version = 99
    model = load_model(saved(proto, tmp_path / "m.onnx"))
    copy = write_working_copy(model, take_inventory(model), tmp_path, ir_version=10)
    assert onnx.load(str(copy.path)).ir_version == 10
    assert model.proto.ir_version == 99


def test_large_tensors_that_are_no_weights_come_along_from_anywhere(tmp_path: Path) -> None:
    table = normal(np.random.default_rng(0), 40, IN)
    branch = helper.make_graph(
        [
            helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(table)),
            helper.make_node("ReduceSum", ["k", "axis"], ["sum"], keepdims=1),
            helper.make_node("Add", ["x", "sum"], ["t"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.array([0], np.int64), "axis")],
    )
    other = helper.make_graph(
        [helper.make_node("Add", ["x", "big"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.resize(table, (1, IN)), "big")],
    )
    nodes = [
        helper.make_node("If", ["c"], ["a"], then_branch=branch, else_branch=other),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    proto = model_of(nodes, {"x": ["N", IN]}, {"y": None}, {"w": WEIGHT})
    proto.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    path = saved(proto, tmp_path / "m.onnx")
    model, _, copy = opened(path, tmp_path / "work")
    for condition in (True, False):
        feed = {"x": X, "c": np.array(condition)}
        np.testing.assert_array_equal(session_of(model, copy, {}).run(None, feed)[0], plain(path, feed)[0])


def test_consumers_get_names_that_can_be_found(encoding: Encoding, tmp_path: Path) -> None:
    model = load_model(saved(encoding.proto, tmp_path / "m.onnx"))
    inventory = take_inventory(model)
    copy, tokens = write_named_copy(model, inventory, tmp_path)
    text = copy.path.read_bytes()
    for weight in inventory.weights:
        for consumer in weight.consumers:
            assert tokens[consumer.site].encode() in text
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": X})[0], plain(model.path, {"x": X})[0])


def test_an_old_file_whose_unread_initializer_is_an_input_runs(tmp_path: Path) -> None:
    proto = product(w=WEIGHT, unread=WEIGHT)
    proto.ir_version = 3
    for name in ("w", "unread"):
        proto.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, WEIGHT.shape))
    path = saved(proto, tmp_path / "m.onnx")
    model, _, copy = opened(path, tmp_path / "work")
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": X})[0], plain(path, {"x": X})[0])


@pytest.mark.parametrize("external", [False, True])
def test_large_constants_of_a_function_that_is_not_inlined_come_along(external: bool, tmp_path: Path) -> None:
    table = numpy_helper.from_array(normal(np.random.default_rng(0), 100, IN))
    inside = [
        helper.make_node("Constant", [], ["table"], value=table),
        helper.make_node("ReduceMean", ["table"], ["mean"], axes=[0]),
        helper.make_node("Add", ["a", "mean"], ["b"]),
    ]
    proto = product(helper.make_node("Shift", ["x"], ["z"], domain="own"), w=WEIGHT)
    proto.graph.node[-1].input[0] = "z"
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.functions.append(helper.make_function("own", "Shift", ["a"], ["b"], inside, [helper.make_opsetid("", 16)]))
    path = with_external_data(proto, tmp_path / "m.onnx") if external else saved(proto, tmp_path / "m.onnx")
    model, inventory, copy = opened(path, tmp_path / "work")
    assert any("another opset" in note for note in inventory.notes)
    np.testing.assert_array_equal(session_of(model, copy, {}).run(None, {"x": X})[0], plain(path, {"x": X})[0])


def test_large_tensors_of_other_operators_come_along(tmp_path: Path) -> None:
    fill = numpy_helper.from_array(np.array([0.5], np.float32))
    inside = product(
        helper.make_node("ConstantOfShape", ["shape"], ["z"], value=fill), w=WEIGHT, shape=np.array([1, IN])
    )
    inside.graph.node[-1].input[0] = "x"
    held = inside.graph.node[0].attribute.add(name="unused", type=onnx.AttributeProto.TENSOR)
    held.t.CopyFrom(numpy_helper.from_array(normal(np.random.default_rng(0), 20, 20)))
    copy = opened(saved(inside, tmp_path / "m.onnx"), tmp_path / "work")[2]
    written = onnx.load(str(copy.path), load_external_data=False)
    np.testing.assert_array_equal(
        numpy_helper.to_array(written.graph.node[0].attribute[1].t), numpy_helper.to_array(held.t)
    )


def test_a_body_may_use_a_name_that_is_used_outside_too(tmp_path: Path) -> None:
    inside = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(2 * WEIGHT, "w")],
    )
    proto = with_branch(inside, helper.make_node("MatMul", ["x", "w"], ["outside"]), w=WEIGHT)
    proto.graph.output.add().name = "outside"
    check_a_change_of_all(saved(proto, tmp_path / "m.onnx"), tmp_path / "work")


def test_names_like_ours_and_a_constant_that_is_given_twice(tmp_path: Path) -> None:
    proto = product(helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(WEIGHT)))
    other = numpy_helper.from_array(WEIGHT, "onnxsens/0")
    proto.graph.initializer.append(other)
    proto.graph.node.append(helper.make_node("MatMul", ["x", "onnxsens/0"], ["z"]))
    for name in ("z", "w", "w"):
        proto.graph.output.add().name = name
    check_a_change_of_all(saved(proto, tmp_path / "m.onnx"), tmp_path / "work")


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    proto = product(LONG=WEIGHT)
    proto.graph.node[0].input[1] = "LONG"
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString().replace(b"LONG", b"w\xff\xfe\xfd"))
    model, inventory, copy = opened(path, tmp_path / "work")
    [weight] = inventory.weights
    zeros = stored_values(model, weight, np.zeros_like(dense_matrix(model, weight)))
    assert not session_of(model, copy, {weight.name: zeros}).run(None, {"x": X})[0].any()
    assert session_of(model, copy, {}).run(None, {"x": X})[0].any()


def test_the_trivial_model_is_valid() -> None:
    onnx.checker.check_model(onnx.load_from_string(trivial_model()))


def with_branch(inside: onnx.GraphProto, *before: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """`y` is what the branch makes, where the condition is not known beforehand and holds."""
    other = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["e"])],
        "else",
        [],
        [helper.make_tensor_value_info("e", TensorProto.FLOAT, None)],
    )
    nodes = [
        *before,
        helper.make_node("ReduceSumSquare", ["x"], ["squares"], keepdims=0),
        helper.make_node("GreaterOrEqual", ["squares", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], then_branch=inside, else_branch=other),
    ]
    return model_of(nodes, {"x": ["N", IN]}, {"y": None}, {"zero": np.array(0, np.float32), **weights})


def check_a_change_of_all(path: Path, folder: Path) -> None:
    model, inventory, copy = opened(path, folder)
    changes = {}
    for weight in inventory.weights:
        matrix = dense_matrix(model, weight)
        kept = np.random.default_rng(5).random(matrix.shape) < 0.5
        changes[weight.name] = stored_values(model, weight, np.where(kept, matrix, np.float32(0)))
    write_model(model, changes, folder / "changed.onnx")
    by_copy = session_of(model, copy, changes).run(None, {"x": X})[0]
    np.testing.assert_array_equal(by_copy, plain(folder / "changed.onnx", {"x": X})[0])


def test_a_weight_in_a_body_is_lifted_where_one_in_a_constant_is_too(tmp_path: Path) -> None:
    inside = helper.make_graph(
        [helper.make_node("MatMul", ["h", "w"], ["t"])],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    square = normal(np.random.default_rng(1), IN, IN)
    constant = helper.make_node("Constant", [], ["v"], value=numpy_helper.from_array(square))
    proto = with_branch(inside, constant, helper.make_node("MatMul", ["x", "v"], ["h"]))
    check_a_change_of_all(saved(proto, tmp_path / "m.onnx"), tmp_path / "work")


def test_integers_in_a_body_are_found_by_the_optimiser(tmp_path: Path) -> None:
    integers = np.random.default_rng(1).integers(-9, 10, (IN, 4)).astype(np.int8)
    inside = helper.make_graph(
        [
            helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"]),
            helper.make_node("MatMul", ["x", "d"], ["t"]),
        ],
        "then",
        [],
        [helper.make_tensor_value_info("t", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(integers, "w"),
            numpy_helper.from_array(np.array(0.5, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.int8), "zero"),
        ],
    )
    check_a_change_of_all(saved(with_branch(inside), tmp_path / "m.onnx"), tmp_path / "work")
