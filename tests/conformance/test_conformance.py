"""A small sweep as the command runs it, and whether its judges would notice."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.conformance.cases import Case
from tests.conformance.counting import stored_elements
from tests.conformance.oracle import judge
from tests.conformance.pool import Pool
from tests.conformance.summary import markdown, text

ROOT = Path(__file__).parent.parent.parent
WEIGHT = np.array([[4.0, -1.0, 0.5], [-3.0, 2.0, -0.25]], np.float32)
HALF = np.array([[4.0, 0.0, 0.0], [-3.0, 2.0, 0.0]], np.float32)
STEPS = np.array([[9, 5, 7], [5, 1, 6]], np.uint8)  # 5 stands for zero


def matmul(path: Path, weight: np.ndarray, bias: float = 1.0) -> Path:
    """`x @ w + b`."""
    nodes = [helper.make_node("MatMul", ["x", "layer/w"], ["a"]), helper.make_node("Add", ["a", "b"], ["y"])]
    stored = {"layer/w": weight, "b": np.array([bias], np.float32)}
    return saved(path, nodes, stored)


def quantized(path: Path, weight: np.ndarray) -> Path:
    """The same behind a DequantizeLinear with scales along axis 1."""
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["d"], axis=1),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    scales = {"scale": np.array([1.0, 2.0, 0.1], np.float32), "zero": np.full(3, 5, np.uint8)}
    return saved(path, nodes, {"w": weight, **scales})


def saved(path: Path, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray]) -> Path:
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "made",
        [info("x", onnx.TensorProto.FLOAT, ["N", 2])],
        [info("y", onnx.TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_small_sweep_ends_without_trouble_and_says_where_each_model_stopped(tmp_path: Path) -> None:
    arguments = [
        *("--source", "nodes", "--operator", "Gemm", "--source", "data", "--limit-s", "60"),
        *("--only", "test_gemm", "--only", "converted/test_Conv2d_group", "--only", "converted/test_Conv1d_stride"),
        *("--json", tmp_path / "rows.json"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.conformance", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["key"]: row for row in json.loads((tmp_path / "rows.json").read_text())["rows"]}
    assert len(rows) == 14
    assert all(row["inspected"] == "ok" and row["weights"] for row in rows.values())
    assert all(row["matches"] for row in rows.values() if row["runs"] == "ok")
    through = {key for key, row in rows.items() if row.get("oracle") == "ok"}
    assert through == rows.keys()


def test_the_oracle_is_content_with_the_smallest_magnitudes_zeroed(tmp_path: Path) -> None:
    original, written = matmul(tmp_path / "a.onnx", WEIGHT), matmul(tmp_path / "b.onnx", HALF)
    assert judge(original, written, {"layer/w": 3}, tmp_path / "o.onnx") == []
    assert (tmp_path / "o.onnx").read_bytes() == written.read_bytes()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (np.array([[0.0, -1.0, 0.0], [-3.0, 2.0, 0.0]], np.float32), "lost a magnitude of 4 and kept one of 1"),
        (np.array([[4.0, 0.0, 0.5], [-3.0, 2.0, 0.0]], np.float32), "has 2 zeros, and its plan says 3"),
        (np.array([[4.0, 0.0, -0.0], [-3.0, 2.0, 0.0]], np.float32), "another bit pattern than +0"),
        (np.array([[4.5, 0.0, 0.0], [-3.0, 2.0, 0.0]], np.float32), "1 elements that changed to something else"),
    ],
)
def test_the_oracle_notices_a_wrong_weight(tmp_path: Path, wrong: np.ndarray, complaint: str) -> None:
    original, written = matmul(tmp_path / "a.onnx", WEIGHT), matmul(tmp_path / "b.onnx", wrong)
    (found,) = judge(original, written, {"layer/w": 3}, tmp_path / "o.onnx")
    assert complaint in found


def test_the_oracle_notices_a_change_elsewhere(tmp_path: Path) -> None:
    original, written = matmul(tmp_path / "a.onnx", WEIGHT), matmul(tmp_path / "b.onnx", HALF, bias=2.0)
    assert judge(original, written, {"layer/w": 3}, tmp_path / "o.onnx") == [
        "something besides the planned weights was changed"
    ]


def test_in_a_quantized_weight_zero_is_the_zero_point_and_size_is_what_it_stands_for(tmp_path: Path) -> None:
    original = quantized(tmp_path / "a.onnx", STEPS)  # stands for 4, 0, 0.2 and 0, -8, 0.1
    good = quantized(tmp_path / "b.onnx", np.array([[9, 5, 5], [5, 1, 5]], np.uint8))
    bad = quantized(tmp_path / "c.onnx", np.array([[5, 5, 7], [5, 1, 5]], np.uint8))
    assert judge(original, good, {"w": 4}, tmp_path / "o.onnx") == []
    assert "lost a magnitude of 4 and kept one of 0.2" in judge(original, bad, {"w": 4}, tmp_path / "o.onnx")[0]


def test_what_a_file_stores_is_counted_wherever_it_is(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(3, np.float32)))
    body = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["r"])],
        "body",
        [],
        [helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [2, 2])],
        [numpy_helper.from_array(np.ones((2, 2), np.float32), "w")],
    )
    choice = helper.make_node("If", ["p"], ["y"], then_branch=body, else_branch=body)
    path = saved(tmp_path / "m.onnx", [constant, choice], {"p": np.array(True)})
    assert stored_elements(path) == {"initializers": 9, "sparse initializers": 0, "attributes": 3}


def test_a_model_that_takes_too_long_costs_itself_only(tmp_path: Path) -> None:
    path = matmul(tmp_path / "m.onnx", WEIGHT)
    cases = [Case("made", name, str(path), weighty=True) for name in ("one", "other")]
    rows = Pool(tmp_path, 1, 0.0, lambda row: None).run(cases)
    assert [row["key"] for row in rows] == ["made/one", "made/other"]
    assert all("no end after 0 s" in row["lost"] for row in rows)


def test_reports_name_each_reason_once_with_its_models() -> None:
    rows = [
        {"key": f"s/{name}", "source": "s", "name": name, "trouble": [], "inspected": "ok", "weights": 1, "runs": "ok"}
        | {"scanned": f"'{name}' has no output"}
        for name in ("a", "b")
    ]
    assert "not scanned (2): '...' has no output\n    s/a\n    s/b" in text(rows, [], 1.0)
    assert "| scanned | 2 | '...' has no output | `a`, `b` |" in markdown(rows, [])
