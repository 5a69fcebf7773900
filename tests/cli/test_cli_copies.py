"""A table of words that is stored again, transposed, for the output head: from `auto` to the written file, as one."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import document, onnxsens, rewrite_run
from networks import saved, tied_embedding
from onnx import numpy_helper
from safetensors.numpy import load_file

HEAD = "onnx::MatMul_9"
HOW = [("--update", "none"), ("--update", "reconstruct"), ("--technique", "bits"), ("--iterative", "2")]
Run = Callable[[tuple[str, ...]], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and samples."""
    folder = tmp_path_factory.mktemp("copies")
    saved(tied_embedding(), folder / "m.onnx")
    rng = np.random.default_rng(1)
    np.savez(folder / "d.npz", x=rng.integers(0, 40, (200, 6)))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """A finished run with options; made once."""

    def once(options: tuple[str, ...]) -> Path:
        out = folder / "-".join(options).replace("-", "")
        if not out.exists():
            goal = ("--sparsity", "0.5", "--metric", "kl")
            done = onnxsens("auto", folder / "m.onnx", "-d", folder / "d.npz", *goal, *options, "-o", out)
            assert done.returncode == 0, done.stderr
            assert f"note: '{HEAD}' is a transposed copy of 'table'; they are pruned as one weight" in done.stderr
        return out

    return once


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def plan_in(folder: Path) -> Any:
    return json.loads((folder / "plan.json").read_text())


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits = session.run(None, {"x": x})[0].astype(np.float64)
    found: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return found


@pytest.mark.parametrize("options", HOW, ids=" ".join)
def test_both_are_written_with_the_same_values_and_named_as_changed(
    options: tuple[str, ...], run: Run, folder: Path
) -> None:
    out = run(options)
    plan, dense, pruned = plan_in(out), tensors(folder / "m.onnx"), tensors(out / "pruned.onnx")
    assert {name for name in dense if dense[name].tobytes() != pruned[name].tobytes()} == set(plan["changed"])
    assert {"table", HEAD} <= set(plan["changed"])
    assert pruned["table"].T.tobytes() == pruned[HEAD].tobytes()
    if plan["changes"]:
        changes = load_file(out / plan["changes"]["file"])
        assert changes.keys() == set(plan["changed"])
        assert all(changes[name].tobytes() == pruned[name].tobytes() for name in changes)


@pytest.mark.parametrize("options", HOW[:2], ids=" ".join)
def test_the_tied_weight_is_planned_and_counted_once(options: tuple[str, ...], run: Run) -> None:
    out = run(options)
    plan = plan_in(out)
    zeros = {weight["name"]: weight["zeros"] for weight in plan["weights"]}
    assert list(zeros) == ["table", "mid"]
    assert zeros["table"] == np.count_nonzero(tensors(out / "pruned.onnx")[HEAD] == 0) > 0
    assert plan["totals"]["zeros"] == sum(zeros.values()) == round(0.5 * (640 + 256))
    skipped = {row["name"]: (row["parameters"], row["reason"]) for row in plan["skipped"]}
    assert skipped[HEAD] == (640, "a transposed copy of 'table', which is written with it")
    assert plan["totals"]["parameters"] + sum(count for count, _ in skipped.values()) == plan["model"]["parameters"]


@pytest.mark.parametrize("options", HOW, ids=" ".join)
def test_quality_is_what_plain_inference_of_the_written_file_gives(
    options: tuple[str, ...], run: Run, folder: Path
) -> None:
    out = run(options)
    quality = plan_in(out)["quality"]
    x = np.load(folder / "d.npz")["x"]
    held = x[np.random.default_rng(0).permutation(len(x))[: quality["samples"]]]
    before, after = answers(folder / "m.onnx", held), answers(out / "pruned.onnx", held)
    kl = (np.exp(before) * (before - after)).sum(axis=1).mean()
    assert kl == pytest.approx(quality["metrics"]["kl"]["drop"], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("options", HOW, ids=" ".join)
def test_apply_writes_the_same_bytes_and_verify_finds_the_same_drop(
    options: tuple[str, ...], run: Run, folder: Path, tmp_path: Path
) -> None:
    out = run(options)
    document("apply", folder / "m.onnx", out / "plan.json", "-o", tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (out / "pruned.onnx").read_bytes()
    command = ("verify", folder / "m.onnx", out / "plan.json", "-d", folder / "d.npz", "--max-drop", "kl=9", "--json")
    verified = json.loads(onnxsens(*command).stdout)
    drop = plan_in(out)["quality"]["metrics"]["kl"]["drop"]
    assert verified["metrics"]["kl"]["drop"] == pytest.approx(drop, rel=1e-6)


def test_a_plan_made_when_copies_were_weights_of_their_own_is_carried_out_as_it_says(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    plan = plan_in(run(HOW[0]))
    row = next(row for row in plan["skipped"] if row["name"] == HEAD)
    plan["skipped"].remove(row)
    table = next(weight for weight in plan["weights"] if weight["name"] == "table")
    head = table | {"name": HEAD, "op": "MatMul", "shape": row["shape"], "level": 0.25, "sparsity": 0.25, "zeros": 160}
    plan["weights"].append(head)
    plan["totals"]["parameters"] += 640
    plan["totals"]["zeros"] += 160
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    document("apply", folder / "m.onnx", tmp_path / "plan.json", "-o", tmp_path / "pruned.onnx")
    pruned = tensors(tmp_path / "pruned.onnx")
    zeros = {name: np.count_nonzero(pruned[name] == 0) for name in ("table", HEAD)}
    assert zeros == {"table": table["zeros"], HEAD: 160}
    command = ("verify", folder / "m.onnx", tmp_path / "plan.json", "-d", folder / "d.npz", "--max-drop", "kl=9")
    done = onnxsens(*command)
    assert done.returncode == 0, done.stderr


def test_a_run_begun_when_copies_were_weights_of_their_own_is_not_gone_on_with(
    run: Run, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(run(HOW[0]), tmp_path / "run")
    database = sqlite3.connect(tmp_path / "run" / "scan.db")
    [(identity,)] = database.execute("SELECT identity FROM run").fetchall()
    older = {name: value for name, value in json.loads(identity).items() if name != "copies"}
    assert len(older) == len(json.loads(identity)) - 1
    database.close()
    rewrite_run(tmp_path / "run", identity=json.dumps(older))
    goal = ("--sparsity", "0.5", "--metric", "kl", "--update", "none")
    done = onnxsens("auto", folder / "m.onnx", "-d", folder / "d.npz", *goal, "-o", tmp_path / "run")
    assert done.returncode != 0
    assert "other copies of weights (nothing there, 1 now)" in done.stderr
