"""Stored tensors with the same numbers are one weight: found once, pruned once, written wherever they are stored."""

from collections.abc import Callable, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from networks import model_of, normal, saved, tied_embedding, with_external_data
from onnx import TensorProto, helper, numpy_helper
from stored_ways import conditional, with_function

from onnxsens.model import Inventory, Model, dense_matrix, load_model, stored_values, take_inventory, write_model
from onnxsens.model.features import input_sources
from onnxsens.model.working import write_working_copy

RNG = np.random.default_rng(0)
W = normal(RNG, 12, 20)
T = np.ascontiguousarray(W.T)
X = normal(np.random.default_rng(1), 5, 12)
node = helper.make_node


def opened(proto: onnx.ModelProto, folder: Path) -> tuple[Model, Inventory]:
    model = load_model(saved(proto, folder / "m.onnx"))
    return model, take_inventory(model)


def model(nodes: list[onnx.NodeProto], **weights: np.ndarray) -> onnx.ModelProto:
    """From `x`, 12 wide, to `y`."""
    return model_of(nodes, {"x": ["N", 12]}, {"y": None}, weights)


def there_and_back(w: np.ndarray, t: np.ndarray, last: str = "MatMul", **attributes: int) -> onnx.ModelProto:
    """`tanh(x w) t`."""
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Tanh", ["a"], ["b"]), node(last, ["b", "t"], ["y"], **attributes)]
    return model(nodes, w=w, t=t)


def in_types(kind: type) -> onnx.ModelProto:
    """Stored in another type, and cast."""
    nodes = [node("Cast", [name], [f"{name}.f"], to=TensorProto.FLOAT) for name in ("w", "t")]
    nodes += [node("MatMul", ["x", "w.f"], ["a"]), node("MatMul", ["a", "t.f"], ["y"])]
    return model(nodes, w=W.astype(kind), t=T.astype(kind))


def quantized(second: float = 0.03, zero: int = 3) -> onnx.ModelProto:
    """Integers behind a DequantizeLinear each."""
    steps = np.clip(np.rint(W / 0.03) + 3, -128, 127).astype(np.int8)
    nodes = [node("DequantizeLinear", [name, f"{name}.s", f"{name}.z"], [f"{name}.f"]) for name in ("w", "t")]
    nodes += [node("MatMul", ["x", "w.f"], ["a"]), node("MatMul", ["a", "t.f"], ["y"])]
    scales = {"w.s": np.float32(0.03), "t.s": np.float32(second), "w.z": np.int8(3), "t.z": np.int8(zero)}
    return model(nodes, w=steps, t=steps.T.copy(), **{name: np.asarray(value) for name, value in scales.items()})


def quantized_by_channel(other: int = 1) -> onnx.ModelProto:
    """The scales of the copy lie along its other axis; its operator sees it transposed again."""
    steps = np.clip(np.rint(W / 0.03), -128, 127).astype(np.int8)
    scales = np.linspace(0.01, 0.04, 20, dtype=np.float32)
    nodes = [
        node("DequantizeLinear", ["w", "s", "z"], ["w.f"], axis=1),
        node("DequantizeLinear", ["t", "s2", "z"], ["t.f"], axis=0),
        node("MatMul", ["x", "w.f"], ["a"]),
        node("Gemm", ["x", "t.f"], ["b"], transB=1),
        node("Add", ["a", "b"], ["y"]),
    ]
    zeros = np.zeros(20, np.int8)
    return model(nodes, w=steps, t=steps.T.copy(), s=scales, s2=scales * np.float32(other), z=zeros)


def kernels() -> onnx.ModelProto:
    w = normal(RNG, 8, 3, 2, 2)
    nodes = [
        node("Reshape", ["x", "shape"], ["i"]),
        node("Conv", ["i", "w"], ["a"], pads=[0, 0, 1, 1]),
        node("Conv", ["a", "t"], ["y"], pads=[0, 0, 1, 1]),
    ]
    return model(nodes, w=w, t=np.ascontiguousarray(w.transpose(1, 0, 2, 3)), shape=np.array([-1, 3, 2, 2], np.int64))


def constants() -> onnx.ModelProto:
    """Both as values of Constant nodes, the second one in between."""
    proto = there_and_back(W, T)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for number, name in enumerate(("w", "t")):
        proto.graph.node.insert(2 * number, node("Constant", [], [name], value=tensors[name]))
    del proto.graph.initializer[:]
    return proto


