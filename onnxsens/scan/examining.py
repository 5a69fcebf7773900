"""What is in a run's store and whether it is sound, looked at only: nothing is locked, written or mended."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxsens.errors import InputError, StorageError, StoreInUseError
from onnxsens.files import TemporaryFolder, chunks_of, write_scratch
from onnxsens.scan.identity import is_identity
from onnxsens.scan.soundness import (
    FIRST_WITH_CHECKSUMS,
    UNREADABLE,
    damage_of,
    is_of_surroundings,
    one_line,
    unsound_rows,
    version_of,
)
from onnxsens.scan.tables import HISTORY, LOGS, RUN, SCHEMA_VERSION, TABLES, as_text, tables_in
from onnxsens.strict_json import read_json

TRIES = 5


@dataclass(frozen=True)
class StoreReport:
    """A store, as it lies in its folder.

    Attributes:
        schema_version: 0 where it cannot be read.
        rows: by table, the unsound included.
        bad_rows: by table, rows whose checksum is wrong; tables without any are left out. Stores before schema 5 have
            no checksums.
        damage: what is wrong with the file as a whole; empty where nothing is.
        identity, settings: of the run; empty where its row cannot be read or is unsound.
        artefacts: files that the run wrote, name to SHA-256.
        accepted: identity fields whose change was accepted, with both values.
    """

    schema_version: int
    rows: Mapping[str, int]
    bad_rows: Mapping[str, int]
    damage: str
    identity: Mapping[str, str]
    settings: Mapping[str, Any]
    artefacts: Mapping[str, str]
    accepted: tuple[str, ...] = ()


def examine(path: Path) -> StoreReport:
    """Look at the store `path`; damage is told, not raised.

    Raises:
        InputError: there is no such file.
        StoreInUseError: a run is writing to it all the time.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        raise InputError(f"there is no '{path}'; make a run with 'onnxsens scan'")
    nothing = StoreReport(0, {}, {}, "", {}, {}, {})
    try:
        with reading(path) as database:
            damage = damage_of(database)
            try:
                return looked_at(database, damage)
            except UNREADABLE as error:
                return replace(nothing, damage=damage or one_line(error))
    except UNREADABLE as error:
        if is_of_surroundings(error):
            raise StorageError(f"'{path}' cannot be read: {error}; check its permissions") from error
        return replace(nothing, damage=one_line(error))


def looked_at(database: sqlite3.Connection, damage: str) -> StoreReport:
    """All that can be read of a store."""
    there = [name for name in TABLES if name in tables_in(database)]
    version = version_of(database)
    if version > SCHEMA_VERSION:
        return StoreReport(version, {}, {}, "", {}, {}, {})
    rows = {name: database.execute(f"SELECT count(*) FROM {name} NOT INDEXED").fetchone()[0] for name in there}
    bad = unsound_rows(database) if version >= FIRST_WITH_CHECKSUMS and not damage else {}
    identity: Any = {}
    settings: Any = {}
    for texts in sound(database, RUN.name)[:1]:
        try:
            identity, settings = read_json(texts[2], halves=True), read_json(texts[3], halves=True)
        except (ValueError, RecursionError) as error:
            damage = damage or f"what the run was made from cannot be read: {error}"
        if not is_identity(identity) or not isinstance(settings, dict):
            damage = damage or "what the run was made from is not what a run is made from"
            identity, settings = {}, {}
    accepted = tuple(row[4] for row in sound(database, HISTORY.name) if row[4])
    artefacts = {row[0]: row[1] for row in sound(database, "artefact")}
    counts = {name: len(numbers) for name, numbers in bad.items()}
    return StoreReport(version, rows, counts, damage, identity, settings, artefacts, accepted)


def sound(database: sqlite3.Connection, name: str) -> list[tuple[Any, ...]]:
    """Rows of a table that are as they were written, without their checksums; all of a schema that has none."""
    there = tables_in(database)
    if name not in there:
        return []
    rows = database.execute(f"SELECT * FROM {name} NOT INDEXED").fetchall()
    return [row[:-1] for row in rows if TABLES[name].is_sound(row)] if HISTORY.name in there else rows


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that writes nothing beside the store.

    A store with a log that is not yet part of it is copied: to read both, SQLite would have to write.
    """
    logs = [path.with_name(f"{path.name}{ending}") for ending in LOGS]
    if not any(state(log) for log in logs):
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
            database.text_factory = as_text
            yield database
        return
    with TemporaryFolder() as folder:
        copy_of_one_moment([path, *logs], folder)
        with closing(sqlite3.connect(folder / path.name)) as database:
            database.text_factory = as_text
            yield database


def copy_of_one_moment(paths: Sequence[Path], folder: Path) -> None:
    """Copy a file and its logs, though a run may be writing."""
    for _ in range(TRIES):
        before = [state(path) for path in paths]
        for path in paths:
            if state(path):
                write_scratch(folder / path.name, chunks_of(path))
        if before == [state(path) for path in paths]:
            return
    raise StoreInUseError(f"'{paths[0]}' is being written to all the time; wait for the run to end")


def state(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written; None where there is nothing in it."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None
