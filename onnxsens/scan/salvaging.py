"""A damaged store: kept as it is under another name, and what is sound in it put into a new one.

Sound are rows whose checksum is right. A measurement is of use only beside what says how it came about; where that may
be lost, it is measured again.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path

from onnxsens.files import TemporaryFolder, chunks_of, remove_durably, rename_durably, write_atomically, write_scratch
from onnxsens.scan.soundness import UNREADABLE, is_of_surroundings
from onnxsens.scan.tables import FILE, HISTORY, LOGS, RUN, SCHEMA_VERSION, TABLES, as_text, create

Rows = dict[str, dict[int, tuple[object, ...]]]  # by table and row id
PREDICTIONS = ("prediction", "unpredicted")
FURTHEST = 1 << 24  # row ids that are jumped over at most, where rows cannot be read
# The bytes of SQLite's header that are the same in all of our stores; 18 and 19 say that there is no log.
HEADER = {0: b"SQLite format 3\0", 16: b"\x10\x00\x01\x01\x00\x40\x20\x20", 44: b"\0\0\0\4", 56: b"\0\0\0\1"}


def salvage(path: Path, damage: str, say: Callable[[str], None]) -> None:
    """Set the store aside, and leave what is sound of it in its place: complete, or nothing at all.

    Whatever ends us on the way, the damaged store is still there, under one name or both.
    """
    aside = set_aside(path)
    with TemporaryFolder(inside=path.parent) as folder:
        rows = sound_rows(aside, folder)
        new = folder / "new"
        if identify(rows):
            kept = rebuild(new, rows)
            found = sum(len(each) for each in rows.values())
            ending = f"{kept} rows of it are sound and used again" + (
                f"; {found - kept} more are, but not what they depend on, and are made again" if kept < found else ""
            )
        else:
            ending = "nothing sound in it says what it was made from, so the run starts anew"
        for log in (*LOGS, "-shm"):
            remove_durably(path.with_name(f"{path.name}{log}"))
        if new.exists():
            rename_durably(new, path)
        else:
            remove_durably(path)
    say(f"'{path}' was damaged ({damage}); it is kept as '{aside.name}'; {ending}")


def set_aside(path: Path) -> Path:
    """Copy a store and its logs to names that are free."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    for ending in LOGS:
        log = path.with_name(f"{path.name}{ending}")
        if log.exists() and log.stat().st_size:
            write_atomically(aside.with_name(f"{aside.name}{ending}"), chunks_of(log))
    write_atomically(aside, chunks_of(path))
    return aside


def sound_rows(aside: Path, folder: Path) -> Rows:
    """All that can be read soundly, with the header that there is, and with the one that there should be."""
    found: Rows = {name: {} for name in TABLES}
    for mended in (False, True):
        work = folder / f"{FILE}-{int(mended)}"
        content = with_sound_header(aside.read_bytes()) if mended else aside.read_bytes()
        write_scratch(work, [content])
        for ending in LOGS:
            log = aside.with_name(f"{aside.name}{ending}")
            if log.exists() and not mended:
                write_scratch(work.with_name(f"{work.name}{ending}"), chunks_of(log))
        with closing(sqlite3.connect(work)) as database:
            database.text_factory = as_text
            for name in TABLES:
                found[name] = rows_of(database, name) | found[name]
    return found


def with_sound_header(content: bytes) -> bytes:
    """A store's bytes with the header's constants as they should be."""
    mended = bytearray(content)
    if len(mended) >= 100:
        for offset, right in HEADER.items():
            mended[offset : offset + len(right)] = right
    return bytes(mended)


def rows_of(database: sqlite3.Connection, name: str) -> dict[int, tuple[object, ...]]:
    """Sound rows of one table by row id, from either end, and on from behind what cannot be read."""
    table = TABLES[name]
    found: dict[int, tuple[object, ...]] = {}
    with suppress(*UNREADABLE):
        if database.execute("SELECT 1 FROM sqlite_master WHERE name = ? AND type <> 'table'", (name,)).fetchone():
            return found
    for number, *row in chain(forward(database, name), backward(database, name)):
        if table.is_sound(row):
            found[number] = tuple(row)
    return found


def forward(database: sqlite3.Connection, name: str) -> Iterator[Sequence[int]]:
    """Rows as their ids rise; where that ends, or goes round in circles, it goes on ever farther behind."""
    query = f"SELECT rowid, * FROM {name} NOT INDEXED WHERE rowid >= ? ORDER BY rowid"
    last, step = -1, 1
    while step < FURTHEST:
        try:
            for row in database.execute(query, (last + step,)):
                if type(row[0]) is not int:
                    return  # a column has the name that row ids go by
                if row[0] < last + step:
                    break
                yield row
                last, step = row[0], 1
            else:
                return
        except UNREADABLE as error:
            if is_of_surroundings(error):
                raise
        step *= 2


def backward(database: sqlite3.Connection, name: str) -> Iterator[Sequence[int]]:
    """Rows as their ids fall, up to the first that cannot be read."""
    last = 1 << 63
    with suppress(*UNREADABLE):
        for row in database.execute(f"SELECT rowid, * FROM {name} NOT INDEXED ORDER BY rowid DESC"):
            if type(row[0]) is not int or row[0] >= last:
                return
            yield row
            last = row[0]


def identify(rows: Rows) -> bool:
    """Leave one row that says what the run was made from: its own, or the last of its history; whether there is one."""
    if len(rows[RUN.name]) != 1:
        rows[RUN.name] = {}
        known = max(rows[HISTORY.name].values(), key=lambda row: row[:1], default=None)
        if known is not None:
            rows[RUN.name] = {1: RUN.sealed((SCHEMA_VERSION, *known[1:4]))}
    return bool(rows[RUN.name])


def rebuild(path: Path, rows: Mapping[str, Mapping[int, tuple[object, ...]]]) -> int:
    """A new store of these rows, without those that depend on lost ones; how many there are."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.text_factory = as_text
        database.execute("BEGIN")
        create(database)
        for name, found in rows.items():
            database.executemany(TABLES[name].insertion, [found[number] for number in sorted(found)])
        forget_dependent(database, set(TABLES))
        database.execute("COMMIT")
        return sum(int(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in TABLES)


def drop(database: sqlite3.Connection, unsound: Mapping[str, Sequence[int]]) -> int:
    """Remove unsound rows and what depends on them, within the caller's transaction; how many of the latter."""
    for name, numbers in unsound.items():
        database.executemany(f"DELETE FROM {name} WHERE rowid = ?", [(number,) for number in numbers])
    before = database.total_changes
    forget_dependent(database, set(unsound))
    return database.total_changes - before


def forget_dependent(database: sqlite3.Connection, lost: set[str]) -> None:
    """Remove rows that rows which may have been lost from these tables are needed for.

    Without a metric's digest nobody knows which code a point was measured by, and without a route how. Predictions are
    made all at once, and only if there are none.
    """
    if "metric" in lost:
        for name in ("point", "joint"):
            database.execute(f"DELETE FROM {name} WHERE metric NOT IN (SELECT name FROM metric)")
    if "route" in lost:
        database.execute("DELETE FROM point WHERE weight NOT IN (SELECT weight FROM route)")
        database.execute("DELETE FROM joint WHERE '' NOT IN (SELECT weight FROM route)")
    if lost.intersection(PREDICTIONS):
        for name in PREDICTIONS:
            database.execute(f"DELETE FROM {name}")