def beside_a_branch(proto: onnx.ModelProto) -> onnx.ModelProto:
    """With the weight of the branch once more, transposed, for another output."""
    proto.graph.initializer.append(numpy_helper.from_array(HIGH, "beside"))
    proto.graph.node.append(node("Gemm", ["x", "beside"], ["also"], transB=1))
    proto.graph.output.append(onnx.ValueInfoProto(name="also"))
    return proto


HIGH = normal(np.random.default_rng(2), 24, 6)
LOW = np.ascontiguousarray(HIGH.T)  # for a branch, whose input is 6 wide

TIED: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "transposed for a MatMul": lambda: there_and_back(W, T),
    "transposed for a Gemm": lambda: there_and_back(W, T, "Gemm"),
    "equal": lambda: there_and_back(W, W, "Gemm", transB=1),
    "symmetric": lambda: there_and_back(*[W @ W.T + (W @ W.T).T] * 2),
    "float16": lambda: in_types(np.float16),
    "bfloat16": lambda: in_types(ml_dtypes.bfloat16),
    "float64": lambda: in_types(np.float64),
    "quantized": quantized,
    "quantized by channel": quantized_by_channel,
    "axes of a kernel": kernels,
    "Constants": constants,
}


@pytest.fixture(params=TIED)
def proto(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return TIED[request.param]()


def plain(path: Path, x: np.ndarray, **options: Path) -> list[np.ndarray]:
    settings = onnxruntime.SessionOptions()
    if options:
        folder = str(options["folder"])
        settings.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def values_of(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    tensors |= {each.output[0]: each.attribute[0].t for each in proto.graph.node if each.op_type == "Constant"}
    return {name: numpy_helper.to_array(tensor) for name, tensor in tensors.items()}


def halved(model: Model, inventory: Inventory, name: str) -> dict[str, np.ndarray]:
    weight = inventory.weight(name)
    matrix = dense_matrix(model, weight)
    kept = np.random.default_rng(5).random(matrix.shape) < 0.5
    return {name: stored_values(model, weight, np.where(kept, matrix, np.float32(0)))}


def test_two_stored_tensors_with_the_same_numbers_are_one_weight_counted_once(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    _, inventory = opened(proto, tmp_path)
    [weight] = inventory.weights
    assert weight.name == "w" and len(weight.consumers) == 2
    assert [(copy.name, copy.of) for copy in inventory.copies] == [("t", "w")]
    assert inventory.planned_parameters == weight.size
    assert inventory.parameters == sum(array.size for array in values_of(proto).values())


def test_the_inventory_says_of_which_weight_a_tensor_is_a_copy(tmp_path: Path) -> None:
    _, inventory = opened(tied_embedding(), tmp_path)
    assert [weight.name for weight in inventory.weights] == ["table", "mid"]
    assert [consumer.operator for consumer in inventory.weight("table").consumers] == ["Gather", "MatMul"]
    row = next(row for row in inventory.skipped if row.name == "onnx::MatMul_9")
    assert (row.reason, row.parameters) == ("a transposed copy of 'table', which is written with it", 640)
    assert inventory.notes == ("'onnx::MatMul_9' is a transposed copy of 'table'; they are pruned as one weight",)


def test_what_runs_says_what_the_file_says_to_the_bit_before_and_after_a_change(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    model, inventory = opened(proto, tmp_path)
    (tmp_path / "work").mkdir()
    copy = write_working_copy(model, inventory, tmp_path / "work")
    assert set(copy.names) == {"w"}
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(plain(copy.path, rows)[0], plain(model.path, rows)[0])
    changed = inventory.with_copies(halved(model, inventory, "w"))
    write_model(model, changed, tmp_path / "pruned.onnx")
    pruned = load_model(tmp_path / "pruned.onnx")
    again = take_inventory(pruned)
    assert again.copies == inventory.copies
    (tmp_path / "again").mkdir()
    other = write_working_copy(pruned, again, tmp_path / "again")
    np.testing.assert_array_equal(plain(other.path, X)[0], plain(pruned.path, X)[0])
    assert not np.array_equal(plain(pruned.path, X)[0], plain(model.path, X)[0])


def test_a_copy_is_written_with_the_values_of_its_weight_and_nothing_else_changes(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    model, inventory = opened(proto, tmp_path)
    changed = inventory.with_copies(halved(model, inventory, "w"))
    write_model(model, changed, tmp_path / "pruned.onnx")
    before, after = values_of(proto), values_of(onnx.load(str(tmp_path / "pruned.onnx")))
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == {"w", "t"} == set(changed)
    assert {name: array.dtype for name, array in before.items()} == {name: a.dtype for name, a in after.items()}
    order = inventory.copies[0].order
    assert after["w"].transpose(order).tobytes() == after["t"].tobytes()
    assert inventory.without_copies(changed).keys() == {"w"}


def test_external_data_is_compared_and_written_as_well(tmp_path: Path) -> None:
    path = with_external_data(there_and_back(W, T), tmp_path / "m.onnx")
    model = load_model(path)
    inventory = take_inventory(model)
    changed = inventory.with_copies(halved(model, inventory, "w"))
    (tmp_path / "work").mkdir()
    copy = write_working_copy(model, inventory, tmp_path / "work")
    assert copy.data_folder is not None
    np.testing.assert_array_equal(plain(copy.path, X, folder=copy.data_folder)[0], plain(path, X)[0])
    write_model(model, changed, tmp_path / "pruned.onnx")
    after = load_model(tmp_path / "pruned.onnx")
    np.testing.assert_array_equal(after.array("w").T, after.array("t"))


@pytest.mark.parametrize("first", ["beside", "w"])
def test_a_copy_that_a_branch_reads_runs_as_in_the_file(first: str, tmp_path: Path) -> None:
    proto = beside_a_branch(conditional([], w=LOW))
    if first == "beside":
        proto.graph.initializer.reverse()
    made, inventory = opened(proto, tmp_path)
    [copy] = inventory.copies
    assert {copy.of, copy.name} == {"beside", "w"} and copy.of == first
    (tmp_path / "work").mkdir()
    working = write_working_copy(made, inventory, tmp_path / "work")
    for one, other in zip(plain(working.path, X[:, :6]), plain(made.path, X[:, :6]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_equal_copy_that_a_branch_reads_is_not_taken_for_a_tensor_of_the_branch(tmp_path: Path) -> None:
    """The branch has an initializer that is called as the weight outside."""
    own = numpy_helper.from_array(LOW[::-1].copy(), "first")
    proto = conditional([node("MatMul", ["x", "first"], ["other"])], [own], w=LOW)
    proto.graph.initializer.insert(0, numpy_helper.from_array(LOW, "first"))
    proto.graph.node.insert(0, node("MatMul", ["x", "first"], ["z"]))
    _, inventory = opened(proto, tmp_path)
    assert [(copy.name, copy.of, copy.transposed) for copy in inventory.copies] == [("w", "first", False)]
    assert {"first", "y/then_branch/first"} <= {weight.name for weight in inventory.weights}
    assert len(inventory.weight("first").consumers) == 2
    assert len(inventory.weight("y/then_branch/first").consumers) == 1


def test_many_copies_are_copies_of_the_first(tmp_path: Path) -> None:
    nodes = [
        node("Gemm", ["x", name], [f"{name}.y"], transB=turned)
        for name, turned in zip("abcd", (0, 1, 0, 1), strict=True)
    ]
    nodes += [node("Sum", ["a.y", "b.y", "c.y", "d.y"], ["y"])]
    _, inventory = opened(model(nodes, a=W, b=T, c=W, d=T), tmp_path)
    assert [(copy.name, copy.of, copy.order) for copy in inventory.copies] == [
        ("b", "a", (1, 0)),
        ("c", "a", (0, 1)),
        ("d", "a", (1, 0)),
    ]
    assert inventory.notes == (
        "3 stored tensors are copies of others ('b' is a transposed copy of 'a'); each is pruned as one weight with "
        "its copies",
    )


def test_layers_with_equal_values_are_one_weight_whose_inputs_are_those_of_both(tmp_path: Path) -> None:
    square = normal(RNG, 12, 12)
    made, inventory = opened(there_and_back(square, square), tmp_path)
    sources = input_sources(made, inventory)["w"]
    assert not isinstance(sources, str) and len(sources) == 2


def also_an_input(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.input.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, T.shape))
    return proto


def also_an_output(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.output.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, T.shape))
    return proto


def one_bit_off() -> onnx.ModelProto:
    other = T.copy()
    other.view(np.uint32)[7, 3] ^= 1
    return there_and_back(W, other)


def in_a_body() -> onnx.ModelProto:
    return beside_a_branch(conditional([], [numpy_helper.from_array(LOW, "w")]))


def in_a_function() -> onnx.ModelProto:
    held = node("Constant", [], ["w"], value=numpy_helper.from_array(LOW))
    return beside_a_branch(with_function([held, node("MatMul", ["a", "w"], ["b"])], ["x"]))


def as_sparse() -> onnx.ModelProto:
    proto = there_and_back(W, T)
    tensor = proto.graph.initializer.pop()
    values = numpy_helper.from_array(numpy_helper.to_array(tensor).reshape(-1), tensor.name)
    indices = numpy_helper.from_array(np.arange(T.size), "t.indices")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, list(T.shape)))
    return proto


def seen_in_other_parts() -> onnx.ModelProto:
    """Of one the parts are 8 inputs each, of the other 2 and 6 outputs: together no matrix."""
    w = normal(RNG, 12, 8)
    nodes = [
        *(node("Split", ["w", "six"], ["w0", "w1"], axis=0), node("Split", ["v", "few"], ["v0", "v1"], axis=1)),
        node("Split", ["x", "six"], ["x0", "x1"], axis=1),
        *(node("MatMul", ["x0", "w0"], ["a0"]), node("MatMul", ["x1", "w1"], ["a1"])),
        *(node("MatMul", ["x", "v0"], ["b0"]), node("MatMul", ["x", "v1"], ["b1"])),
        node("Concat", ["a0", "a1", "b0", "b1"], ["y"], axis=1),
    ]
    return model(nodes, w=w, v=w, six=np.array([6, 6], np.int64), few=np.array([2, 6], np.int64))


APART: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "all elements equal": lambda: there_and_back(np.ones_like(W), np.ones_like(T)),
    "fewer than 16 values": lambda: there_and_back(np.round(W), np.round(W).T),
    "fewer than 64 elements": lambda: there_and_back(W[:, :5], W[:, :5].T),
    "one bit off": one_bit_off,
    "zeros of other signs": lambda: there_and_back(np.where(W > 1, 0, W), np.where(W > 1, np.float32(-0.0), W).T),
    "in other places": lambda: there_and_back(W, np.ascontiguousarray(T[::-1])),
    "another type": lambda: there_and_back(W, T.astype(np.float16)),
    "another scale": lambda: quantized(second=0.02),
    "another zero point": lambda: quantized(zero=4),
    "other scales by channel": lambda: quantized_by_channel(other=2),
    "an input": lambda: also_an_input(there_and_back(W, T)),
    "an output": lambda: also_an_output(there_and_back(W, T)),
    "in a body": in_a_body,
    "in a function": in_a_function,
    "sparse": as_sparse,
    "in other parts": seen_in_other_parts,
}


@pytest.mark.parametrize("case", APART)
def test_what_may_be_equal_by_chance_or_is_not_the_same_stays_a_weight_of_its_own(case: str, tmp_path: Path) -> None:
    _, inventory = opened(APART[case](), tmp_path)
    assert inventory.copies == () and not inventory.notes
    assert len([weight for weight in inventory.weights if weight.name != "nothing"]) == 2


def test_a_tensor_that_is_no_weight_is_no_copy_of_one(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("MatMul", ["a", "s"], ["b"]), node("Add", ["s", "b"], ["y"])]
    proto = model([*nodes, node("Sqrt", ["v"], ["z"])], w=W, s=normal(RNG, 20, 20), v=W)
    _, inventory = opened(proto, tmp_path)
    assert inventory.copies == ()
    assert {row.name: row.reason for row in inventory.skipped}["v"].startswith("not the weight of a supported operator")


def test_weights_that_a_plan_has_apart_stay_apart(tmp_path: Path) -> None:
    path = saved(there_and_back(W, T), tmp_path / "m.onnx")
    inventory = take_inventory(load_model(path), apart=["w", "t"])
    assert [weight.name for weight in inventory.weights] == ["w", "t"] and not inventory.copies
    assert take_inventory(load_model(path), apart=["w"]).copies


def test_the_shipped_models_have_no_copies(models: Path) -> None:
    for path in sorted(models.glob("*.onnx")):
        assert take_inventory(load_model(path)).copies == ()
