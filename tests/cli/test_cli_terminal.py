"""Commands at real terminals: wide and narrow, dumb, without colour, ASCII only; and without any."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, document, onnxsens
from networks import convolutional, saved
from rich.cells import cell_len

from tests.terminals import CONTROL, Seen, at_terminal, screen

MODEL, DATA = ROOT / "models" / "jv_gru1.onnx", ROOT / "models" / "japanese_vowels_test.npz"
WIDTHS = (40, 80, 160)
WORK = ("--update", "none", "--in-process")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, so that showing it again takes no time."""
    folder = tmp_path_factory.mktemp("terminal") / "run"
    done = onnxsens("auto", MODEL, "-d", DATA, "--max-drop", "accuracy=0.2", *WORK, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def long_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    proto = convolutional()
    renamed = {"first": f"encoder.layers.{'10.' * 20}first.weight", "up": f"encoder.layers.{'10.' * 20}up.w\u00e9ight"}
    for tensor in proto.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in proto.graph.node:
        for at, name in enumerate(node.input):
            node.input[at] = renamed.get(name, name)
    return saved(proto, tmp_path_factory.mktemp("names") / "m.onnx")


def auto(columns: int, run: Path, *more: str, **environment: str) -> Seen:
    words = ("auto", MODEL, "-d", DATA, "--max-drop", "accuracy=0.2", *WORK, "-o", run, *more)
    seen = at_terminal(columns, *words, **environment)
    assert seen.code == 0, seen.raw
    return seen


def own_lines(seen: Seen) -> list[str]:
    """Without paths and commands, which are not broken inside a word, and notes, which are whole lines for logs."""
    text = [line for line in seen.lines if not line.startswith(("note: ", "wrote ", "    "))]
    return [line for line in text if line.strip()]


@pytest.mark.parametrize("columns", WIDTHS)
def test_a_plan_fits_and_shows_every_weight_with_its_curve(run: Path, columns: int) -> None:
    seen = auto(columns, run)
    assert "\x1b[1;32mverified" in seen.raw
    lines = own_lines(seen)
    assert max(map(cell_len, lines)) <= columns
    plan = json.loads((run / "plan.json").read_text())
    table = lines[lines.index("the plan") + 1 :]
    for weight in plan["weights"]:
        [row] = [line for line in table if line.startswith(weight["name"])]
        assert f"{weight['sparsity'] * 100:.1f} %" in row
        assert re.search("[\u2581-\u2588]{9}", row)
    assert "curve: drop in kl at 10 %" in " ".join(table)
    gone = " ".join(lines).partition("the plan")[2].partition("no room for: ")[2].partition(";")[0]
    header = table[0].split()
    for name in ("operator", "shape", "zeros"):
        assert (name in header) != (name in gone), (name, header, gone)
    assert (columns < 80) == bool(gone)


def test_next_steps_can_be_copied_from_a_narrow_terminal(run: Path) -> None:
    lines = auto(40, run).lines
    start = lines.index("next steps")
    text = "\n".join(lines[start:])
    assert "onnxsens verify \\\n" in text
    joined = " ".join(text.replace("\\\n", " ").split())
    assert f"onnxsens verify {MODEL} {run}/plan.json -d {DATA}" in joined


def test_live_lines_fit_and_are_gone_in_the_end(run: Path, tmp_path: Path) -> None:
    for columns in (40, 100):
        seen = auto(columns, tmp_path / f"run{columns}")
        live = [
            part
            for part in re.split(r"\n|\r", CONTROL.sub("", seen.raw))
            if part.startswith(("choice", "  now", "  best"))
        ]
        assert max(map(cell_len, live)) < columns
        assert any("about" in line and "left" in line for line in live) and any("best  " in line for line in live)
        assert not any(line.startswith(("choice ", "  now ", "  best ")) for line in seen.lines)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_without_colour_there_is_neither_colour_nor_bold(run: Path, environment: dict[str, str]) -> None:
    seen = auto(80, run, **environment)
    assert not re.search(r"\x1b\[[0-9;]*m", seen.raw)
    assert "\x1b" not in seen.raw or environment != {"TERM": "dumb"}
    assert "verified at 95% confidence" in seen.raw
    assert not re.search(r"\x1b\[[0-9;]*m", auto(80, run, "--no-color").raw)


@pytest.mark.parametrize(
    ("columns", "environment"), [(40, {"LC_ALL": "C"}), (160, {"PYTHONIOENCODING": "ascii"}), (80, {"TERM": "dumb"})]
)
def test_a_terminal_of_ascii_gets_ascii_and_nothing_less(run: Path, columns: int, environment: dict[str, str]) -> None:
    seen = auto(columns, run, **environment)
    assert seen.raw.isascii()
    assert max(map(cell_len, own_lines(seen))) <= columns
    shown = " ".join(" ".join(own_lines(seen)).split())
    assert re.search(r"onnx::GRU_105 .* [_.:=+*#-]{9} ", shown) and "each sign below it" in shown


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("environment", [{}, {"LC_ALL": "C"}])
def test_long_names_lose_their_middle_and_stay_different(
    long_names: Path, columns: int, environment: dict[str, str]
) -> None:
    seen = at_terminal(columns, "inspect", long_names, "--in-process", **environment)
    assert seen.code == 0, seen.raw
    assert max(map(cell_len, own_lines(seen))) <= columns
    rows = [line for line in seen.lines if line.startswith("encoder.")]
    dots = "..." if environment else "\u2026"
    assert len(rows) == 2 and len({row.split()[0] for row in rows}) == 2
    assert all(dots in row.split()[0] for row in rows) or columns == 160
    assert "\\xe9" in seen.raw if environment else "w\u00e9ight" in seen.raw


def test_in_a_log_names_are_whole_lines_are_not_wrapped_and_nothing_controls_a_terminal(
    long_names: Path, run: Path
) -> None:
    done = onnxsens("inspect", long_names, COLUMNS="")
    [row] = [line for line in done.stdout.splitlines() if "first.weight" in line]
    assert f"encoder.layers.{'10.' * 20}first.weight" in row and "initializer" not in row and "Conv" in row
    done = onnxsens("auto", MODEL, "-d", DATA, "--max-drop", "accuracy=0.2", *WORK, "-o", run, COLUMNS="")
    assert "\x1b" not in done.stdout + done.stderr and "\u2026" not in done.stdout and "no room" not in done.stdout
    assert "next steps" in done.stderr and "next steps" not in done.stdout and "wrote" not in done.stdout


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("words", [["targets"], ["targets", "xnnpack"], ["doctor"]])
def test_other_tables_fit_too(columns: int, words: list[str]) -> None:
    seen = at_terminal(columns, *words)
    assert seen.code == 0 and max(map(cell_len, own_lines(seen))) <= columns


def test_the_screen_of_these_tests_reads_what_a_terminal_would() -> None:
    assert screen("a\nb\r\x1b[1A\x1b[2Kc\nd") == ["c", "d"]
    assert screen("one\ntwo\n\x1b[1A\x1b[2Kthree\x1b[?25h") == ["one", "three", ""]


def test_a_scan_shows_curves_of_what_was_measured(tmp_path: Path) -> None:
    proto = convolutional()
    samples = np.random.default_rng(3).normal(size=(40, 2, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=samples)
    words = ("scan", saved(proto, tmp_path / "m.onnx"), "-d", tmp_path / "d.npz", "--levels", "0.2,0.5,0.9")
    for columns in WIDTHS:
        seen = at_terminal(columns, *words, "--metric", "kl", "-o", tmp_path / "run", "--in-process")
        assert seen.code == 0, seen.raw
        assert max(map(cell_len, own_lines(seen))) <= columns
        rows = [line for line in seen.lines if re.search("[\u2581-\u2588]{8}", line)]  # 0.9 of few elements is less
        assert [row.split()[0] for row in rows] == ["first", "depthwise", "up", "head"]
    points = document(*words, "--metric", "kl", "-o", tmp_path / "run", "--in-process")["points"]
    drops = {point["level"]: point["measurements"]["kl"]["drop"] for point in points if point["weight"] == "first"}
    signs = re.findall("[\u2581-\u2588]{9}", rows[0])[0]
    order = sorted(drops, key=lambda level: drops[level])
    shown = [signs[round(level * 10) - 1] for level in order]
    assert shown == sorted(shown)
