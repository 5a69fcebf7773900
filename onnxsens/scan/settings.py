"""What an earlier run was started with, read without opening it for work."""

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxsens.errors import InputError
from onnxsens.scan.store import FILE


def read_settings(folder: Path) -> Mapping[str, Any]:
    """The settings of the run in `folder`.

    Raises:
        InputError: there is no run, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"'{folder}' holds no run: there is no {FILE}; make one with 'onnxsens scan'")
    try:
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            settings: Mapping[str, Any] = json.loads(database.execute("SELECT settings FROM run").fetchone()[0])
        finally:
            database.close()
    except (sqlite3.DatabaseError, ValueError, TypeError) as error:
        raise InputError(f"'{path}' is no run store of ours: {error}; make a new run with 'onnxsens scan'") from error
    return settings
