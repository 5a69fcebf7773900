"""Every example runs, and prints what its README shows: the words, and as many numbers, which processors differ in."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from commands import ROOT
from pages import words_of

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/README.md"))


def blocks(folder: Path, language: str) -> list[str]:
    """Of a README."""
    return re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)


def test_every_folder_is_in_the_list_and_has_a_script() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\1/README\.md\)", (ROOT / "examples/README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [folder.name for folder in EXAMPLES]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_the_code_that_a_readme_quotes_is_in_its_folder(folder: Path) -> None:
    sources = "\n".join(path.read_text() for path in folder.glob("*.py"))
    for quoted in blocks(folder, "python"):
        for line in quoted.splitlines()[1:]:  # the first may leave types out
            assert line in sources


@pytest.mark.slow
@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_prints_what_its_readme_shows(folder: Path, tmp_path: Path) -> None:
    (command,) = [line for block in blocks(folder, "sh") for line in block.splitlines() if "examples/" in line]
    (shown,) = blocks(folder, "text")
    needed = [line for block in blocks(folder, "sh") for line in block.splitlines() if line.startswith("pip install")]
    for package in " ".join(needed).split()[2:]:
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "models").symlink_to(ROOT / "models")
    program, script = command.split()
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "onnxsens").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxsens "$@"\n')
    (scripts / "onnxsens").chmod(0o755)
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "TMPDIR": str(tmp_path),
    }
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable if program == "python" else program, script],
        capture_output=True, text=True, cwd=tmp_path, env=environment, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert words_of(done.stdout) == words_of(shown)
    caches = {"__pycache__", *(path.name for path in tmp_path.glob("torch*"))}
    left = [path for path in tmp_path.rglob("*") if path not in before and caches.isdisjoint(path.parts)]
    assert left == [], "an example cleans up"
