"""The command line in a process of its own, as a user runs it."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from onnxsens.scan.tables import HISTORY, RUN

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


def with_routes_of(finished: Path, folder: Path) -> None:
    """A run folder in which nothing is measured yet, but how is chosen."""
    folder.mkdir()
    (folder / "scan.db").write_bytes((finished / "scan.db").read_bytes())
    database = sqlite3.connect(folder / "scan.db")
    for table in ("point", "joint", "effect", "prediction", "unpredicted", "artefact"):
        database.execute(f"DELETE FROM {table}")
    database.commit()
    database.close()


def rewrite_run(folder: Path, **columns: str) -> None:
    """Let a run's store say something else of what it was made from, as soundly as if it had been written so."""
    database = sqlite3.connect(folder / "scan.db")
    for table in (RUN, HISTORY):
        for number, *row in database.execute(f"SELECT rowid, * FROM {table.name}").fetchall():
            values = dict(zip(table.names, row[:-1], strict=True)) | columns
            database.execute(f"DELETE FROM {table.name} WHERE rowid = ?", (number,))
            database.execute(table.insertion, table.sealed(tuple(values.values())))
    database.commit()
    database.close()
