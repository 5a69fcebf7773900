"""What the command line says of inputs, custom operators, and models that the runtime is too old for."""

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import onnxsens, rewrite_run
from networks import model_of, normal, saved
from onnx import helper

Done = subprocess.CompletedProcess[str]


def refused(done: Done, code: int, fragment: str) -> None:
    """One line, the right exit code, no traceback."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert fragment in lines[0]


def averaged(shape: list[Any]) -> onnx.ModelProto:
    """[N, T, 6] to [N, 3]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["y"], axes=[1], keepdims=0),
    ]
    return model_of(nodes, {"x": shape}, {"y": [shape[0], 3]}, {"w": normal(np.random.default_rng(0), 6, 3)})


def carried() -> onnx.ModelProto:
    """x [N, 6] beside a state [2, N, 3]."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceSum", ["state"], ["s"], keepdims=0),
        helper.make_node("Add", ["a", "s"], ["b"]),
        helper.make_node("Add", ["state", "a"], ["next"]),
        helper.make_node("MatMul", ["b", "head"], ["logits"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": normal(rng, 6, 3), "head": normal(rng, 3, 4)}
    inputs = {"x": ["N", 6], "state": [2, "N", 3]}
    proto = model_of(nodes, inputs, {"logits": ["N", 4], "next": [2, "N", 3]}, weights)
    del proto.graph.node[1].input[:]
    proto.graph.node[1].input.append("first")
    cut = helper.make_node("Gather", ["state", "zero"], ["first"], axis=0)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(0), "zero"))
    proto.graph.node[1].CopyFrom(cut)
    proto.graph.node[2].input[1] = "first"
    return proto


@pytest.mark.parametrize(
    ("shape", "dim", "macs"),
    [(["N", "T", 6], "T=5", 5 * 18), ([None, None, 6], "x:1=4", 4 * 18), (["N", "T", 6], "x:1=2", 2 * 18)],
)
def test_inspect_counts_macs_once_an_axis_has_a_length(shape: list[Any], dim: str, macs: int, tmp_path: Path) -> None:
    saved(averaged(shape), tmp_path / "m.onnx")
    without = json.loads(onnxsens("inspect", "m.onnx", "--json", cwd=tmp_path).stdout)
    assert "axis 1 of input 'x'" in without["macs_note"]
    found = json.loads(onnxsens("inspect", "m.onnx", "--dim", dim, "--json", cwd=tmp_path).stdout)
    assert found["weights"][0]["macs"] == macs


def test_an_axis_that_is_not_dynamic_gets_the_ones_that_are(tmp_path: Path) -> None:
    saved(averaged(["N", None, 6]), tmp_path / "m.onnx")
    refused(onnxsens("inspect", "m.onnx", "--dim", "x:2=3", cwd=tmp_path), 2, "N, x:1")
    refused(onnxsens("inspect", "m.onnx", "--dim", "x:1=0", cwd=tmp_path), 2, "x:1=0 is not a length")


def test_a_model_with_states_goes_all_the_way(tmp_path: Path) -> None:
    saved(carried(), tmp_path / "m.onnx")
    rng = np.random.default_rng(1)
    np.savez(tmp_path / "d.npz", x=normal(rng, 80, 6), state=normal(rng, 80, 2, 3), labels=rng.integers(0, 4, 80))
    auto = onnxsens("auto", "m.onnx", "-d", "d.npz", "--sparsity", "0.3", "-o", "out", "--json", cwd=tmp_path)
    assert auto.returncode == 0, auto.stderr
    assert {weight["name"] for weight in json.loads(auto.stdout)["weights"]} == {"w", "head"}
    verify = ["verify", "m.onnx", "out/plan.json", "-d", "d.npz", "--max-drop", "kl=100", "--confidence", "none"]
    assert onnxsens(*verify, cwd=tmp_path).returncode == 0
    macs = json.loads(onnxsens("inspect", "m.onnx", "--json", cwd=tmp_path).stdout)["weights"]
    assert {weight["name"]: weight["macs"] for weight in macs} == {"w": 18, "head": 12}


def test_a_model_newer_than_the_runtime_is_one_line(tmp_path: Path) -> None:
    proto = averaged(["N", 2, 6])
    proto.opset_import[0].version = 99
    saved(proto, tmp_path / "m.onnx")
    done = onnxsens("scan", "m.onnx", "-d", "random:8", "-o", "out", cwd=tmp_path)
    refused(done, 3, "the model is opset 99 of ai.onnx, and onnxruntime")
    inspected = onnxsens("inspect", "m.onnx", "--json", cwd=tmp_path)
    assert inspected.returncode == 0


COMMANDS = {
    "inspect": ["inspect", "m.onnx"],
    "scan": ["scan", "m.onnx", "-d", "random:8", "-o", "out"],
    "auto": ["auto", "m.onnx", "-d", "random:8", "-o", "out"],
}


@pytest.mark.parametrize("command", ["scan", "auto"])
@pytest.mark.parametrize(("library", "fragment"), [("no.so", "is not a file"), ("text.so", "is no library of custom")])
def test_a_library_that_is_none_is_one_line(command: str, library: str, fragment: str, tmp_path: Path) -> None:
    saved(averaged(["N", 2, 6]), tmp_path / "m.onnx")
    (tmp_path / "text.so").write_text("no library")
    done = onnxsens(*COMMANDS[command], "--custom-op-lib", library, cwd=tmp_path)
    refused(done, 3, f"--custom-op-lib '{library}' {fragment}")
    assert not (tmp_path / "out").exists()


def test_plan_runs_no_library_that_only_the_store_names(tmp_path: Path) -> None:
    saved(averaged(["N", 2, 6]), tmp_path / "m.onnx")
    assert onnxsens(*COMMANDS["scan"], "--levels", "0.5", cwd=tmp_path).returncode == 0
    database = sqlite3.connect(tmp_path / "out" / "scan.db")
    [text] = database.execute("SELECT settings FROM run").fetchone()
    settings = json.loads(text)
    assert settings["custom_op_libs"] == []
    database.close()
    rewrite_run(tmp_path / "out", settings=json.dumps(settings | {"custom_op_libs": ["evil.so"]}))
    refused(onnxsens("plan", "out", "--sparsity", "0.3", cwd=tmp_path), 2, "come from 'evil.so'; name it with --custom")
    done = onnxsens("plan", "out", "--sparsity", "0.3", "--custom-op-lib", "other.so", cwd=tmp_path)
    refused(done, 3, "'other.so' is not a file")
