"""What `scan.db` consists of: its tables, and the checksum that every row ends with.

The checksum is over the row's values as SQLite gives them back, and its table's name. A changed bit anywhere in a row,
or a row that has come to lie in another table, is seen by it. It protects from damage, not from people.
"""

import hashlib
import math
import sqlite3
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FILE = "scan.db"
LOGS = ("-wal", "-journal")  # what SQLite keeps beside a file, and is part of it
SCHEMA_VERSION = 5
CHECKSUM = "checksum"
KINDS = {"INTEGER": int, "REAL": float, "TEXT": str, "BLOB": bytes}


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        columns: declarations, the checksum's left out.
        key: columns that identify a row; none where there is one row only.
    """

    name: str
    columns: str
    key: str = ""

    @cached_property
    def types(self) -> tuple[str, ...]:
        """Declared type of each column."""
        return tuple(column.split()[1] for column in self.columns.split(","))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return tuple(column.split()[0] for column in self.columns.split(","))

    @property
    def creation(self) -> str:
        """The statement that makes it, to the letter as SQLite keeps it."""
        key = f", PRIMARY KEY ({self.key})" if self.key else ""
        return f"CREATE TABLE {self.name} ({self.columns}, {CHECKSUM} INTEGER NOT NULL{key})"

    @property
    def insertion(self) -> str:
        """Puts a row with its checksum in the place of the one with the same key."""
        return f"INSERT OR REPLACE INTO {self.name} VALUES ({', '.join('?' * (len(self.types) + 1))})"

    def sealed(self, row: Sequence[object]) -> tuple[object, ...]:
        """A row as SQLite will give it back, and its checksum."""
        values = tuple(as_kept(value, kind) for value, kind in zip(row, self.types, strict=True))
        return (*values, self.checksum(values))

    def is_sound(self, row: Sequence[object]) -> bool:
        """Whether a row that was read, its checksum last, is what was written, and what may be written here."""
        return len(row) == len(self.types) + 1 and row[-1] == self.checksum(row[:-1]) and self.may_be(row[:-1])

    @cached_property
    def needed(self) -> tuple[bool, ...]:
        """Of each column, whether it holds something in every row."""
        return tuple("NOT NULL" in column for column in self.columns.split(","))

    def may_be(self, row: Sequence[object]) -> bool:
        """Whether values are of their columns' types, and can be what they stand for."""
        for value, kind, needed in zip(row, self.types, self.needed, strict=True):
            if value is None:
                if needed:
                    return False
            elif type(value) is not KINDS[kind]:
                return False
        named: dict[str, Any] = dict(zip(self.names, row, strict=True))
        if named.get("size", 1) <= 0 or named.get("zeros", 0) < 0 or named.get("start", 0) < 0:
            return False
        return "failure" not in named or named["failure"] is not None or named["samples"] > 0

    def checksum(self, values: Iterable[object]) -> int:
        """Of a row; 64 bits, signed, as SQLite has integers."""
        digest = hashlib.blake2b(self.name.encode(), digest_size=8)
        for value in values:
            digest.update(encoded(value))
        return int.from_bytes(digest.digest(), "big", signed=True)


MEASURED = (
    "start INTEGER NOT NULL, samples INTEGER NOT NULL, "
    "mean_drop REAL, standard_error REAL, total REAL, squares REAL, dense REAL, pruned REAL, "
    "extendable INTEGER NOT NULL, binary INTEGER NOT NULL, seconds REAL NOT NULL, engine TEXT NOT NULL, failure TEXT"
)
RUN = Table(
    "run", "schema_version INTEGER NOT NULL, made_by TEXT NOT NULL, identity TEXT NOT NULL, settings TEXT NOT NULL"
)
HISTORY = Table(
    "history",
    "number INTEGER NOT NULL, made_by TEXT NOT NULL, identity TEXT NOT NULL, settings TEXT NOT NULL, "
    "accepted TEXT NOT NULL",
    "number",
)
TABLES = {
    table.name: table
    for table in (
        RUN,
        HISTORY,
        Table("metric", "name TEXT NOT NULL, source_sha256 TEXT NOT NULL", "name"),
        Table("effect", "weight TEXT NOT NULL, effect TEXT NOT NULL, samples INTEGER NOT NULL", "weight"),
        Table(
            "route",
            "weight TEXT NOT NULL, engine TEXT NOT NULL, way TEXT NOT NULL, exact INTEGER NOT NULL, why TEXT NOT NULL",
            "weight",
        ),
        Table("lanes", "batches INTEGER NOT NULL"),
        Table(
            "prediction",
            "weight TEXT NOT NULL, technique TEXT NOT NULL, zeros INTEGER NOT NULL, size INTEGER NOT NULL, "
            "relative_error REAL NOT NULL",
            "weight, technique, zeros",
        ),
        Table(
            "unpredicted", "weight TEXT NOT NULL, technique TEXT NOT NULL, reason TEXT NOT NULL", "weight, technique"
        ),
        Table("artefact", "name TEXT NOT NULL, sha256 TEXT NOT NULL", "name"),
        Table(
            "point",
            "base TEXT NOT NULL, weight TEXT NOT NULL, technique TEXT NOT NULL, zeros INTEGER NOT NULL, "
            "metric TEXT NOT NULL, level_asked REAL NOT NULL, level_achieved REAL NOT NULL, size INTEGER NOT NULL, "
            + MEASURED,
            "base, weight, technique, zeros, metric, start",
        ),
        Table(
            "joint",
            f"variant TEXT NOT NULL, split TEXT NOT NULL, metric TEXT NOT NULL, {MEASURED}, drops BLOB",
            "variant, split, metric, start",
        ),
    )
}


def create(database: sqlite3.Connection) -> None:
    """Make all tables; within the caller's transaction."""
    for table in TABLES.values():
        database.execute(table.creation)


def tables_in(database: sqlite3.Connection) -> frozenset[str]:
    """Names of all that there are."""
    return frozenset(name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))


def as_text(content: bytes) -> str:
    """Text as it lies in the file: what is damaged is to reach the checksum, not to raise."""
    return content.decode("utf-8", "surrogateescape")


def as_kept(value: object, kind: str) -> object:
    """What SQLite makes of a value in a column of this type: of NaN nothing, and of -0.0 a plain 0.0."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if kind == "REAL" and isinstance(value, int | float):
        return float(value) + 0.0
    return value


def encoded(value: object) -> bytes:
    """A value and its type, so that no two rows have equal bytes in a row."""
    if value is None:
        return b"n"
    if isinstance(value, int):
        return b"i%d;" % value
    if isinstance(value, float):
        return b"f" + struct.pack(">d", value)
    content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
    return b"%c%d;" % (b"s" if isinstance(value, str) else b"b", len(content)) + content
