"""Two files of a model that differ in the values of some tensors: whether in nothing else."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import ModelError
from onnxsens.model import load_model, write_model
from onnxsens.model.comparing import values_differ, what_else_differs


def small(*, external: Path | None = None, path: Path) -> Path:
    """Two weights, one in raw bytes and one in a typed field, a bias, a Constant, texts."""
    rng = np.random.default_rng(0)
    first = numpy_helper.from_array(rng.standard_normal((4, 6)).astype(np.float32), "first")
    second = helper.make_tensor("second", TensorProto.FLOAT, [6, 2], rng.standard_normal(12).tolist())
    bias = numpy_helper.from_array(np.arange(2, dtype=np.float32), "bias")
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"], name="one", doc_string="a text"),
        helper.make_node("MatMul", ["h", "second"], ["g"]),
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2, np.float32))),
        helper.make_node("Add", ["g", "bias"], ["b"]),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 2))]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], [first, second, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"key": "value"})
    if external is None:
        onnx.save(model, str(path))
    else:
        onnx.save(
            model, str(path), save_as_external_data=True, location=external.name, size_threshold=0,
            convert_attribute=False,
        )  # fmt: skip
    return path


def pruned(dense: Path, path: Path) -> Path:
    model = load_model(dense)
    changed = {name: np.where(np.abs(model.array(name)) < 0.5, np.float32(0), model.array(name)) for name in WEIGHTS}
    write_model(model, changed, path)
    return path


WEIGHTS = ("first", "second")


@pytest.fixture(params=["inside", "outside"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "out").mkdir()
    external = tmp_path / "dense.data" if request.param == "outside" else None
    dense = small(path=tmp_path / "dense.onnx", external=external)
    return dense, pruned(dense, tmp_path / "out" / "pruned.onnx")


def differs(dense: Path, other: Path, *names: str) -> str:
    return what_else_differs(load_model(dense), load_model(other), names)


def test_what_we_write_differs_in_the_changed_tensors_alone(pair: tuple[Path, Path]) -> None:
    assert differs(*pair, *WEIGHTS) == ""
    assert differs(pair[0], pair[0]) == ""


def test_a_tensor_that_was_not_to_change_is_named(pair: tuple[Path, Path]) -> None:
    assert differs(*pair, "first") == "tensor 'second' has other values"
    assert "'first'" in differs(*pair, "second")


def test_no_byte_of_the_file_can_be_another(tmp_path: Path) -> None:
    """Every single byte, two ways; where only planned values are hit, these are what differs."""
    dense = small(path=tmp_path / "dense.onnx")
    right = pruned(dense, tmp_path / "right.onnx")
    expected = {name: load_model(right).array(name).copy() for name in WEIGHTS}
    content, model = right.read_bytes(), load_model(dense)
    unseen = []
    for place in range(len(content)):
        for bits in (0x01, 0x80):
            (tmp_path / "wrong.onnx").write_bytes(
                content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]
            )
            try:
                other = load_model(tmp_path / "wrong.onnx")
                found = what_else_differs(model, other, WEIGHTS) or any(
                    values_differ(expected[name], other.array(name)) for name in WEIGHTS
                )
            except ModelError:
                found = True
            if not found:
                unseen.append((place, bits))
    assert unseen == []


def test_no_byte_of_external_data_can_be_another(tmp_path: Path) -> None:
    dense = small(path=tmp_path / "dense.onnx", external=tmp_path / "dense.data")
    right = pruned(dense, tmp_path / "right.onnx")
    (data,) = tmp_path.glob("right-*.data")
    expected = {name: load_model(right).array(name).copy() for name in WEIGHTS}
    content, model = data.read_bytes(), load_model(dense)
    used = [
        (entry["offset"], entry["offset"] + entry["length"])
        for tensor in onnx.load(str(right), load_external_data=False).graph.initializer
        for entry in [{each.key: int(each.value) for each in tensor.external_data if each.key != "location"}]
        if entry
    ]
    for place in range(len(content)):
        if not any(start <= place < stop for start, stop in used):
            continue  # room between tensors, which nobody reads
        data.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        other = load_model(right)
        assert what_else_differs(model, other, WEIGHTS) or any(
            values_differ(expected[name], other.array(name)) for name in WEIGHTS
        ), place


def test_a_node_more_and_a_tensor_more_are_seen(pair: tuple[Path, Path]) -> None:
    proto = onnx.load(str(pair[1]), load_external_data=False)
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "new"))
    onnx.save(proto, str(pair[1]))
    assert differs(*pair, *WEIGHTS) == "something besides the values of tensors is not as in the model"


def test_values_are_compared_by_their_bits() -> None:
    one = np.array([[0.0, np.nan]], np.float32)
    assert not values_differ(one, one.copy())
    assert values_differ(one, -one) and values_differ(one, one.T) and values_differ(one, one.astype(np.float64))
