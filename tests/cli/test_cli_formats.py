"""`report --format` and `curves`, as a user asks for them, on a real run."""

import csv
import getpass
import io
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, document, onnxsens
from terminals import at_terminal

import onnxsens as library
from onnxsens.errors import InputError
from onnxsens.reporting import curves, leave

MODEL = ROOT / "models" / "jv_gru1.onnx"
DATA = ROOT / "models" / "japanese_vowels_test.npz"
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
FORMATS = ("html", "md", "csv", "json", "png", "svg")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    done = onnxsens("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--update", "none", "--pareto", "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_the_suffix_says_the_format_and_the_same_run_gives_the_same_file(run: Path, tmp_path: Path, name: str) -> None:
    done = onnxsens("report", run, "-o", tmp_path / f"1.{name}")
    assert done.returncode == 0 and f"wrote {tmp_path / f'1.{name}'}" in done.stderr
    library.report(run, tmp_path / "2.x", format=name)
    first, second = (path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert first == second and len(first) > 500
    for private in (str(run), str(run.parent), str(ROOT), str(Path.home()), f"/{getpass.getuser()}/"):
        assert private == "/" or private.encode() not in first


@pytest.mark.parametrize("name", ("html", "md", "csv", "json"))
def test_what_can_be_read_names_every_weight(run: Path, tmp_path: Path, name: str) -> None:
    library.report(run, tmp_path / "x", format=name)
    text = (tmp_path / "x").read_text()
    plan = json.loads((run / "plan.json").read_text())
    assert all(weight["name"] in text for weight in plan["weights"]) and len(plan["weights"]) == 3


def test_the_document_has_plan_and_front_as_in_their_files(run: Path, tmp_path: Path) -> None:
    library.report(run, tmp_path / "x.json")
    found = json.loads((tmp_path / "x.json").read_text())
    assert found["plan"] == json.loads((run / "plan.json").read_text())
    assert found["front"] == json.loads((run / "pareto.json").read_text())


def test_a_format_without_a_file_goes_into_the_run(run: Path) -> None:
    done = onnxsens("report", run, "--format", "md")
    assert done.returncode == 0 and f"wrote {run / 'report.md'}" in done.stderr
    again = onnxsens("report", run, "--format", "md")
    assert again.returncode == 4 and "--force" in again.stderr
    assert onnxsens("report", run, "--format", "md", "--force").returncode == 0
    assert onnxsens("check", run).returncode == 0
    (run / "report.md").unlink()


@pytest.mark.parametrize("name", FORMATS)
def test_a_dash_is_standard_output(run: Path, tmp_path: Path, name: str) -> None:
    library.report(run, tmp_path / "x", format=name)
    command = [sys.executable, "-m", "onnxsens", "report", str(run), "--format", name, "-q", "-o", "-"]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (tmp_path / "x").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_of_curves_and_comparisons_too(run: Path, tmp_path: Path) -> None:
    for command, usual in ((("curves", run), ("--format", "csv")), (("diff", run, run), ("--format", "md"))):
        plain = onnxsens(*command, *usual, cwd=tmp_path, PYTHONPATH=str(ROOT))
        dash = onnxsens(*command, "-o", "-", cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert plain.returncode == dash.returncode == 0
        assert dash.stdout == plain.stdout and len(dash.stdout) > 100 and not dash.stderr
    assert not list(tmp_path.iterdir())


def test_and_refused_where_it_cannot_be(run: Path, tmp_path: Path) -> None:
    for command in (
        ("report", run, "--json", "-o", "-"),
        ("diff", run, run, "--json", "-o", "-"),
        ("curves", run, "--json", "-o", "-"),
        ("apply", MODEL, run / "plan.json", "-o", "-"),
        ("map", MODEL, "--checkpoint", "x.npz", "-o", "-"),
        ("export", run / "plan.json", "--to", "json", "-o", "-"),
        ("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "-o", "-"),
        ("inspect", MODEL, "--save-config", "-"),
    ):
        done = onnxsens(*command, cwd=tmp_path, PYTHONPATH=str(ROOT))
        assert done.returncode == 2, command
        assert done.stderr.count("\n") == 1 and ("standard output" in done.stderr), done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["report", "curves", "diff"])
def test_a_file_of_that_name_is_one(run: Path, tmp_path: Path, command: str) -> None:
    words = [command, run, *([run] if command == "diff" else []), "--format", "json", "-o", "./-", "--save-config", "c"]
    done = onnxsens(*words, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "-").read_text())
    (tmp_path / "-").unlink()
    words = [command, run, *([run] if command == "diff" else []), "--config", "c"]
    assert onnxsens(*words, cwd=tmp_path, PYTHONPATH=str(ROOT)).returncode == 0
    assert json.loads((tmp_path / "-").read_text())


def test_a_terminal_gets_no_picture(run: Path) -> None:
    seen = at_terminal(80, "report", run, "--format", "png", "-o", "-")
    assert seen.code == 2 and "a terminal cannot show this" in seen.raw and "PNG" not in seen.raw


def test_an_unknown_format_is_refused_on_one_line(run: Path, tmp_path: Path) -> None:
    for arguments, said in (
        (("--format", "pgn"), "unknown report format 'pgn'; did you mean 'png'?"),
        (("-o", tmp_path / "x.pdf"), "unknown report format 'pdf'"),
    ):
        done = onnxsens("report", run, *arguments)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["plan.json", "scan.db", "scan.db-wal", "pareto.json", "pruned.onnx", None])
def test_no_part_of_a_run_and_no_model_is_replaced(run: Path, name: str | None) -> None:
    target = MODEL if name is None else run / name
    before = target.read_bytes() if target.exists() else None
    with pytest.raises(InputError, match="is part of the run, or its model"):
        library.report(run, target, force=True, format="json")
    with pytest.raises(InputError, match="is part of the run, or its model"):
        leave(target, b"", [run], force=True)
    if name is not None:
        with pytest.raises(InputError, match="is part of the run, or its model"):
            leave(target, b"", [run / "plan.json"], force=True)
    assert (target.read_bytes() if target.exists() else None) == before


def test_nor_by_curves_or_a_comparison(run: Path) -> None:
    before = (run / "plan.json").read_bytes()
    for command in (("curves", run), ("diff", run, run), ("diff", run / "plan.json", run / "plan.json")):
        done = onnxsens(*command, "--format", "json", "-o", run / "plan.json", "--force")
        assert done.returncode == 3 and done.stderr.count("\n") == 1 and "part of the run" in done.stderr
    assert (run / "plan.json").read_bytes() == before


def test_without_matplotlib_it_says_what_to_install(run: Path, tmp_path: Path) -> None:
    (tmp_path / "matplotlib").mkdir()
    (tmp_path / "matplotlib" / "__init__.py").write_text("raise ImportError('not here')\n")
    done = onnxsens("report", run, "-o", tmp_path / "x.png", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 4 and done.stderr.count("\n") == 1 and "onnxsens[plot]" in done.stderr
    assert not (tmp_path / "x.png").exists()


def test_curves_are_the_stores_points(run: Path) -> None:
    done = onnxsens("curves", run)
    assert done.returncode == 0 and not done.stderr
    rows = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["kind"] == "measured"]
    with sqlite3.connect(run / "scan.db") as database:
        stored = database.execute(
            "SELECT weight, metric, CAST(zeros AS REAL) / size, SUM(total) / SUM(samples), SUM(samples) FROM point "
            "WHERE base = 'dense' GROUP BY weight, metric, technique, zeros"
        ).fetchall()
    database.close()
    found = {
        (row["weight"], row["metric"], float(row["sparsity"]), float(row["drop"]), int(row["samples"])) for row in rows
    }
    assert found == set(stored) and len(rows) == len(stored) > 3


def test_curves_are_the_same_in_both_formats_and_in_the_library(run: Path, tmp_path: Path) -> None:
    found = document("curves", run, "--metric", "kl", "--weights", "f.*")
    assert onnxsens("curves", run, "--metric", "kl", "--weights", "f.*", "-o", tmp_path / "x.json").returncode == 0
    assert json.loads((tmp_path / "x.json").read_text()) == found and found["schema"] == "onnxsens.curves/1"
    rows = curves(run, metric="kl", weights=["f.*"])
    assert [row.drop for row in rows] == [row["drop"] for row in found["rows"]]
    assert {row.weight for row in rows} == {"f.weight"} and {row.kind for row in rows} == {"measured", "predicted"}
    values = np.array([row.monotone for row in sorted(rows, key=lambda row: row.sparsity)])
    assert (np.diff(values) >= 0).all() and values[0] == 0
    table = onnxsens("curves", run, "--metric", "kl", "--weights", "f.*", "--format", "csv").stdout
    assert len(table.splitlines()) == 1 + len(rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--metric", "kll"), "unknown metric 'kll'; did you mean 'kl'? there are: accuracy, kl"),
        (("--technique", "magnitud"), "unknown technique 'magnitud'; did you mean 'magnitude'?"),
        (("--weights", "f.wight"), "unknown weight 'f.wight'; did you mean 'f.weight'?"),
        (("-o", "x.xlsx"), "unknown format 'xlsx'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(run: Path, arguments: tuple[str, ...], said: str) -> None:
    done = onnxsens("curves", run, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and said in done.stderr and not done.stdout


def test_a_folder_without_a_run_is_refused_on_one_line(tmp_path: Path) -> None:
    for command in (("report", tmp_path, "-o", tmp_path / "x.md"), ("curves", tmp_path)):
        done = onnxsens(*command)
        assert done.returncode == 3 and done.stderr.count("\n") == 1 and "holds no run" in done.stderr
