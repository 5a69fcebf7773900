"""`targets`: where zeros pay, and in which weights of a model."""

from pathlib import Path

import pytest
from commands import document, onnxsens
from networks import convolutional, model_of, saved
from onnx import helper

from onnxsens.targets import targets


def test_the_table_has_every_target_and_below_it_the_truth_with_its_source() -> None:
    shown = onnxsens("targets", COLUMNS="300").stdout
    lines = shown.splitlines()
    rows = {line.split()[0]: line for line in lines[2 : lines.index("")]}
    assert list(rows) == targets.names()
    assert rows["xnnpack"].split("  ")[0] == "xnnpack"
    assert [cell.strip() for cell in rows["xnnpack"].split("  ") if cell.strip()] == [
        "xnnpack",
        "any",
        "Conv, Gemm, MatMul",
        "float32, float16",
        "70, 80, 90 %",
        "maybe",
    ]
    assert "from 75 %" in rows["coreml-ane"]
    for name in targets.names():
        target = targets.get(name)
        start = lines.index(f"{name}: {target.line}")
        assert lines[start + 1] == f"source: {'; '.join(target.sources)}"


def test_it_fits_a_narrow_terminal() -> None:
    assert max(map(len, onnxsens("targets", COLUMNS="80").stdout.splitlines())) <= 80


def test_the_document_has_all_that_is_said() -> None:
    made = {target["name"]: target for target in document("targets")["targets"]}
    assert list(made) == targets.names()
    nvidia = targets.get("tensorrt-2to4")
    assert made["tensorrt-2to4"] == {
        "name": "tensorrt-2to4",
        "title": nvidia.title,
        "pattern": "2:4",
        "operators": ["Conv", "Gemm", "MatMul"],
        "dtypes": None,
        "levels": [0.5],
        "least": None,
        "cost": "macs",
        "speedup": "maybe",
        "line": nvidia.line,
        "sources": list(nvidia.sources),
    }


def test_one_target_is_shown_alone(models: Path) -> None:
    shown = onnxsens("targets", "coreml-ane").stdout
    assert "sparsity: from 75 %" in shown and "faster: maybe" in shown and "xnnpack" not in shown
    assert document("targets", "coreml-ane")["target"]["least"] == 0.75


def test_with_a_model_every_weight_is_eligible_or_says_why_not(tmp_path: Path) -> None:
    model = saved(convolutional(), tmp_path / "m.onnx")
    shown = onnxsens("targets", "tensorrt-2to4", model, COLUMNS="200").stdout
    rows = {line.split()[0]: line for line in shown.splitlines() if "float32" in line}
    assert list(rows) == ["first", "depthwise", "up", "head"]
    assert rows["first"].rstrip().endswith("no: its 2 input channels do not divide by 4")
    assert rows["up"].rstrip().endswith("no: ConvTranspose is none of Conv, Gemm, MatMul")
    assert "0 of 4 weights are eligible, with 0 of 186 parameters" in shown
    made = document("targets", "xnnpack", model)
    assert made["model"] == {"file": "m.onnx"}
    assert made["target"]["name"] == "xnnpack"
    assert made["weights"][-1] == {
        "name": "head",
        "op": "Gemm",
        "shape": [5, 6],
        "dtype": "float32",
        "parameters": 30,
        "eligible": True,
        "reason": None,
        "doubt": "only newer versions have sparse fully connected layers",
    }
    shown = onnxsens("targets", "xnnpack", model, COLUMNS="200").stdout
    assert "yes, but only newer versions" in shown
    assert "1 of 4 weights are eligible, with 30 of 186 parameters" in shown


def test_a_model_without_weights_has_none_that_are_eligible(tmp_path: Path) -> None:
    path = saved(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": [3]}, {"y": [3]}, {}), tmp_path / "m.onnx")
    assert "0 of 0 weights are eligible" in onnxsens("targets", "size-only", path).stdout
    assert document("targets", "size-only", path)["weights"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["xnpack"], 2, "unknown target 'xnpack'; did you mean 'xnnpack'? there are: channel,"),
        (["xnnpack", "missing.onnx"], 3, "missing.onnx"),
    ],
)
def test_what_is_not_there_ends_in_one_line(arguments: list[str], code: int, message: str) -> None:
    done = onnxsens("targets", *arguments)
    assert done.returncode == code
    assert message in done.stderr and done.stderr.count("\n") == 1
