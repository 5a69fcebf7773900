"""A user's mistake: one line, the right exit code, nothing half-written."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, onnxsens
from networks import convolutional, model_of, samples_file, saved
from onnx import helper

from onnxsens.engine.providers import CUDA, why_not_started
from onnxsens.engine.runtime import runtime

NO_CUDA = CUDA not in runtime().get_available_providers() or why_not_started(CUDA) is not None


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good files and bad ones."""
    folder = tmp_path_factory.mktemp("desk")
    saved(convolutional(), folder / "good.onnx")
    samples_file(folder / "good.npz", (2, 8, 8), 5)
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("this is no model, only a text\n")
    relu = [helper.make_node("Relu", ["x"], ["y"])]
    saved(model_of(relu, {"x": ["N", 2, 8, 8]}, {"y": ["N", 2, 8, 8]}, {}), folder / "bare.onnx")
    good = dict(np.load(folder / "good.npz"))
    np.savez(folder / "few_labels.npz", x=good["x"], labels=good["labels"][:-1])
    np.savez(folder / "two_names.npz", image=good["x"], other=good["x"])
    np.savez(folder / "high_label.npz", x=good["x"], labels=np.where(np.arange(60) == 57, 12, good["labels"]))
    np.savez(folder / "shape.npz", x=good["x"][:, :1])
    np.savez(folder / "double.npz", x=good["x"].astype(np.float64))
    (folder / "nan.py").write_text("import numpy as np\ndef score(outputs, dense, labels):\n    return float('nan')\n")
    (folder / "raises.py").write_text("def score(outputs, dense, labels):\n    raise ValueError('no')\n")
    (folder / "plan.json").write_text('{"schema": "onnxsens.plan/1"}')
    (folder / "other.json").write_text('{"schema": "somebody.else/7"}')
    (folder / "file").write_text("")
    return folder


AUTO = ["auto", "good.onnx", "-d", "good.npz", "-o", "out"]

