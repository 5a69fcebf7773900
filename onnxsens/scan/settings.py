"""What an earlier run was started with, read without opening it for work."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxsens.errors import InputError
from onnxsens.scan.examining import reading
from onnxsens.scan.soundness import one_line
from onnxsens.scan.tables import FILE, HISTORY, RUN, tables_in
from onnxsens.strict_json import read_json


def read_settings(folder: Path) -> Mapping[str, Any]:
    """The settings of the run in `folder`.

    Raises:
        InputError: there is no run, or it cannot be read, or is not what was written.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"'{folder}' holds no run: there is no {FILE}; make one with 'onnxsens scan'")
    try:
        with reading(path) as database:
            settings: Any = read_json(settings_in(database), halves=True)
    except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
        raise InputError(
            f"'{path}' is no run store of ours: {one_line(error)}; make a new run with 'onnxsens scan'"
        ) from error
    if not isinstance(settings, dict):
        raise InputError(f"'{path}' is no run store of ours: it has no settings; make a new run with 'onnxsens scan'")
    return settings


def settings_in(database: sqlite3.Connection) -> str:
    """Their text: the run's own, or the second copy where that is damaged.

    Raises:
        ValueError: neither is what was written.
    """
    if HISTORY.name not in tables_in(database):  # of a schema without checksums
        texts: list[str] = [text for (text,) in database.execute("SELECT settings FROM run")]
    else:
        own = [row[3] for row in database.execute("SELECT * FROM run") if RUN.is_sound(row)]
        kept = [row[3] for row in database.execute("SELECT * FROM history ORDER BY number") if HISTORY.is_sound(row)]
        texts = own or kept[-1:]
    if len(texts) != 1:
        raise ValueError("what it was made from is damaged")
    return texts[0]
