"""From a file to a connection with a store of our schema: sound, mended, migrated or new."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from onnxsens.errors import InputError, RunMismatchError
from onnxsens.files import refuse_special, rename_durably
from onnxsens.scan.migrating import ADDED, OLDEST, migrate
from onnxsens.scan.salvaging import drop, salvage
from onnxsens.scan.soundness import UNREADABLE, damage_of, is_of_surroundings, one_line, unsound_rows, version_of
from onnxsens.scan.tables import LOGS, RUN, SCHEMA_VERSION, TABLES, as_text, create, tables_in
from onnxsens.scan.volumes import is_remote

MAGIC = b"SQLite format 3\0"
FEWEST = 5  # tables with our names, for a database to be ours


def open_database(path: Path, say: Callable[[str], None]) -> sqlite3.Connection:
    """Connect; the tables are there, and every row in them is what was written. Those of a new store are empty.

    Args:
        say: told what was mended, and what is not as usual.

    Raises:
        InputError: it is a database of somebody else.
        RunMismatchError: it is of a schema that this version cannot read. Like the other, it was not written to.
        StorageError: it is no plain file, or what was damaged cannot be set aside.
        sqlite3.Error: it cannot be read or written.
    """
    refuse_special(path)
    keep_orphans(path, say)
    if path.exists():
        if path.stat().st_size:
            damage = judged(path)
            if damage:
                salvage(path, damage, say)
        else:
            say(f"'{path}' was empty, so the run starts anew")
    database = connect(path)
    try:
        # A commit is on disk before it counts, so that nothing that was told is lost.
        wanted = "delete" if is_remote(path.parent) else "wal"
        if not tables_in(database):
            set_journal(database, wanted, path, say)
            in_transaction(database, lambda: create(database))
            return database
        if version_of(database) == OLDEST:
            backup = migrate(database, path, OLDEST)
            say(f"'{path}' had schema {OLDEST} and has {SCHEMA_VERSION} now; as it was it is kept as '{backup.name}'")
        unsound = unsound_rows(database)
        if unsound:
            more: list[int] = []
            in_transaction(database, lambda: more.append(drop(database, unsound)))
            count = sum(len(numbers) for numbers in unsound.values())
            besides = f", and {more[0]} that depend on them" if more[0] else ""
            say(f"'{path}': {count} rows are not what was written; they{besides} are dropped, and made again")
        set_journal(database, wanted, path, say)
    except BaseException:
        database.close()
        raise
    return database


def keep_orphans(path: Path, say: Callable[[str], None]) -> None:
    """Logs without the file that they are of: SQLite would throw them away, and all that was measured with them."""
    if path.exists() and path.stat().st_size:
        return
    for ending in LOGS:
        log = path.with_name(f"{path.name}{ending}")
        if log.exists() and log.stat().st_size:
            number = 1
            while (aside := path.with_name(f"{path.name}.damaged-{number}{ending}")).exists():
                number += 1
            rename_durably(log, aside)
            say(f"'{log.name}' is of a store that is gone or empty; it is kept as '{aside.name}'")


def connect(path: Path, ending: str = "") -> sqlite3.Connection:
    """A connection that begins no transaction by itself."""
    database = sqlite3.connect(f"{path.resolve().as_uri()}{ending}", uri=True, isolation_level=None)
    database.text_factory = as_text
    database.execute("PRAGMA trusted_schema = OFF")
    return database


def in_transaction(database: sqlite3.Connection, change: Callable[[], object]) -> None:
    """All of a change, on disk when this returns, or nothing of it."""
    database.execute("BEGIN IMMEDIATE")
    try:
        change()
    except BaseException:
        if database.in_transaction:  # on a full disk SQLite may have ended it
            database.execute("ROLLBACK")
        raise
    try:
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def set_journal(database: sqlite3.Connection, wanted: str, path: Path, say: Callable[[str], None]) -> None:
    """A write-ahead log where processes see each other's memory; with either journal every commit reaches the disk."""
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA fullfsync = ON")  # what macOS calls it
    [mode] = database.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
    if mode != "wal":
        say(f"'{path.parent}' may be shared with other hosts; its store has no write-ahead log, and is slower")


def judged(path: Path) -> str:
    """What is wrong with a store as a whole; looked at without writing where SQLite can do that."""
    journal = path.with_name(f"{path.name}-journal")
    unfinished = journal.exists() and journal.stat().st_size  # what it undoes has to be undone before one looks
    for ending in ("?mode=rw",) if unfinished else ("?mode=ro", "?mode=rw"):
        try:
            with closing(connect(path, ending)) as database:
                return judge(database, path)
        except UNREADABLE as error:
            if not is_of_surroundings(error):
                return one_line(error)
            if ending == "?mode=rw":
                raise  # the first may have failed of a journal that has to be rolled back
    raise AssertionError("unreachable")


def is_empty(database: sqlite3.Connection) -> bool:
    """Whether no table has a row."""
    names = [name for name in TABLES if name in tables_in(database)]
    return not any(database.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchall() for name in names)


def judge(database: sqlite3.Connection, path: Path) -> str:
    """What is wrong with a store as a whole; empty where nothing is, as of an empty one.

    Raises:
        InputError, RunMismatchError: as `open_database` does.
        sqlite3.Error: it cannot be read.
    """
    tables = tables_in(database)
    if not tables:  # SQLite takes a file that is shorter than its header for an empty one
        with path.open("rb") as file:
            return "" if file.read(len(MAGIC)) in (MAGIC, b"") else "it is cut short"
    if len(tables & TABLES.keys()) < FEWEST:
        raise InputError(f"'{path}' is no run store of ours; choose another folder")
    made = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
    version = version_of(database)
    if made.get(RUN.name) == RUN.creation:
        rows = database.execute("SELECT * FROM run").fetchall()
        new = not rows and is_empty(database)  # ended before it was said what the run is made from
        if not new and (len(rows) != 1 or not RUN.is_sound(rows[0])):
            return "the row that says what the run was made from is not what was written"
    if version > SCHEMA_VERSION or 0 < version < OLDEST:
        way_out = "update onnxsens, or use another folder" if version > SCHEMA_VERSION else "use another folder"
        raise RunMismatchError(
            f"'{path}' has schema {version}, and this onnxsens reads {OLDEST} to {SCHEMA_VERSION}; {way_out}"
        )
    if version == OLDEST:
        for name in TABLES.keys() - ADDED:
            names = tuple(row[1] for row in database.execute(f"PRAGMA table_info({name})"))
            if names != TABLES[name].names:
                return f"table '{name}' is not as it was made"
    return damage_of(database)
