"""Paths that the system does not even look at, in every place that takes one: one line, no bug of ours."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import ROOT

import onnxsens
from onnxsens.errors import OnnxsensError

MODEL = ROOT / "models/jv_gru1.onnx"
DATA = ROOT / "models/japanese_vowels_test.npz"
# PATH stands for the path; each with the codes that it may end in: the path is wrong (2, 3), or cannot be written (4).
COMMANDS = {
    "inspect PATH": {3},
    "inspect PATH/model.onnx": {3},
    "auto MODEL -d PATH.npz --sparsity 0.5 -o out": {3},
    "auto MODEL -d PATH --sparsity 0.5 -o out": {3},
    "auto MODEL -d DATA --sparsity 0.5 -o PATH": {3, 4},
    "auto MODEL -d DATA --sparsity 0.5 -o PATH/out": {3, 4},
    "auto MODEL -d DATA --sparsity 0.5 -o out --config PATH": {2, 3},
    "auto MODEL -d DATA --sparsity 0.5 -o out --save-config PATH": {3, 4},
    "auto MODEL -d DATA --sparsity 0.5 -o out --metric PATH.py:score": {3},
    "auto MODEL -d DATA --sparsity 0.5 -o out --custom-op-lib PATH": {3},
    "scan MODEL -d DATA -o PATH": {3, 4},
    "plan PATH --sparsity 0.5": {3},
    "verify MODEL PATH -d DATA": {3},
    "apply MODEL PATH -o out.onnx": {3},
    "check PATH": {3},
    "map MODEL --checkpoint PATH": {3},
    "map MODEL --checkpoint PATH/model.safetensors": {3},
    "report PATH": {3},
    "diff PATH PATH": {3},
    "curves PATH": {3},
    "export PATH --to json --model MODEL -o out.json": {3},
    "targets xnnpack PATH": {3},
}
# As the superuser one may enter every folder, unless that is given up first.
GIVE_UP = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")


def ended(command: str, path: Path, place: Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run it with `path` in its place."""
    words = [word.replace("MODEL", str(MODEL)).replace("DATA", str(DATA)) for word in command.split()]
    words = [word.replace("PATH", str(path)) for word in words]
    return subprocess.run(
        [*before, sys.executable, "-m", "onnxsens", *words],
        capture_output=True, text=True, cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip


def is_told(done: subprocess.CompletedProcess[str], codes: set[int]) -> bool:
    """Whether it ended in one line, as such a path should."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "warning: "))]
    return (
        done.returncode in codes
        and len(errors) == 1
        and errors[0].startswith("error: ")
        and "bug of ours" not in errors[0]
    )


@pytest.fixture
def shut(tmp_path: Path) -> tuple[Path, Sequence[str]]:
    """A folder that may not be entered, and what a command has to begin with so that this holds for it."""
    folder = tmp_path / "shut"
    folder.mkdir()
    folder.chmod(0)
    if os.geteuid():
        return folder, ()
    if shutil.which(GIVE_UP[0]) is None:
        pytest.skip("the superuser may enter every folder, and there is no setpriv")
    folder.chmod(0o700)
    os.chown(folder, 65534, 65534)
    tried = subprocess.run([*GIVE_UP, "ls", str(folder)], capture_output=True, check=False)
    if tried.returncode == 0:
        pytest.skip("the superuser may enter every folder here, whatever is given up")
    return folder, GIVE_UP


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_too_long_is_one_line(command: str, tmp_path: Path) -> None:
    done = ended(command, tmp_path / ("n" * 300), tmp_path)
    assert is_told(done, COMMANDS[command]), (done.returncode, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_entered_is_one_line(
    command: str, shut: tuple[Path, Sequence[str]], tmp_path: Path
) -> None:
    folder, before = shut
    done = ended(command, folder / "it", tmp_path, before)
    assert is_told(done, COMMANDS[command]), (done.returncode, done.stderr)


def test_the_library_says_the_same(tmp_path: Path) -> None:
    long = tmp_path / ("n" * 300)
    for call in (
        lambda: onnxsens.open_run(long),
        lambda: onnxsens.scan(MODEL, DATA, out=long),
        lambda: onnxsens.verify(MODEL, long, DATA),
    ):
        with pytest.raises(OnnxsensError, match="too long"):
            call()


def test_a_plan_may_name_a_file_that_no_system_takes(tmp_path: Path) -> None:
    done = ended("auto MODEL -d DATA --sparsity 0.5 -o out --scan-samples 64", tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out/plan.json"
    plan = json.loads(path.read_text())
    for name in ("n" * 300, "n\0.safetensors"):
        plan["changes"]["file"] = name
        path.write_text(json.dumps(plan))
        done = ended("apply MODEL PATH -o again.onnx", path, tmp_path)
        assert is_told(done, {3}) and "is not there" in done.stderr, done.stderr
