"""The rules that keep the project in shape, as far as a script can see them."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "onnxsens"

# Rooms from the bottom up. A module may import its own room and those on lower floors, never a neighbour or upward.
FLOORS = [
    {"errors", "arrays", "processes", "sizes"},
    {"files", "npy_header", "signals", "strict_json", "usercode", "options"},
    {"leftovers", "plugins", "spawning"},
    {"model", "data", "metrics", "techniques"},
    {"engine", "targets"},
    {"scan"},
    {"plan"},
    {"frameworks"},
    {"artefacts", "differences", "results"},
    {"listing"},
    {"report", "retelling"},
    {"gathering", "contrast"},
    {"reporting"},
    {"care", "facts", "firsts", "opened", "ways"},
    {"station"},
    {"native"},
    {"counting", "diagnosis", "workbench"},
    {"workforce"},
    {"runs"},
    {"limits"},
    {"planning"},
    {"iterating"},
    {"ahead", "api", "checking", "forecast", "handover"},
    {"library"},
    {"__init__"},
    {"cli"},
    {"start"},
    {"__main__"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name == "onnxsens" or name.startswith("onnxsens."):
                rooms.add([*name.split("."), "__init__"][1])
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    own = room_of(path)
    for room in imported_rooms(path) - {own}:
        assert FLOOR[room] < FLOOR[own], f"{path} imports onnxsens.{room}"


def test_every_room_has_a_floor() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("room", ["onnx", "onnxruntime"])
def test_onnx_is_known_in_one_room_and_onnxruntime_in_another(room: str) -> None:
    home = {"onnx": "model", "onnxruntime": "engine"}[room]
    pattern = re.compile(rf"^\s*(?:import {room}\b|from {room}\b)", re.MULTILINE)
    assert {room_of(path) for path in FILES if pattern.search(path.read_text())} <= {home}


def test_no_file_is_two_ideas() -> None:
    assert [path for path in FILES if len(path.read_text().splitlines()) > 350] == []


def test_no_room_has_a_name_that_says_nothing() -> None:
    empty = {"utils", "helpers", "common", "misc", "core", "util", "helper"}
    assert [path for path in FILES if empty & set(path.relative_to(PACKAGE).with_suffix("").parts)] == []


def test_nothing_unpickles_or_evaluates() -> None:
    banned = re.compile(r"\bpickle\b|allow_pickle=True|(?<!\.)\beval\(|(?<!\.)\bexec\(|yaml\.load")
    # One names the file format, to explain that it is not ONNX; one runs the file that the user named.
    allowed = {"onnxsens/model/load.py", "onnxsens/usercode.py"}
    found = {str(path.relative_to(ROOT)) for path in FILES if banned.search(strip_docstrings(path))}
    assert found <= allowed


def strip_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    strings = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    for node in strings:
        node.values = []
    return ast.unparse(tree)


@pytest.mark.parametrize("command", [["-m", "onnxsens", "--help"], ["-c", "import onnxsens"]])
def test_heavy_packages_are_not_imported_for_help(command: list[str]) -> None:
    heavy = {"onnx", "onnxruntime", "numpy", "scipy", "rich", "msgspec"}
    code = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert imported & heavy == set()


def test_the_readme_is_the_packages_and_every_dependency_has_its_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert project["readme"] == "README.md"
    lines = text.split("dependencies = [", 1)[1].split("\n]", 1)[0].strip().splitlines()
    for number, line in enumerate(lines):
        if line.strip().startswith('"onnx') and "onnxruntime>=" in line:
            continue  # shares the reason of the wheel above it
        if line.strip().startswith('"'):
            assert lines[number - 1].strip().startswith("#"), line


def test_public_names_are_sorted_and_there() -> None:
    import onnxsens

    assert onnxsens.__all__ == sorted(onnxsens.__all__)
    assert dir(onnxsens) == onnxsens.__all__
    for name in onnxsens.__all__:
        assert getattr(onnxsens, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'scann'"):
        _ = onnxsens.scann


def test_a_stage_stays_a_function_when_the_room_of_its_name_is_imported() -> None:
    code = (
        "import onnxsens, onnxsens.scan.points, onnxsens.plan; print(callable(onnxsens.scan), callable(onnxsens.plan))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
