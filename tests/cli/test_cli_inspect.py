"""`inspect`: everything in the file, in any order, on a narrow terminal."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import document, onnxsens
from networks import convolutional, model_of, saved, tied
from onnx import helper, numpy_helper
from stored_ways import ENCODINGS


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Convolutions; `up` is half zero, and a table is looked up only."""
    proto = convolutional()
    up = next(tensor for tensor in proto.graph.initializer if tensor.name == "up")
    values = numpy_helper.to_array(up).copy()
    values[:2] = 0
    up.CopyFrom(numpy_helper.from_array(values, "up"))
    proto.graph.initializer.extend(
        [numpy_helper.from_array(np.ones((9, 2), np.float32), "a_table"), numpy_helper.from_array(np.array([1]), "row")]
    )
    proto.graph.node.append(helper.make_node("Gather", ["a_table", "row"], ["looked_up"]))
    proto.graph.node.append(helper.make_node("Relu", ["looked_up"], ["positive"]))
    return saved(proto, tmp_path / "m.onnx")


def names(model: Path, sort: str, title: str) -> list[str]:
    lines = onnxsens("inspect", model, "--sort", sort, COLUMNS="200").stdout.splitlines()
    start = lines.index(title) + 2
    return [line.split("  ")[0] for line in lines[start : lines.index("", start)]]


@pytest.mark.parametrize(
    ("sort", "weights", "skipped"),
    [
        # macs of one sample: first 72 * 64, depthwise 36 * 64, up 48 * 64, head 30
        ("graph", ["first", "depthwise", "up", "head"], None),
        ("name", ["depthwise", "first", "head", "up"], ["(1-D and scalar tensors)", "(tensors", "a_table"]),
        ("size", ["first", "up", "depthwise", "head"], ["a_table", "(1-D and scalar tensors)", "(tensors"]),
        ("macs", ["first", "up", "depthwise", "head"], None),
        ("sparsity", ["up", "first", "depthwise", "head"], None),
    ],
)
def test_rows_are_in_the_order_that_was_asked_for(
    model: Path, sort: str, weights: list[str], skipped: list[str] | None
) -> None:
    assert names(model, sort, "weights that can be pruned") == weights
    rows = names(model, sort, "left alone")
    in_order = skipped or [row["name"] for row in document("inspect", model)["skipped"]]
    assert [row.startswith(start) for row, start in zip(rows, in_order, strict=True)] == [True] * 3


def test_the_document_has_all_of_it(model: Path) -> None:
    made = document("inspect", model)
    weights = {weight["name"]: weight for weight in made["weights"]}
    assert weights["up"] == {
        "name": "up",
        "op": "ConvTranspose",
        "shape": [4, 3, 2, 2],
        "dtype": "float32",
        "encoding": "initializer",
        "place": "",
        "parameters": 48,
        "zeros": 24,
        "sparsity": 0.5,
        "macs": 48 * 64,
        "consumers": [{"op": "ConvTranspose", "node": "e", "input": 1}],
        "readers": [],
    }
    assert made["planned_parameters"] + made["skipped_parameters"] == made["parameters"]
    assert made["skipped_parameters"] == sum(row["parameters"] for row in made["skipped"])


def test_a_shared_weight_says_by_whom(tmp_path: Path) -> None:
    proto = tied()
    proto.graph.node.append(helper.make_node("Add", ["a", "shared"], ["more"]))
    shown = onnxsens("inspect", saved(proto, tmp_path / "m.onnx")).stdout
    [row] = [line for line in shown.splitlines() if line.startswith("shared")]
    assert "MatMul x2; read by Add input 1" in row


def test_the_account_is_the_line_below_the_tables(model: Path) -> None:
    shown = onnxsens("inspect", model).stdout
    assert "186 parameters can be pruned + 28 left alone = 214 in the file" in shown


def test_it_fits_a_narrow_terminal_and_names_stay_readable_and_harmless(model: Path, tmp_path: Path) -> None:
    proto = onnx.load(str(model))
    long = "encoder.layers.0." * 5 + "weight\x1b[2J\n"
    for tensor in proto.graph.initializer:
        tensor.name = long if tensor.name == "first" else tensor.name
    proto.graph.node[0].input[1] = long
    shown = onnxsens("inspect", saved(proto, tmp_path / "n.onnx"), COLUMNS="80").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "\x1b" not in shown
    joined = "".join(line.split("  ")[0].strip() for line in shown.splitlines())
    assert "encoder.layers.0." * 5 + "weight\\x1b[2J\\n" in joined


def test_a_model_with_nothing_to_prune_is_listed_all_the_same(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = saved(model_of([node], {"x": ["N", 3]}, {"y": ["N", 3]}, {"b": np.ones(3, np.float32)}), tmp_path / "m.onnx")
    shown = onnxsens("inspect", path).stdout
    assert "0 parameters can be pruned + 3 left alone = 3 in the file" in shown
    assert document("inspect", path)["weights"] == []


def test_weights_inside_bodies_and_behind_other_operators_say_where_they_are(tmp_path: Path) -> None:
    weights = {}
    for name in ("constant_in_a_branch", "dequantized_then_transposed", "reordered"):
        made = document("inspect", saved(ENCODINGS[name]().proto, tmp_path / "m.onnx"), "--dim", "N=1")
        weights |= {weight["name"] + name: weight for weight in made["weights"]}
    inside = weights["y/then_branch/wconstant_in_a_branch"]
    assert (inside["encoding"], inside["place"]) == ("Constant", "body of If 'y'")
    assert weights["sdequantized_then_transposed"]["dtype"] == "int8"
    assert weights["sdequantized_then_transposed"]["encoding"] == "initializer -> DequantizeLinear -> Transpose"
    assert weights["sreordered"]["encoding"] == "initializer -> Slice -> Concat"
    shown = onnxsens("inspect", tmp_path / "m.onnx", COLUMNS="200").stdout
    assert "float32, initializer -> Slice -> Concat" in shown
