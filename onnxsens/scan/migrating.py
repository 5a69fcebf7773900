"""A store of an older schema: kept under another name, then made one of ours in a single transaction."""

import sqlite3
from contextlib import closing
from pathlib import Path

from onnxsens.files import TemporaryFolder, rename_durably
from onnxsens.scan.tables import HISTORY, RUN, SCHEMA_VERSION, TABLES, create

OLDEST = 4  # the first that checksums and a history were added to
ADDED = frozenset([HISTORY.name])


def migrate(database: sqlite3.Connection, path: Path, version: int) -> Path:
    """Back the store up, then seal every row; where the backup is.

    Raises:
        sqlite3.Error: it fails, and the store is as it was.
        StorageError: the backup cannot be written.
    """
    backup = path.with_name(f"{path.name}.v{version}.bak")
    with TemporaryFolder(inside=path.parent) as folder:
        copy = folder / "backup"
        with closing(sqlite3.connect(copy)) as target:
            database.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        rename_durably(copy, backup)
    database.execute("BEGIN IMMEDIATE")
    try:
        older = [name for name in TABLES if name not in ADDED]
        for name in older:
            database.execute(f"ALTER TABLE {name} RENAME TO older_{name}")
        create(database)
        for name in older:
            rows = database.execute(f"SELECT * FROM older_{name} ORDER BY rowid").fetchall()
            if name == RUN.name:
                rows = [(SCHEMA_VERSION, *row[1:]) for row in rows]
                history = [HISTORY.sealed((1, *row[1:], "")) for row in rows]
                database.executemany(HISTORY.insertion, history)
            database.executemany(TABLES[name].insertion, map(TABLES[name].sealed, rows))
            database.execute(f"DROP TABLE older_{name}")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return backup
