"""The command line in a process of its own, as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def onnxsens(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "onnxsens", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd or ROOT,
        env=os.environ | {"COLUMNS": "100"} | environment,
        check=False,
        timeout=600,
    )


def document(*arguments: object) -> Any:
    """The JSON document of a command that succeeds."""
    done = onnxsens(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
