"""What a malformed model, or code of the user's, does to a command: it costs an evaluation, or ends in one line."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import ROOT, onnxsens, with_routes_of
from networks import convolutional, model_of, normal, samples_file, saved
from onnx import TensorProto, helper, numpy_helper

from onnxsens import Goal, Options
from onnxsens.api import auto
from onnxsens.errors import ModelError, StorageError
from onnxsens.model import load_model
from onnxsens.options import Guard
from onnxsens.runs import open_run
from onnxsens.workbench import Workbench, refuse_changed

# A metric that goes wrong where many outputs are very different from the dense ones: at high sparsities, and not yet
# when it is tried on a batch.
METRIC = """
import os, sys, time
import numpy as np

def score(outputs, dense, labels):
    [name] = outputs
    lost = np.abs(outputs[name] - dense[name]).reshape(len(outputs[name]), -1).mean(axis=1)
    if len(lost) > 16 and lost.mean() > {above}:
        {action}
    return -lost
"""


def endless(path: Path) -> Path:
    """A model with a weight, that counts to 2^60 before it multiplies."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["sum", "one"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, []),
        ],
        [numpy_helper.from_array(np.float32(1), "one")],
    )
    nodes = [
        helper.make_node("Loop", ["times", "yes", "zero"], ["counted"], body=body),
        helper.make_node("Add", ["x", "counted"], ["shifted"]),
        helper.make_node("MatMul", ["shifted", "w"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    stored = {"w": normal(rng, 6, 3), "times": np.int64(2**60), "yes": np.bool_(True), "zero": np.float32(0)}
    return saved(model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 3]}, stored), path)


