"""Whether a store is as it was written: what SQLite says of the file, and which rows' checksums are wrong."""

import sqlite3
from collections.abc import Iterator

from onnxsens.scan.tables import RUN, TABLES, tables_in

FIRST_WITH_CHECKSUMS = 5
# What does something by itself, or looks like a table.
STRANGE = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') OR (type = 'index' AND sql NOT NULL)"
# What a damaged file raises: a message of SQLite's may quote what is no text.
UNREADABLE = (sqlite3.Error, UnicodeDecodeError)
# What SQLite says of the machine, not of the file.
SURROUNDINGS = frozenset(
    [
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    ]
)


def is_of_surroundings(error: Exception) -> bool:
    """Whether an error says nothing against the file."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF in SURROUNDINGS and code != sqlite3.SQLITE_IOERR_SHORT_READ


def one_line(error: Exception) -> str:
    """What is wrong, in SQLite's words."""
    text = "what it says of itself is no text" if isinstance(error, UnicodeDecodeError) else str(error)
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split())) or type(error).__name__


def version_of(database: sqlite3.Connection) -> int:
    """Of the schema; 0 where nobody can tell.

    Raises:
        sqlite3.DatabaseError: it cannot be read.
    """
    if RUN.name not in tables_in(database):
        return 0
    row = database.execute("SELECT schema_version FROM run").fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def damage_of(database: sqlite3.Connection) -> str:
    """What is wrong with the file as a whole, on one line; empty where nothing is.

    Indexes are compared with their tables too, which `quick_check` leaves out: a key may be read from either.

    Raises:
        sqlite3.Error: the file cannot be read, whatever is in it.
    """
    try:
        for (finding,) in database.execute("PRAGMA integrity_check(1)"):
            if finding != "ok":
                return one_line(ValueError(finding))
        if not tables_in(database):
            return "there is nothing in it"
        strange = database.execute(STRANGE).fetchone()
        if strange is not None:
            return one_line(ValueError(f"there is a {strange[0]} '{strange[1]}' in it, and ours have none"))
        if version_of(database) < FIRST_WITH_CHECKSUMS and RUN.name in tables_in(database):
            return ""
        kept = dict(database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
        changed = sorted(name for name, table in TABLES.items() if kept.get(name) != table.creation)
    except UNREADABLE as error:
        if is_of_surroundings(error):
            raise
        return one_line(error)
    return f"table '{changed[0]}' is not as it was made" if changed else ""


def unsound_rows(database: sqlite3.Connection) -> dict[str, list[int]]:
    """By table, the row ids of rows that are not what was written; tables without any are left out.

    Raises:
        sqlite3.DatabaseError: the file is damaged as a whole.
    """
    found = {name: [number for number, sound in checked(database, name) if not sound] for name in TABLES}
    return {name: numbers for name, numbers in found.items() if numbers}


def checked(database: sqlite3.Connection, name: str) -> Iterator[tuple[int, bool]]:
    """Row id, and whether the row is sound; read from the table itself, not from its index."""
    table = TABLES[name]
    for number, *row in database.execute(f"SELECT rowid, * FROM {name} NOT INDEXED"):
        yield number, table.is_sound(row)
