"""What makes it fast, from the command line: how much is measured, and by whom, may change; never what comes out."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, document, onnxsens, with_routes_of
from networks import convolutional, samples_file, saved

GOAL = ("--max-drop", "kl=0.05")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and 1,600 samples."""
    folder = tmp_path_factory.mktemp("task")
    return saved(convolutional(), folder / "m.onnx"), samples_file(folder / "d.npz", (2, 8, 8), 5, samples=1600)


def curves(made: Any) -> dict[tuple[str, float], float]:
    return {(point["weight"], point["level"]): point["measurements"]["kl"]["drop"] for point in made["points"]}


def rows(folder: Path, query: str) -> list[Any]:
    database = sqlite3.connect(folder / "scan.db")
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def close(one: dict[tuple[str, float], float], other: dict[tuple[str, float], float]) -> bool:
    """But for the last bits of outputs, which count most where hardly anything is lost."""
    slack = 1e-5 * max(other.values())
    return one.keys() == other.keys() and all(abs(one[key] - other[key]) <= slack for key in one)


class TestSeveralProcesses:
    def test_find_the_same_points_and_the_same_plan(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        alone = document("auto", task[0], "-d", task[1], *GOAL, "-o", tmp_path / "one", "-j", 1)
        # A run's choices of how to measure are part of its recipe; what is compared here is who measures.
        with_routes_of(tmp_path / "one", tmp_path / "two")
        shared = document("auto", task[0], "-d", task[1], *GOAL, "-o", tmp_path / "two", "-j", 2)
        assert shared == alone
        query = "SELECT weight, zeros, metric, start, samples, total, squares FROM point ORDER BY 1, 2, 3, 4"
        assert rows(tmp_path / "one", query) == rows(tmp_path / "two", query)

    def test_one_that_is_killed_costs_one_question(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        folder = tmp_path / "run"
        levels = ",".join(f"{step / 40:g}" for step in range(1, 41))
        command = [sys.executable, "-m", "onnxsens", "scan", task[0], "-d", task[1], "-o", folder, "-j", "2"]
        command += ["--levels", levels, "--json"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        killed = kill_a_worker(process.pid, folder)
        output, message = process.communicate(timeout=300)
        assert process.returncode == 0, message
        assert f"process {killed}" in message and "SIGKILL" in message
        whole = document("scan", task[0], "-d", task[1], "-o", tmp_path / "other", "--levels", levels, "-j", 1)
        assert close(curves(json.loads(output)), curves(whole))
        assert rows(folder, "SELECT count(*) FROM point WHERE failure IS NOT NULL") == [(0,)]

    def test_a_number_that_makes_no_sense_is_refused(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        done = onnxsens("scan", task[0], "-d", task[1], "-o", tmp_path / "run", "-j", 0)
        assert done.returncode == 2
        assert "--jobs 0 is not a number of processes" in done.stderr


def kill_a_worker(parent: int, folder: Path) -> int:
    """As soon as some points are there; the first of them does all but points."""
    for _ in range(6000):
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        workers = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        if len(workers) >= 3 and (folder / "scan.db").exists() and len(some_rows(folder)) > 5:
            os.kill(workers[-1], signal.SIGKILL)
            return workers[-1]
        time.sleep(0.005)
    raise AssertionError("no worker was seen in 30 s")


def some_rows(folder: Path) -> list[Any]:
    try:
        return rows(folder, "SELECT 1 FROM point LIMIT 10")
    except sqlite3.OperationalError:
        return []  # the tables are just being made


@pytest.mark.parametrize("size", ["0", "20kB", "100MB"])
def test_any_cache_gives_the_same_curves(task: tuple[Path, Path], size: str, tmp_path: Path) -> None:
    levels = ("--levels", "0.3,0.6,0.9", "-j", "1")
    expected = document("scan", task[0], "-d", task[1], "-o", tmp_path / "a", *levels)
    found = document("scan", task[0], "-d", task[1], "-o", tmp_path / "b", *levels, "--cache-memory", size)
    assert close(curves(found), curves(expected))
    assert {path.name for path in (tmp_path / "b").iterdir()} == {".lock", "scan.db"}  # nothing else is left


def test_a_cache_that_is_no_size_is_refused(task: tuple[Path, Path], tmp_path: Path) -> None:
    done = onnxsens("scan", task[0], "-d", task[1], "-o", tmp_path / "run", "--cache-memory", "much")
    assert done.returncode == 2
    assert "--cache-memory 'much' is not a size" in done.stderr


class TestFewerSamples:
    def test_are_taken_where_they_decide_and_all_with_exact(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        search = ("--search", "top-down", "--tolerance", "kl=0.02", "-j", "1")
        early = document("scan", task[0], "-d", task[1], "-o", tmp_path / "early", *search)
        exact = document("scan", task[0], "-d", task[1], "-o", tmp_path / "exact", *search, "--exact")
        taken = [point["measurements"]["kl"]["samples"] for point in early["points"]]
        assert min(taken) == 256
        assert {point["measurements"]["kl"]["samples"] for point in exact["points"]} == {800}
        assert len(early["points"]) < len(exact["points"])  # predictions say where to begin
        for weight, pick in exact["picks"]["top-down"].items():
            assert early["picks"]["top-down"][weight]["level"] == pytest.approx(pick["level"], abs=0.011)

    def test_never_for_whole_curves(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        search = ("--search", "top-down", "--tolerance", "kl=0.02", "-j", "1")
        document("scan", task[0], "-d", task[1], "-o", tmp_path / "run", *search)
        made = document("scan", task[0], "-d", task[1], "-o", tmp_path / "run", "--levels", "0.2,0.5,0.8", "-j", "1")
        assert {point["measurements"]["kl"]["samples"] for point in made["points"]} == {800}

    def test_the_plan_says_so(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        made = document("auto", task[0], "-d", task[1], *GOAL, "--update", "none", "-o", tmp_path / "run", "-j", "1")
        assert made["choice"]["exact"] is False
        first, *others = made["choice"]["proposals"]
        assert first["samples"] == 800  # what is chosen was measured on all
        assert min(other["samples"] for other in others) == 256


class TestPredictions:
    def test_are_shown_beside_and_kept_apart(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        folder = tmp_path / "run"
        arguments = ("scan", task[0], "-d", task[1], "-o", folder, "--levels", "0.3,0.6,0.9", "-j", "1", "--predict")
        made = document(*arguments)
        assert len(made["points"]) == 3 * len(made["effects"])  # nothing predicted is among them
        assert set(made["predicted"]) | set(made["unpredicted"]) == set(made["effects"])
        assert made["predicted"]
        for curve in made["predicted"].values():
            assert 0.5 < curve["relative_errors"][-1] < 1.5  # nearly nothing is left
            assert sorted(curve["drops"]) == curve["drops"]
        stored = rows(folder, "SELECT DISTINCT weight FROM prediction")
        assert {name for (name,) in stored} == set(made["predicted"])
        table = onnxsens(*arguments).stdout
        assert table.count("  predicted") == len(made["effects"])
