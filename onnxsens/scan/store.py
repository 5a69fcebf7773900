"""`scan.db`: one row a measured block of samples, written as it is made, so that nothing measured is measured again.

SQLite, every commit on disk before it counts, every row with a checksum. Knows records and numbers, no engine.
"""

import contextlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from onnxsens.engine.questions import DENSE, Answer, Change, Effect, Measurement, Route, SplitName
from onnxsens.errors import InputError, RunMismatchError, StorageError
from onnxsens.files import sha256_of
from onnxsens.scan.identity import advice, describe, differing, is_identity, refuse_unacceptable, unrecorded
from onnxsens.scan.ledger import Block
from onnxsens.scan.lock import FolderLock
from onnxsens.scan.opening import in_transaction, open_database
from onnxsens.scan.prediction import PredictedCurve
from onnxsens.scan.soundness import UNREADABLE, one_line
from onnxsens.scan.tables import FILE, HISTORY, RUN, SCHEMA_VERSION, TABLES
from onnxsens.strict_json import read_json

__all__ = ["FILE", "Store"]

UNFINISHED = ""  # in the place of a SHA-256: the file may be there or not, whole or old
MEASURED = "samples, total, squares, dense, pruned, extendable, binary"


class Store:
    """The measurements of one run folder, held by one process at a time.

    Args:
        folder: the run folder; it must exist.
        identity: what a run is made from, field by field; another value of any field is refused.
        settings: what was asked for, for people and for `plan`; not compared.
        made_by: program and version.
        say: told what was damaged and mended, and what else is not as usual.
        accept: soft fields of the identity that may have other values than the folder's run.

    Raises:
        UsageError: a field that cannot be accepted.
        RunMismatchError: the folder holds a run made from something else.
        StoreInUseError: another process works in it.
        StorageError: it cannot be read or written.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, str],
        settings: Mapping[str, object],
        made_by: str,
        *,
        say: Callable[[str], None] = lambda text: None,
        accept: Collection[str] = (),
    ) -> None:
        refuse_unacceptable(accept)
        self.path = folder / FILE
        self._lock = FolderLock(folder)
        try:
            with self._errors():
                self._db = open_database(self.path, say)
                self._identify(identity, settings, made_by, say, accept)
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
        self._insert("metric", [(name, digest) for name, digest in digests.items() if name not in known])

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

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[None]:
        """Around whatever writes a file of this run: ended in the middle, it is still ours to overwrite."""
        self.put_artefact(path.name, UNFINISHED)
        yield
        self.put_artefact(path.name, sha256_of(path))

    def put_artefact(self, name: str, sha256: str) -> None:
        """Keep what was written."""
        self._insert("artefact", [(name, sha256)])

    def accepted(self) -> list[str]:
        """Changes of the identity that were accepted, each with both values; oldest first."""
        return [text for (text,) in self._rows("SELECT accepted FROM history WHERE accepted <> '' ORDER BY number")]

    def _identify(
        self,
        identity: Mapping[str, str],
        settings: Mapping[str, object],
        made_by: str,
        say: Callable[[str], None],
        accept: Collection[str],
    ) -> None:
        """Write down what the run is made from, or compare it with what is written."""
        rows = self._rows("SELECT identity, settings FROM run")
        if not rows:
            self._write_identity(made_by, identity, json.dumps(settings), "")
            return
        stored = read_json(rows[0][0], halves=True)
        if not is_identity(stored):
            raise InputError(f"'{self.path}' does not say what its run was made from; choose another folder")
        silent = unrecorded(stored, identity)
        changed = differing(stored, identity)
        refused = [field for field in changed if field not in silent and field not in accept]
        if refused:
            raise RunMismatchError(
                f"'{self.path.parent}' holds a run made with {describe(refused, stored, identity)}; {advice(refused)}"
            )
        if changed:
            accepted = describe(changed, stored, identity)
            say(f"'{self.path.parent}' goes on with a run made with {accepted}")
            self._write_identity(made_by, identity, rows[0][1], accepted)

    def _write_identity(self, made_by: str, identity: Mapping[str, str], settings: str, accepted: str) -> None:
        """In one transaction with a row of the history, which has a second copy of it."""
        text = json.dumps(identity)
        [(last,)] = self._rows("SELECT coalesce(max(number), 0) FROM history")

        def write() -> None:
            self._db.execute("DELETE FROM run")
            self._db.execute(RUN.insertion, RUN.sealed((SCHEMA_VERSION, made_by, text, settings)))
            self._db.execute(HISTORY.insertion, HISTORY.sealed((last + 1, made_by, text, settings, accepted)))

        with self._errors():
            in_transaction(self._db, write)

    def _insert(self, name: str, rows: Sequence[tuple[object, ...]]) -> None:
        if not rows:
            return
        table = TABLES[name]
        sealed = [table.sealed(row) for row in rows]
        with self._errors():
            in_transaction(self._db, lambda: self._db.executemany(table.insertion, sealed))

    def _rows(self, query: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        with self._errors():
            return self._db.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise StorageError(
                f"'{self.path}' cannot be used: {one_line(error)}; what was measured before is kept, "
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
    samples, *sums, extendable, binary, drops = row
    total, squares, dense, pruned = (math.nan if each is None else each for each in sums)  # SQLite has no NaN
    values = None if drops is None else np.frombuffer(drops, dtype="<f8")
    return Measurement(samples, total, squares, dense, pruned, bool(extendable), bool(binary), values)
