"""`scan.db`: one row a measured block of samples, written as it is made, so that nothing measured is measured again.

SQLite, write-ahead log, every commit on disk before it counts. Knows records and numbers, no engine.
"""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnxsens.engine.questions import DENSE, Answer, Change, Effect, Measurement, Route, SplitName
from onnxsens.errors import InputError, RunMismatchError, StorageError
from onnxsens.scan.identity import describe_difference
from onnxsens.scan.ledger import Block
from onnxsens.scan.lock import FolderLock
from onnxsens.scan.prediction import PredictedCurve

FILE = "scan.db"
SCHEMA_VERSION = 4

SCHEMA = """
CREATE TABLE run (
    schema_version INTEGER NOT NULL, made_by TEXT NOT NULL, identity TEXT NOT NULL, settings TEXT NOT NULL
);
CREATE TABLE metric (name TEXT PRIMARY KEY, source_sha256 TEXT NOT NULL);
CREATE TABLE effect (weight TEXT PRIMARY KEY, effect TEXT NOT NULL, samples INTEGER NOT NULL);
CREATE TABLE route (
    weight TEXT PRIMARY KEY, engine TEXT NOT NULL, way TEXT NOT NULL, exact INTEGER NOT NULL, why TEXT NOT NULL
);
CREATE TABLE lanes (batches INTEGER NOT NULL);
CREATE TABLE prediction (
    weight TEXT NOT NULL, technique TEXT NOT NULL, zeros INTEGER NOT NULL, size INTEGER NOT NULL,
    relative_error REAL NOT NULL, PRIMARY KEY (weight, technique, zeros)
);
CREATE TABLE unpredicted (
    weight TEXT NOT NULL, technique TEXT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (weight, technique)
);
CREATE TABLE artefact (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE point (
    base TEXT NOT NULL, weight TEXT NOT NULL, technique TEXT NOT NULL, zeros INTEGER NOT NULL, metric TEXT NOT NULL,
    level_asked REAL NOT NULL, level_achieved REAL NOT NULL, size INTEGER NOT NULL,
    start INTEGER NOT NULL, samples INTEGER NOT NULL,
    mean_drop REAL, standard_error REAL, total REAL, squares REAL, dense REAL, pruned REAL,
    extendable INTEGER NOT NULL, binary INTEGER NOT NULL, seconds REAL NOT NULL, engine TEXT NOT NULL, failure TEXT,
    PRIMARY KEY (base, weight, technique, zeros, metric, start)
);
CREATE TABLE joint (
    variant TEXT NOT NULL, split TEXT NOT NULL, metric TEXT NOT NULL,
    start INTEGER NOT NULL, samples INTEGER NOT NULL,
    mean_drop REAL, standard_error REAL, total REAL, squares REAL, dense REAL, pruned REAL,
    extendable INTEGER NOT NULL, binary INTEGER NOT NULL, seconds REAL NOT NULL, engine TEXT NOT NULL, failure TEXT,
    drops BLOB,
    PRIMARY KEY (variant, split, metric, start)
);
"""
MEASURED = "samples, total, squares, dense, pruned, extendable, binary"


