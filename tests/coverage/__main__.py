"""python -m tests.coverage [PYTEST ARGUMENTS]

Runs the fast tests with coverage of branches, commands and workers included, and prints what is left out.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main(arguments: list[str]) -> int:
    """The exit code of the tests, or of a coverage under what pyproject.toml asks."""
    given = arguments or ["-m", "not slow", "-q"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    coverage = [sys.executable, "-m", "coverage"]

    def run(*command: str) -> int:
        return subprocess.run([*coverage, *command], cwd=ROOT, env=environment, check=False).returncode

    tests = run("run", "-m", "pytest", *given)
    run("combine", "-q")
    return tests or run("report", "--skip-covered", "--show-missing")


sys.exit(main(sys.argv[1:]))
