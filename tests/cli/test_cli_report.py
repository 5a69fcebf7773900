"""`onnxsens report`: a run as one file for a browser, as a user asks for it."""

import getpass
import json
import os
import shutil
from pathlib import Path

import pytest
from commands import ROOT, document, onnxsens

from onnxsens.gathering import gather
from tests.fault.browser import browser, chromium

MODEL = ROOT / "models" / "jv_gru.onnx"
DATA = ROOT / "models" / "japanese_vowels_test.npz"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    goal = ("--sparsity", "0.5", "--confidence", "none", "--update", "none")
    done = onnxsens("auto", MODEL, "-d", DATA, *goal, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    done = onnxsens("report", run, "-o", path)
    assert done.returncode == 0, done.stderr
    assert "a plan for" in done.stdout and f"wrote {path}" in done.stderr
    return path


def test_the_page_has_every_planned_weight_and_the_answer(run: Path, page: Path) -> None:
    text = page.read_text()
    plan = document("report", run, "-o", page, "--force")
    assert plan["plan"] is True and plan["model"] == "jv_gru.onnx"
    assert "50.0 % of" in text
    for curve in plan["curves"]:
        assert curve["weight"] in text and curve["points"]


def test_the_page_names_no_folder_of_this_machine(run: Path, page: Path) -> None:
    text = page.read_text()
    for private in (str(run), str(run.parent), str(ROOT), str(Path.home()), f"/{getpass.getuser()}/"):
        assert private == "/" or private not in text


def test_the_same_run_gives_the_same_page(run: Path, page: Path, tmp_path: Path) -> None:
    assert onnxsens("report", run, "-o", tmp_path / "again.html").returncode == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_what_is_there_is_kept_without_force_and_the_run_even_with(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    done = onnxsens("report", run, "-o", tmp_path / "mine.html")
    assert done.returncode == 4 and "--force" in done.stderr and (tmp_path / "mine.html").read_text() == "mine"
    before = (run / "plan.json").read_bytes()
    done = onnxsens("report", run, "-o", run / "plan.json", "--force")
    assert done.returncode == 3 and "choose another name" in done.stderr and (run / "plan.json").read_bytes() == before


@pytest.mark.parametrize("name", ["pruned.onnx", "plan.json", ".lock", "scan.db-wal"])
def test_no_part_of_a_run_is_replaced_by_a_page(run: Path, name: str) -> None:
    before = (run / name).read_bytes() if (run / name).exists() else None
    done = onnxsens("report", run, "-o", run / name, "--force")
    assert done.returncode == 3
    assert "is part of the run" in done.stderr
    assert ((run / name).read_bytes() if (run / name).exists() else None) == before


def test_a_folder_without_a_run_is_refused_on_one_line(tmp_path: Path) -> None:
    done = onnxsens("report", tmp_path, "-o", tmp_path / "x.html")
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "holds no run" in done.stderr


@pytest.mark.skipif(chromium() is None, reason="Chromium is not installed")
def test_in_a_browser_it_draws_every_curve_and_asks_for_nothing(run: Path, page: Path) -> None:
    program = chromium()
    assert program is not None
    weights = {curve["weight"] for curve in document("report", run, "-o", page, "--force")["curves"]}
    with browser(program) as opened:
        seen = opened.visit(
            page,
            "document.querySelectorAll('#small figure').length",
            "[...document.querySelectorAll('#overlay path')].every((path) => path.getTotalLength() > 0)",
            "document.querySelectorAll('#metric option').length",
            "getComputedStyle(document.querySelector('#overlay .guess')).fill",
        )
    assert not seen.dialogs and not seen.requests and not seen.complaints
    assert seen.answers[0] == len(weights) and seen.answers[1] is True and seen.answers[2] >= 1
    assert seen.answers[3] == "none"  # the style sheet is in force


def test_a_plan_that_is_not_as_the_run_wrote_it_is_shown_with_a_word_on_that(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    made = json.loads((copy / "plan.json").read_text())
    made["quality"]["verified"] = True
    (copy / "plan.json").write_text(json.dumps(made))
    done = onnxsens("report", copy)
    assert done.returncode == 0 and "is not as this run wrote it" in done.stderr
    assert "plan.json is not as this run wrote it" in (copy / "report.html").read_text()
    assert "not as this run wrote it" not in (run / "report.html").read_text()


def test_a_page_that_cannot_be_made_is_no_failure_of_the_run(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "report.html").unlink()
    (copy / "pareto.json").write_text("mine, and no front")
    done = onnxsens("plan", copy, "--sparsity", "0.5", "--confidence", "none")
    assert done.returncode == 0, done.stderr
    assert (copy / "report.html").exists() and (copy / "pareto.json").read_text() == "mine, and no front"


@pytest.mark.parametrize("more", [(), ("--iterative", "2")])
def test_a_page_of_somebody_else_is_refused_before_anything_is_measured(tmp_path: Path, more: tuple[str, ...]) -> None:
    (tmp_path / "report.html").write_text("precious")
    goal = ("--sparsity", "0.5", "--confidence", "none", "--update", "none")
    done = onnxsens("auto", MODEL, "-d", DATA, *goal, *more, "-o", tmp_path)
    assert done.returncode == 4 and "report.html" in done.stderr and "--force" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "precious"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_in_the_place_of_the_page_is_not_waited_for(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "report.html").unlink()
    os.mkfifo(copy / "report.html")
    done = onnxsens("report", copy)
    assert done.returncode == 4 and done.stderr.count("\n") == 1


def test_the_command_of_a_scan_names_its_levels_and_none_is_shown_where_a_search_chose_them(tmp_path: Path) -> None:
    asked = ("--levels", "0.3,0.75", "--control")
    assert onnxsens("scan", MODEL, "-d", DATA, *asked, "-o", tmp_path / "grid").returncode == 0
    words = " ".join(gather(tmp_path / "grid").command)
    assert "--levels 0.3,0.75 --control" in words
    looked = ("--search", "top-down", "--tolerance", "kl=0.1")
    assert onnxsens("scan", MODEL, "-d", DATA, *looked, "-o", tmp_path / "search").returncode == 0
    assert gather(tmp_path / "search").command == []


def test_the_command_of_a_plan_says_how_finely_it_looked(tmp_path: Path) -> None:
    goal = ("--sparsity", "0.5", "--confidence", "none", "--update", "none", "--step", "0.2")
    assert onnxsens("auto", MODEL, "-d", DATA, *goal, "-o", tmp_path / "run").returncode == 0
    assert "--step 0.2" in " ".join(gather(tmp_path / "run").command)
