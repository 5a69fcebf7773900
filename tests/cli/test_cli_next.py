"""What a command says can be done next can be done."""

import re
import shlex
from pathlib import Path

import pytest
from commands import ROOT, onnxsens
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.cli.next_steps import reading, upward
from onnxsens.options import Options
from onnxsens.report.commands import shown_steps

MODEL, DATA = ROOT / "models" / "jv_gru1.onnx", ROOT / "models" / "japanese_vowels_test.npz"


def commands_in(text: str) -> list[list[str]]:
    """The commands under `next steps`."""
    below = text.partition("next steps\n")[2].replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in below.splitlines() if line.strip().startswith("onnxsens ")]


def follow(text: str) -> list[str]:
    """Run each; their names."""
    found = commands_in(text)
    for words in found:
        done = onnxsens(*words)
        assert done.returncode == 0, (words, done.stderr)
    return [words[0] for words in found]


def test_after_a_plan_with_a_limit(tmp_path: Path) -> None:
    words = ("auto", MODEL, "-d", DATA, "--max-drop", "accuracy=0.2", "--update", "none", "-o", tmp_path / "run")
    done = onnxsens(*words, "--batch-size", "16")
    assert done.returncode == 0, done.stderr
    assert f"open {tmp_path / 'run' / 'report.html'}" in done.stderr
    assert "--batch-size 16" in done.stderr.partition("next steps")[2]
    assert follow(done.stderr) == ["verify", "export"]
    again = onnxsens("plan", tmp_path / "run", "--sparsity", "0.4")
    assert follow(again.stderr) == ["apply", "verify", "export"]


def test_after_a_scan(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    done = onnxsens("scan", MODEL, "-d", DATA, "--levels", "0.3,0.6", "-o", folder)
    assert f"'{folder}'" in done.stderr
    assert sorted(follow(done.stderr)) == ["plan", "report"]


def test_after_a_verification_that_failed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert onnxsens("auto", MODEL, "-d", DATA, "--sparsity", "0.6", "--update", "none", "-o", run).returncode == 0
    failed = onnxsens("verify", MODEL, run / "plan.json", "-d", DATA, "--max-drop", "accuracy=0.1")
    assert failed.returncode == 6
    assert failed.stderr.splitlines()[-1].startswith("error: ")
    milder, allowing = commands_in(failed.stderr)
    assert onnxsens(*allowing).returncode == 0
    assert milder == ["plan", str(run), "--max-drop", "accuracy=0.1"]
    assert onnxsens(*milder).returncode in (0, 5)  # what it finds depends on the model; it is a command


def test_code_is_named_again(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "import numpy as np\n"
        "def score(outputs, dense, labels):\n"
        "    [found], [was] = outputs.values(), dense.values()\n"
        "    return (found.argmax(-1) == was.argmax(-1)).astype(float)\n"
    )
    words = ("auto", MODEL, "-d", DATA, "--max-drop", f"{code}:score=0.3", "--update", "none", "-o", tmp_path / "run")
    done = onnxsens(*words)
    assert done.returncode == 0, done.stderr
    [verify, _] = commands_in(done.stderr)
    assert verify[-2:] == ["--max-drop", f"{code}:score=0.3"]
    assert onnxsens(*verify).returncode == 0


def test_quiet_and_json_leave_it_out(tmp_path: Path) -> None:
    words = ("scan", MODEL, "-d", DATA, "--levels", "0.5", "-o", tmp_path / "run")
    for option in ("-q", "--json"):
        assert "next steps" not in onnxsens(*words, option).stderr


@given(st.floats(1e-3, 1e6))
def test_a_limit_that_is_offered_is_above_what_was_measured(value: float) -> None:
    assert value < upward(value) <= value * 1.11
    assert len(f"{upward(value):g}".replace(".", "").replace("e+", "").strip("0")) <= 4


def test_options_are_named_as_they_are_typed() -> None:
    made = Options("d.npz", scale=255.0, mean="0.2,0.3", dims={"seq": 4}, class_axis=1, custom_op_libs=("a.so", "b.so"))
    assert reading(made) == [
        *("--scale", "255", "--mean", "0.2,0.3", "--dim", "seq=4", "--class-axis", "1"),
        *("--custom-op-lib", "a.so", "--custom-op-lib", "b.so"),
    ]
    assert reading(Options("d.npz", provider="CPUExecutionProvider")) == []


@given(st.lists(st.text("ab -'\"$\\", min_size=1), min_size=1, max_size=6), st.integers(20, 60))
def test_a_command_that_is_broken_is_the_same_command(words: list[str], width: int) -> None:
    text = shown_steps([("try", ["onnxsens", *words])], width)
    body = text.partition("try:\n")[2].replace("\\\n", " ")
    assert shlex.split(body) == ["onnxsens", *words]


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\u202eb"])
def test_names_in_steps_control_no_terminal(name: str) -> None:
    assert not re.search("[\x1b\u202e]", shown_steps([("try", ["onnxsens", name]), ("or", name)], 80))