CASES = [
    (["auto", "nowhere.onnx", "-d", "good.npz", "-o", "out"], 3, "model 'nowhere.onnx' does not exist"),
    (["auto", "empty.onnx", "-d", "good.npz", "-o", "out"], 3, "the file is empty"),
    (["auto", "text.onnx", "-d", "good.npz", "-o", "out"], 3, "looks like a text file"),
    (["auto", "bare.onnx", "-d", "good.npz", "-o", "out"], 3, "has nothing to prune"),
    (["inspect", "good.onnx", "--dim", "N=" + "9" * 5000], 2, "is not NAME=N"),
    (["inspect", "good.onnx", "--custom-op-lib", "good.npz"], 3, "is no library of custom operators"),
    (["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--weights", "firs"], 2, "did you mean 'first'?"),
    (
        ["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--tolerance", "kl=0.1", "--search-metric", "accuracy"],
        2,
        "--search-metric accuracy has to be left out",
    ),
    (["auto", "good.onnx", "-d", "nowhere.npz", "-o", "out"], 3, "nowhere.npz"),
    (["auto", "good.onnx", "-d", "few_labels.npz", "-o", "out"], 3, "labels has 59 entries for 60 samples"),
    (["auto", "good.onnx", "-d", "two_names.npz", "-o", "out"], 3, "image"),
    (["auto", "good.onnx", "-d", "high_label.npz", "--metric", "accuracy", "-o", "out"], 3, "label 12 is outside"),
    (["auto", "good.onnx", "-d", "shape.npz", "-o", "out"], 3, "[N, 2, 8, 8]"),
    (["auto", "good.onnx", "-d", "double.npz", "-o", "out"], 3, "save it as float32"),
    (["auto", "good.onnx", "-d", "random:0", "-o", "out"], 2, "random:0"),
    (["auto", "good.onnx", "-d", "random:64", "--max-drop", "accuracy=0.1", "-o", "out"], 3, "needs labels"),
    ([*AUTO, "--metric", "nan.py:score"], 3, "NaN"),
    ([*AUTO, "--metric", "raises.py:score"], 3, "raised ValueError: no at line 2"),
    ([*AUTO, "--metric", "acuracy"], 2, "did you mean 'accuracy'"),
    ([*AUTO, "--max-drop", "accuracy"], 2, "is not METRIC=X"),
    ([*AUTO, "--max-drop", "accuracy=0.01"], 5, "cannot be shown with 30 hold-out samples"),
    ([*AUTO, "--max-drop", "accuracy=0.5", "--sparsity", "0.5"], 2, "exclude each other"),
    ([*AUTO, "--holdout", "0"], 3, "no hold-out samples"),
    ([*AUTO, "--holdout", "1.5"], 2, "1.5"),
    ([*AUTO, "--batch-size", "0"], 2, "--batch-size 0"),
    ([*AUTO, "--confidence", "sure"], 2, "--confidence 'sure'"),
    ([*AUTO, "--output", "logit"], 2, "did you mean 'logits'"),
    ([*AUTO, "--dim", "M=3"], 2, "unknown dynamic axis 'M'"),
    ([*AUTO, "--providers", "cuda8"], 4, "unknown execution provider 'cuda8'"),
    ([*AUTO, "--technique", "magic"], 2, "unknown criterion 'magic'"),
    ([*AUTO, "--search-metric", "klx"], 2, "unknown metric 'klx'"),
    ([*AUTO, "--step", "0"], 2, "step 0.0"),
    (["auto", "good.onnx", "-d", "good.npz", "-o", "file"], 4, "'file' is a file; name a folder"),
    (["auto", "good.onnx", "-d", "good.npz"], 2, "missing option '-o'"),
    (["auto"], 2, "missing argument"),
    (["auto", "good.onnx", "--frobnicate"], 2, "no such option"),
    (["atuo"], 2, "did you mean 'auto'"),
    (["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--search", "top-down"], 2, "needs a tolerance"),
    (["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--levels", "0.5,x"], 2, "--levels '0.5,x'"),
    (["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--search", "gird"], 2, "did you mean 'grid'"),
    (
        ["scan", "good.onnx", "-d", "good.npz", "-o", "out", "--search", "sweet-spotter", "--levels", "0.5"],
        2,
        "--levels",
    ),
    ([*AUTO, "--class-axis", "5"], 3, "class axis 5 does not exist in 'logits' [32, 5]"),
    ([*AUTO, "--dry-run", "--step", "0"], 2, "step 0.0"),
    ([*AUTO, "--max-drop", "accuracy=5"], 2, "0.05 is five points"),
    (["plan", "out"], 3, "holds no run"),
    (["apply", "good.onnx", "plan.json", "-o", "p.onnx"], 3, "is not a valid plan"),
    (["apply", "good.onnx", "other.json", "-o", "p.onnx"], 3, "has the schema 'somebody.else/7'"),
    (["apply", "good.onnx", "nowhere.json", "-o", "p.onnx"], 3, "does not exist"),
    (["verify", "good.onnx", "text.onnx", "-d", "good.npz"], 3, "is not a valid plan"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"), CASES, ids=lambda value: " ".join(value) if isinstance(value, list) else None
)
def test_one_line_and_the_right_exit_code(desk: Path, arguments: list[str], code: int, fragment: str) -> None:
    before = sorted(path.name for path in desk.iterdir())
    done = onnxsens(*arguments, cwd=desk)
    errors = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert done.returncode == code, done.stderr
    assert len(errors) == 1 and errors[0].startswith("error: ")
    assert fragment in errors[0]
    assert done.stdout == ""
    assert sorted(path.name for path in desk.iterdir()) == before


@pytest.mark.skipif(not NO_CUDA, reason="CUDA starts here")  # the case is its absence
def test_cuda_that_is_absent_is_refused(desk: Path) -> None:
    done = onnxsens(*AUTO, "--providers", "cuda", cwd=desk)
    assert done.returncode == 4
    assert "CUDAExecutionProvider is not" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nobody refuses the superuser a folder")
def test_a_folder_that_cannot_be_written_is_found_before_the_work(desk: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = onnxsens("auto", "good.onnx", "-d", "good.npz", "-o", tmp_path / "out", cwd=desk)
    tmp_path.chmod(0o700)
    assert done.returncode == 4
    assert "check space and permissions" in done.stderr


def test_a_folder_on_a_read_only_file_system_is_found_before_the_work(desk: Path) -> None:
    done = onnxsens("auto", "good.onnx", "-d", "good.npz", "-o", "/proc/onnxsens", cwd=desk)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1].startswith("error: cannot write '/proc/onnxsens'")


def test_errors_are_json_too_where_json_was_asked_for(desk: Path) -> None:
    done = onnxsens("inspect", "empty.onnx", "--json", cwd=desk)
    assert done.returncode == 3
    assert json.loads(done.stdout)["exit_code"] == 3
    assert "the file is empty" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("arguments", "code"), [([*AUTO, "--max-drop", "accuracy=0.01"], 5), (["auto", "--jsn"], 2), (["atuo"], 2)]
)
def test_every_error_is_one_json_document(desk: Path, arguments: list[str], code: int) -> None:
    done = onnxsens(*arguments, "--json", cwd=desk)
    assert done.returncode == code
    assert json.loads(done.stdout)["exit_code"] == code


