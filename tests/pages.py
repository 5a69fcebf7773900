"""Pages of the documentation: their blocks, run as a reader would run them, in a folder beside the shipped models."""

import os
import re
import subprocess
import sys
from pathlib import Path

from commands import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"[-+]?\d[\d,.:]*(?:e[-+]\d+)?")


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Language, title and content of each, in order."""
    return [(language, title, content) for language, title, content in FENCE.findall(page.read_text())]


def words_of(text: str) -> list[str]:
    """Its lines, with a sign for each number, and one space for many."""
    return [" ".join(NUMBER.sub("#", line).split()) for line in text.strip().splitlines()]


def prepare(folder: Path) -> Path:
    """The folder, beside the models and with a command `onnxsens` that is this checkout's."""
    (folder / "models").symlink_to(ROOT / "models")
    commands = folder / "bin"
    commands.mkdir()
    (commands / "onnxsens").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxsens "$@"\n')
    (commands / "onnxsens").chmod(0o755)
    return folder


def run(folder: Path, language: str, content: str) -> str:
    """A block, to a good end; what it printed."""
    command = ["bash", "-euo", "pipefail", "-c", content] if language == "sh" else [sys.executable, "-c", content]
    paths = {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=os.environ | paths, check=False, timeout=900
    )
    assert done.returncode == 0, f"{content}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def walk(page: Path, folder: Path) -> int:
    """Every block of a page in order; what Python prints is what the page shows. How many ran."""
    prepare(folder)
    said, ran = "", 0
    for language, _, content in blocks(page):
        if language == "text":
            assert words_of(said) == words_of(content)
        elif language in ("sh", "python"):
            said = run(folder, language, content)
            ran += 1
    return ran
