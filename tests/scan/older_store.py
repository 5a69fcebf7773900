"""A store of schema 4, as the version before checksums made it."""

import json
import sqlite3
from pathlib import Path

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
IDENTITY = {"model_sha256": "1f" * 32, "seed": "0", "onnxruntime": "1.0"}
MEASURED = (0, 256, 0.125, 0.01, 32.0, 8.0, 0.9, 0.775, 1, 1, 0.25, "suffix", None)


def make_older_store(folder: Path) -> Path:
    """Measured: two weights at one level, and one plan as a whole."""
    database = sqlite3.connect(folder / "scan.db")
    database.execute("PRAGMA journal_mode = WAL")
    database.executescript(SCHEMA)
    database.execute("INSERT INTO run VALUES (4, 'onnxsens 0', ?, '{}')", (json.dumps(IDENTITY),))
    database.execute("INSERT INTO metric VALUES ('kl', '')")
    database.execute("INSERT INTO lanes VALUES (2)")
    for weight in ("first", "head"):
        database.execute("INSERT INTO effect VALUES (?, 'effective', 256)", (weight,))
        database.execute("INSERT INTO route VALUES (?, 'suffix', 'split', 1, 'measured')", (weight,))
        database.execute(
            f"INSERT INTO point VALUES ('dense', ?, 'magnitude', 15, 'kl', 0.5, 0.5, 30, {', '.join('?' * 13)})",
            (weight, *MEASURED),
        )
    database.execute(f"INSERT INTO joint VALUES ('a', 'search', 'kl', {', '.join('?' * 13)}, NULL)", MEASURED)
    database.execute("INSERT INTO artefact VALUES ('plan.json', 'cc')")
    database.commit()
    database.close()
    return folder / "scan.db"