def test_a_traceback_is_there_for_those_who_ask(desk: Path) -> None:
    assert "Traceback" in onnxsens("inspect", "empty.onnx", "--debug", cwd=desk).stderr


def test_another_model_in_the_same_folder_is_refused(desk: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    levels = ("--levels", "0.5", "-o", run)
    assert onnxsens("scan", "good.onnx", "-d", "good.npz", *levels, cwd=desk).returncode == 0
    other = saved(convolutional(seed=3), tmp_path / "other.onnx")
    for arguments, fragment in (
        ((other, "-d", "good.npz"), "another model"),
        (("good.onnx", "-d", "random:60", "--metric", "accuracy"), "needs labels"),
        (("good.onnx", "-d", "good.npz", "--seed", "4"), "another --seed (0 there, 4 now)"),
        (("good.onnx", "-d", "good.npz", "--batch-size", "5"), "another --batch-size"),
    ):
        done = onnxsens("scan", *arguments, *levels, cwd=desk)
        assert done.returncode == 3
        assert fragment in done.stderr


def test_a_plan_that_is_not_part_of_a_run_is_not_overwritten(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("precious")
    done = onnxsens(*AUTO[:-1], tmp_path, "--sparsity", "0.3", cwd=desk)
    assert done.returncode == 4
    assert "give --force" in done.stderr
    assert (tmp_path / "plan.json").read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json"]


def test_names_from_a_model_are_harmless_in_the_terminal(tmp_path: Path) -> None:
    proto = convolutional()
    hostile = "w\x1b[2J\nerror: fake\u202e"
    for tensor in proto.graph.initializer:
        tensor.name = hostile if tensor.name == "head" else tensor.name
    for node in proto.graph.node:
        for position, name in enumerate(node.input):
            if name == "head":
                node.input[position] = hostile
    done = onnxsens("inspect", saved(proto, tmp_path / "m.onnx"))
    assert done.returncode == 0
    assert "\x1b[2J" not in done.stdout and "\u202e" not in done.stdout
    assert not any(line.startswith("error:") for line in done.stdout.splitlines())


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed_lead_nowhere_and_no_file_gets_what_was_said(
    desk: Path, tmp_path: Path, closed: str
) -> None:
    command = shlex.join(
        map(str, [sys.executable, "-m", "onnxsens", *AUTO[:-1], tmp_path / "run", "--sparsity", "0.3"])
    )
    done = subprocess.run(
        ["sh", "-c", f"exec {command} {closed}"], cwd=desk, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == 0
    assert onnxsens("check", tmp_path / "run", cwd=desk).returncode == 0