class Store:
    """The measurements of one run folder, held by one process at a time.

    Args:
        folder: the run folder; it must exist.
        identity: what a run is made from, field by field; another value of any field is refused.
        settings: what was asked for, for people and for `plan`; not compared.
        made_by: program and version.

    Raises:
        RunMismatchError: the folder holds a run made from something else.
        StoreInUseError: another process works in it.
        StorageError: it cannot be read or written.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], settings: Mapping[str, object], made_by: str) -> None:
        self.path = folder / FILE
        self._lock = FolderLock(folder)
        try:
            with self._errors():
                self._db = sqlite3.connect(self.path, isolation_level=None)
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._open(identity, settings, made_by)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and let others in."""
        if hasattr(self, "_db"):
            self._db.close()
        self._lock.release()

    def claim_metrics(self, digests: Mapping[str, str]) -> None:
        """Note which code each metric is; points of another version of it cannot be mixed in.

        Raises:
            RunMismatchError: a metric's file has changed since.
        """
        known = dict(self._rows("SELECT name, source_sha256 FROM metric"))
        for name, digest in digests.items():
            if known.get(name, digest) != digest:
                raise RunMismatchError(
                    f"metric '{name}' has changed since this run began; use another folder, or undo the change"
                )
        with self._errors():
            self._db.executemany("INSERT OR IGNORE INTO metric VALUES (?, ?)", digests.items())

    def put_point(self, change: Change, zeros: int, size: int, start: int, answer: Answer) -> None:
        """Keep every metric of a block of a point, whose first sample is `start`, in one transaction."""
        identity = (DENSE, change.weight, change.technique, zeros)
        levels = (change.level, zeros / size, size, start)
        how = (answer.seconds, answer.engine)
        rows = [
            (*identity, metric, *levels, *columns(measured), *how, None)
            for metric, measured in answer.measurements.items()
        ]
        rows += [(*identity, metric, *levels, *FAILED, *how, failure) for metric, failure in answer.failures.items()]
        self._insert("point", rows)

    def points(self, technique: str) -> dict[tuple[str, int], list[tuple[str, Block]]]:
        """Every block of a technique's points, by weight and zeros; in order of their first samples.

        What failed is left out: an earlier process may have run out of memory, and this one gets another chance.
        """
        rows = self._rows(
            f"SELECT weight, zeros, metric, start, {MEASURED}, NULL FROM point "
            "WHERE base = ? AND technique = ? AND failure IS NULL ORDER BY weight, zeros, metric, start",
            (DENSE, technique),
        )
        found: dict[tuple[str, int], list[tuple[str, Block]]] = {}
        for weight, zeros, metric, start, *measured in rows:
            found.setdefault((weight, zeros), []).append((metric, Block(start, measurement(measured))))
        return found

    def joint(self, variant: str, split: SplitName) -> list[tuple[str, Block]]:
        """Blocks of a whole plan, with their per-sample drops where those were kept; failures left out, as above."""
        rows = self._rows(
            f"SELECT metric, start, {MEASURED}, drops FROM joint "
            "WHERE variant = ? AND split = ? AND failure IS NULL ORDER BY metric, start",
            (variant, split),
        )
        return [(metric, Block(start, measurement(measured))) for metric, start, *measured in rows]

    def put_joint(self, variant: str, split: SplitName, start: int, answer: Answer) -> None:
        """Keep every metric of a block of a joint run."""
        how = (answer.seconds, answer.engine)
        rows = [
            (variant, split, metric, start, *columns(measured), *how, None, packed(measured))
            for metric, measured in answer.measurements.items()
        ]
        rows += [
            (variant, split, metric, start, *FAILED, *how, failure, None) for metric, failure in answer.failures.items()
        ]
        self._insert("joint", rows)

    def known(self, weight: str) -> Route | None:
        """How a weight's variants are run in this run, if that was chosen."""
        rows = self._rows("SELECT engine, way, exact, why FROM route WHERE weight = ?", (weight,))
        return next((Route(engine, way, bool(exact), why) for engine, way, exact, why in rows), None)

    def keep(self, weight: str, route: Route) -> None:
        """Keep the choice."""
        self._insert("route", [(weight, route.engine, route.weight, int(route.exact), route.why)])

    def lanes(self, chosen: int) -> int:
        """How many batches this run has side by side: as was chosen when it began, else as is chosen now."""
        rows = self._rows("SELECT batches FROM lanes")
        if not rows:
            self._insert("lanes", [(chosen,)])
        return int(rows[0][0]) if rows else chosen

    def predictions(self, technique: str) -> tuple[dict[str, PredictedCurve], dict[str, str]]:
        """Predicted curves by weight; and why other weights go without."""
        rows = self._rows(
            "SELECT weight, size, zeros, relative_error FROM prediction WHERE technique = ? ORDER BY weight, zeros",
            (technique,),
        )
        curves = {}
        for (weight, size), group in groupby(rows, key=lambda row: row[:2]):
            _, _, zeros, errors = zip(*group, strict=True)
            curves[weight] = PredictedCurve(weight, size, zeros, errors)
        return curves, dict(self._rows("SELECT weight, reason FROM unpredicted WHERE technique = ?", (technique,)))

    def put_predictions(self, technique: str, curves: Mapping[str, PredictedCurve], without: Mapping[str, str]) -> None:
        """Keep what was predicted, apart from what is measured."""
        rows = [
            (name, technique, zeros, curve.size, error)
            for name, curve in curves.items()
            for zeros, error in zip(curve.zeros, curve.errors, strict=True)
        ]
        # First what is looked for together with the other when they are read: a run that dies between is complete.
        self._insert("unpredicted", [(name, technique, reason) for name, reason in without.items()])
        self._insert("prediction", rows)

    def effects(self) -> dict[str, tuple[Effect, int]]:
        """Weights that the canary has been tried on: what it said, and on how many samples."""
        rows = self._rows("SELECT weight, effect, samples FROM effect")
        return {weight: (effect, samples) for weight, effect, samples in rows}

    def put_effect(self, weight: str, effect: Effect, samples: int) -> None:
        """Keep what the canary said."""
        self._insert("effect", [(weight, effect, samples)])

    def artefacts(self) -> dict[str, str]:
        """Files that this run has written: name to SHA-256."""
        return dict(self._rows("SELECT name, sha256 FROM artefact"))

    def put_artefact(self, name: str, sha256: str) -> None:
        """Keep what was written."""
        self._insert("artefact", [(name, sha256)])

    def _open(self, identity: Mapping[str, str], settings: Mapping[str, object], made_by: str) -> None:
        tables = {name for (name,) in self._rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "run" not in tables:
            if tables:
                raise InputError(f"'{self.path}' is no run store of ours; choose another folder")
            with self._transaction():
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(
                    "INSERT INTO run VALUES (?, ?, ?, ?)",
                    (SCHEMA_VERSION, made_by, json.dumps(identity), json.dumps(settings)),
                )
            return
        version, stored = self._rows("SELECT schema_version, identity FROM run")[0]
        if version != SCHEMA_VERSION:
            raise RunMismatchError(
                f"'{self.path}' has schema {version}, and this onnxsens reads {SCHEMA_VERSION}; use another folder"
            )
        difference = describe_difference(json.loads(stored), identity)
        if difference:
            raise RunMismatchError(f"'{self.path.parent}' holds a run made with {difference}; use another folder")

    def _insert(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        with self._errors(), self._transaction():
            marks = ", ".join("?" * len(rows[0]))
            self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)

    def _rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        with self._errors():
            return self._db.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise InputError(f"'{self.path}' is no run store of ours: {error}; choose another folder") from error
            raise StorageError(
                f"'{self.path}' cannot be used: {error}; what was measured before is kept, "
                "make room or choose another folder and run the same command again"
            ) from error


FAILED = (0, None, None, None, None, None, None, 0, 0)


def columns(measured: Measurement) -> tuple[object, ...]:
    """A measurement as the columns `samples` to `binary`."""
    return (
        measured.samples,
        measured.drop,
        measured.standard_error,
        measured.total,
        measured.squares,
        measured.dense,
        measured.pruned,
        int(measured.extendable),
        int(measured.binary),
    )


def packed(measured: Measurement) -> bytes | None:
    """Per-sample drops as little-endian float64."""
    return None if measured.drops is None else measured.drops.astype("<f8").tobytes()


def measurement(row: Sequence[Any]) -> Measurement:
    """Columns of `MEASURED` and per-sample drops, as a record."""
    samples, total, squares, dense, pruned, extendable, binary, drops = row
    values = None if drops is None else np.frombuffer(drops, dtype="<f8")
    return Measurement(samples, total, squares, dense, pruned, bool(extendable), bool(binary), values)