def started(*arguments: object, cwd: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "onnxsens", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_model_that_never_comes_to_an_end_is_given_up_and_the_command_says_so(tmp_path: Path) -> None:
    samples_file(tmp_path / "d.npz", (6,), None)
    command = ("scan", endless(tmp_path / "m.onnx"), "-d", tmp_path / "d.npz", "--metric", "dense-mse")
    done = onnxsens(*command, "-o", tmp_path / "run", "--patience", "2", cwd=tmp_path)
    assert done.returncode == 3
    *notes, error = done.stderr.splitlines()
    assert error.startswith("error: a process died 2 times while it ran the first samples (no answer in ")
    assert "--patience" in error
    assert [note.partition("; ")[2] for note in notes if "died" in note] == ["once more in a new one", "given up"]
    assert not (tmp_path / "run/scan.db").exists()


def test_inspect_says_what_is_in_it_all_the_same(tmp_path: Path) -> None:
    done = onnxsens("inspect", endless(tmp_path / "m.onnx"), "--patience", "2", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert [weight["name"] for weight in found["weights"]] == ["w"]
    assert "no answer in 2 s" in json.dumps(found)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent")
@pytest.mark.parametrize("where", ["--in-process", "--patience=600"])
def test_a_signal_ends_native_code_that_would_run_for_ever(tmp_path: Path, where: str) -> None:
    samples_file(tmp_path / "d.npz", (6,), None)
    endless(tmp_path / "m.onnx")
    process = started("scan", "m.onnx", "-d", "d.npz", "--metric", "dense-mse", "-o", "run", where, cwd=tmp_path)
    with process:
        time.sleep(6)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        out, err = process.communicate(timeout=20)
    assert time.monotonic() - begun < 4
    assert process.returncode == 130
    assert (out, err.splitlines()[-1]) == ("", "error: ended by SIGINT; nothing was written")


@pytest.mark.parametrize(
    ("action", "how"),
    [
        ("os._exit(3)", "the process died 2 times while it ran metric '{spec}' (exit code 3)"),
        ("os.kill(os.getpid(), 9)", "the process died 2 times while it ran metric '{spec}' (SIGKILL)"),
        ("time.sleep(1000)", "the process died 2 times while it ran metric '{spec}' (no answer in 2 s)"),
        ("sys.exit('enough')", "metric '{spec}' raised SystemExit: enough at line 9; correct it there"),
        ("bytearray(2**40)", "metric '{spec}' raised MemoryError at line 9; correct it there"),
    ],
)
def test_a_metric_that_goes_wrong_costs_its_evaluations_and_nothing_else(tmp_path: Path, action: str, how: str) -> None:
    saved(convolutional(), tmp_path / "m.onnx")
    samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
    (tmp_path / "m.py").write_text(METRIC.format(above=0.2, action=action))
    command = ["scan", "m.onnx", "-d", "d.npz", "--metric", "m.py:score", "--levels", "0.1,0.9", "-o", "run"]
    done = onnxsens(
        *command, "--patience", "2", "--json", "-j", "1", "--weights", "head", "--batch-size", "8", cwd=tmp_path
    )
    assert done.returncode == 7, done.stderr
    failures = json.loads(done.stdout)["failures"]
    assert failures == {"head": how.format(spec="m.py:score")}
    store = sqlite3.connect(tmp_path / "run/scan.db")
    sound = "SELECT zeros FROM point WHERE failure IS NULL AND metric = 'm.py:score'"
    assert store.execute(sound).fetchall() == [(3,)], "what could be measured is"
    store.close()


def test_a_metric_that_forks_and_comes_back_answers_once(tmp_path: Path) -> None:
    saved(convolutional(), tmp_path / "m.onnx")
    samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
    found = []
    for name, action in (("plain", "pass"), ("forked", "os.fork()")):
        (tmp_path / f"{name}.py").write_text(METRIC.format(above=-1, action=action))
        command = ["scan", "m.onnx", "-d", "d.npz", "--metric", f"{name}.py:score", "--levels", "0.3,0.6,0.9"]
        done = onnxsens(*command, "--search-metric", f"{name}.py:score", "-o", name, "--json", "-j", "1", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        points = json.loads(done.stdout)["points"]
        found.append([point["measurements"][f"{name}.py:score"]["drop"] for point in points])
    assert len(found[0]) == 12
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_both_ways_give_the_same_plan(tmp_path: Path, models: Path) -> None:
    made = []
    options = Options(str(models / "japanese_vowels_test.npz"), provider="cpu", threads=1, scan_samples=64, jobs=1)
    for number, guard in enumerate((Guard(in_process=True), Guard(in_process=False), Guard(in_process=False))):
        folder = tmp_path / str(number)
        if number:
            with_routes_of(tmp_path / "0", folder)
        auto(models / "jv_gru1.onnx", replace(options, guard=guard), folder, Goal(sparsity=0.5))
        made.append(((folder / "plan.json").read_bytes(), (folder / "pruned.onnx").read_bytes()))
    assert made[0] == made[1] == made[2]


def test_a_file_that_changes_while_it_is_opened_is_refused(tmp_path: Path) -> None:
    path = saved(convolutional(), tmp_path / "m.onnx")
    options = Options(str(samples_file(tmp_path / "d.npz", (2, 8, 8), 5)), guard=Guard(in_process=False))
    with Workbench(path, options) as bench:
        other = onnx.load(saved(convolutional(seed=1), tmp_path / "other.onnx"))
        onnx.save(other, path)
        with pytest.raises(ModelError, match="was changed while it was opened"):
            refuse_changed(load_model(path), bench.facts)
        assert open_run(bench, tmp_path / "run").artefacts() == {}


def test_functions_that_onnx_refuses_to_inline_are_told_of_alike_in_both_ways(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    again = helper.make_node("f", ["a"], ["b"], domain="own")
    function = helper.make_function("own", "f", ["a"], ["b"], [again], [helper.make_opsetid("own", 1)])
    nodes = [helper.make_node("f", ["x"], ["h"], domain="own"), helper.make_node("MatMul", ["h", "w"], ["y"])]
    proto = model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 3]}, {"w": normal(rng, 6, 3)})
    proto.functions.append(function)
    proto.opset_import.append(helper.make_opsetid("own", 1))
    saved(proto, tmp_path / "m.onnx")
    found = [onnxsens("inspect", "m.onnx", "--json", *how, cwd=tmp_path) for how in ([], ["--in-process"])]
    assert [done.returncode for done in found] == [0, 0], found[0].stderr
    assert "functions stay as they are" in found[0].stdout
    assert found[0].stdout == found[1].stdout


def dividing(path: Path) -> Path:
    """A model that divides a whole number by the sum of what its first weight gives, which is 0 where that is."""
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Abs", ["h"], ["a"]),
        helper.make_node("ReduceMax", ["a"], ["m"], keepdims=0),
        helper.make_node("Ceil", ["m"], ["c"]),
        helper.make_node("Cast", ["c"], ["n"], to=TensorProto.INT64),
        helper.make_node("Div", ["hundred", "n"], ["q"]),
        helper.make_node("Cast", ["q"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "zero"], ["z"]),
        helper.make_node("MatMul", ["h", "head"], ["p"]),
        helper.make_node("Add", ["p", "z"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    stored = {"first": normal(rng, 6, 8), "head": normal(rng, 8, 3), "hundred": np.int64(100), "zero": np.float32(0)}
    return saved(model_of(nodes, {"x": ["N", 6]}, {"y": ["N", 3]}, stored), path)


@pytest.mark.parametrize("how", [[], ["--in-process"]])
def test_a_weight_whose_zeroing_does_not_run_is_a_failed_one_and_the_others_are_measured(
    tmp_path: Path, how: list[str]
) -> None:
    samples_file(tmp_path / "d.npz", (6,), None)
    command = ["scan", dividing(tmp_path / "m.onnx"), "-d", tmp_path / "d.npz", "--metric", "dense-mse"]
    done = onnxsens(*command, "--levels", "0.5", "-o", tmp_path / "run", "--json", *how, cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    found = json.loads(done.stdout)
    assert found["effects"] == {"first": "not measured", "head": "effective"}
    assert "Div" in found["failures"]["first"] or "zero" in found["failures"]["first"]
    assert [point["weight"] for point in found["points"]] == ["head"]


def test_samples_that_are_others_at_every_reading_are_refused_where_several_processes_read_them(tmp_path: Path) -> None:
    saved(convolutional(), tmp_path / "m.onnx")
    (tmp_path / "d.py").write_text(
        "import numpy as np\ndef data():\n"
        "    yield np.random.default_rng().normal(size=(40, 2, 8, 8)).astype('float32'), None\n"
    )
    command = ["scan", "m.onnx", "-d", "d.py:data", "--metric", "dense-mse", "--levels", "0.5", "-o", "run"]
    done = onnxsens(*command, "-j", "2", cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(
        "error: the samples changed while the run was under way, or is another"
    )


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no such signal")
def test_what_was_started_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    saved(convolutional(), tmp_path / "m.onnx")
    samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        process = started("scan", "m.onnx", "-d", "d.npz", "-o", "run", cwd=tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    with process:
        while process.poll() is None:
            process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err


def test_code_of_the_users_that_goes_elsewhere_moves_nothing(tmp_path: Path) -> None:
    saved(convolutional(), tmp_path / "m.onnx")
    samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
    (tmp_path / "m.py").write_text("import os\nos.chdir('/')\n" + METRIC.format(above=-1, action="os.chdir('/')"))
    for how in ([], ["--in-process"]):
        command = ["scan", "m.onnx", "-d", "d.npz", "--metric", "m.py:score", "--levels", "0.5", "-o", f"run{len(how)}"]
        done = onnxsens(*command, *how, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / f"run{len(how)}/scan.db").exists()


@pytest.mark.parametrize("name", ["plan.json", "changes.safetensors", "pruned.onnx"])
def test_a_run_that_ended_while_it_wrote_a_file_still_owns_it(tmp_path: Path, models: Path, name: str) -> None:
    options = Options(str(models / "japanese_vowels_test.npz"), provider="cpu", threads=1, scan_samples=64, jobs=1)
    auto(models / "jv_gru1.onnx", options, tmp_path, Goal(sparsity=0.5))
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".json", ".onnx")}
    with Workbench(models / "jv_gru1.onnx", options, (), update="reconstruct") as bench:
        open_run(bench, tmp_path).put_artefact(name, "")  # as it is from before the file is written until after
    (tmp_path / name).write_bytes(b"of an earlier goal")
    auto(models / "jv_gru1.onnx", options, tmp_path, Goal(sparsity=0.5))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix in (".json", ".onnx")} == whole
    (tmp_path / name).write_bytes(b"of the user's")
    with pytest.raises(StorageError, match="was changed since this run wrote it"):
        auto(models / "jv_gru1.onnx", options, tmp_path, Goal(sparsity=0.5))
