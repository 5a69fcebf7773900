"""A store on disk: sealed row by row, mended where it was damaged, taken over from older versions, held by one."""

import errno
import json
import math
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxsens.engine.questions import Answer, Change, Measurement, Route
from onnxsens.errors import InputError, RunMismatchError, StorageError, StoreInUseError, UsageError
from onnxsens.files import write_atomically
from onnxsens.processes import this_process
from onnxsens.scan import Store, identity, lock, opening, volumes
from onnxsens.scan.examining import StoreReport, examine
from onnxsens.scan.identity import SOFT, cpu_features
from onnxsens.scan.lock import FolderLock
from onnxsens.scan.opening import open_database
from onnxsens.scan.settings import read_settings
from onnxsens.scan.tables import HISTORY, RUN, TABLES
from tests.scan.older_store import IDENTITY, make_older_store

SETTINGS = {"model": "m.onnx", "scan_samples": 100}
ROOT = Path(__file__).parent.parent.parent


def open_store(folder: Path, notes: list[str] | None = None, accept: tuple[str, ...] = (), **changes: str) -> Store:
    say: Callable[[str], None] = [].append if notes is None else notes.append
    return Store(folder, IDENTITY | changes, SETTINGS, "a test", say=say, accept=accept)


def measured(store: Store, weight: str = "first", *, total: float = 1.5, metric: str = "kl") -> None:
    answer = Answer({metric: Measurement(100, total, 2.5, 0.9, 0.8)}, {}, 0.1, "suffix")
    store.put_point(Change(weight, "magnitude", 0.5), 15, 30, 0, answer)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A run folder with two points, their routes, and a plan."""
    with open_store(tmp_path) as store:
        store.claim_metrics({"kl": "", "mine.py:score": "aa"})
        for weight in ("first", "head"):
            store.keep(weight, Route("suffix", "split", exact=True, why="measured"))
            measured(store, weight)
        store.put_artefact("plan.json", "cc")
    return tmp_path


def change(folder: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(folder / "scan.db")
    database.execute(statement, values)
    database.commit()
    database.close()


def overwrite(folder: Path, at: int, content: bytes) -> bytes:
    """Put other bytes into the file; what it was before."""
    path = folder / "scan.db"
    before = path.read_bytes()
    path.write_bytes(before[:at] + content + before[at + len(content) :])
    return before


class TestRows:
    @pytest.mark.parametrize("value", [0.1, -0.0, 3.0, 1e-320, math.inf, -math.inf, math.nan, 2.0**70])
    def test_have_a_checksum_that_holds_for_any_number_when_they_are_read_again(
        self, tmp_path: Path, value: float
    ) -> None:
        notes: list[str] = []
        with open_store(tmp_path) as store:
            measured(store, total=value)
        open_store(tmp_path, notes).close()
        assert notes == []
        assert examine(tmp_path / "scan.db").bad_rows == {}

    def test_keep_a_number_to_the_bit(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).normal(size=50) * 10.0 ** np.arange(-25, 25)
        with open_store(tmp_path) as store:
            for number, value in enumerate(values):
                measured(store, f"w{number}", total=float(value))
        with open_store(tmp_path) as store:
            points = store.points("magnitude")
        assert [points[f"w{number}", 15][0][1].measured.total for number in range(50)] == values.tolist()

    def test_that_are_put_again_are_there_once(self, filled: Path) -> None:
        with open_store(filled) as store:
            measured(store)
            measured(store)
        assert examine(filled / "scan.db").rows["point"] == 2

    @pytest.mark.parametrize("name", list(TABLES))
    def test_of_every_table_are_seen_to_be_changed(self, name: str) -> None:
        table = TABLES[name]
        values = {"INTEGER": 3, "REAL": 0.5, "TEXT": "text", "BLOB": b"bytes"}
        row = table.sealed([values[kind] for kind in table.types])
        assert table.is_sound(row)
        for place, value in enumerate(row[:-1]):
            for other in (None, 4, 0.25, "tex", b"bytes2", value * 2 if value != "text" else 3):
                assert not table.is_sound((*row[:place], other, *row[place + 1 :]))
        assert not table.is_sound(row[:-1])
        assert not table.is_sound((*row[:-1], row[-1] ^ 1))
        assert not any(other.is_sound(row) for other in TABLES.values() if other is not table)

    def test_that_were_changed_are_dropped_with_a_word_and_measured_again(self, filled: Path) -> None:
        change(filled, "UPDATE point SET total = 1.25 WHERE weight = 'first'")
        assert examine(filled / "scan.db").bad_rows == {"point": 1}
        notes: list[str] = []
        with open_store(filled, notes) as store:
            assert [weight for weight, _ in store.points("magnitude")] == ["head"]
            measured(store)
        assert len(notes) == 1
        assert "1 rows are not what was written; they are dropped, and made again" in notes[0]
        open_store(filled, notes).close()
        assert len(notes) == 1

    @pytest.mark.parametrize(
        ("statement", "left"),
        [
            ("UPDATE metric SET source_sha256 = 'x' WHERE name = 'kl'", []),
            ("UPDATE metric SET source_sha256 = 'x' WHERE name <> 'kl'", ["first", "head"]),
            ("UPDATE route SET way = 'input' WHERE weight = 'head'", ["first"]),
        ],
    )
    def test_go_with_what_says_how_they_came_about(self, filled: Path, statement: str, left: list[str]) -> None:
        change(filled, statement)
        with open_store(filled) as store:
            assert [weight for weight, _ in store.points("magnitude")] == left

    def test_that_say_what_the_run_was_made_from_have_a_second_copy(self, filled: Path) -> None:
        change(filled, "UPDATE run SET settings = '{\"scan_samples\": 1}'")
        assert read_settings(filled) == SETTINGS
        notes: list[str] = []
        with open_store(filled, notes) as store:
            assert len(store.points("magnitude")) == 2
        assert "is kept as 'scan.db.damaged-1'" in notes[0]
        assert read_settings(filled) == SETTINGS

    def test_are_not_used_where_nothing_says_what_they_were_made_from(self, filled: Path) -> None:
        change(filled, "UPDATE run SET identity = '{}'")
        change(filled, "UPDATE history SET identity = '{}'")
        with pytest.raises(InputError, match="what it was made from is damaged"):
            read_settings(filled)
        before = (filled / "scan.db").read_bytes()
        notes: list[str] = []
        with open_store(filled, notes) as store:
            assert store.points("magnitude") == {}
        assert "nothing sound in it says what it was made from, so the run starts anew" in notes[0]
        assert (filled / "scan.db.damaged-1").read_bytes() == before


class TestDamagedFiles:
    @pytest.mark.parametrize("at", [0, 18, 100, 4096])
    def test_are_kept_and_what_is_sound_in_them_is_used(self, filled: Path, at: int) -> None:
        before = overwrite(filled, at, b"\xff" * 8)
        damaged = (filled / "scan.db").read_bytes()
        notes: list[str] = []
        with open_store(filled, notes) as store:
            found = store.points("magnitude")
        assert (filled / "scan.db.damaged-1").read_bytes() == damaged != before
        assert [note.splitlines() for note in notes] == [[notes[0]]]
        assert set(found) <= {("first", 15), ("head", 15)}
        assert all(block.measured.total == 1.5 for blocks in found.values() for _, block in blocks)

    def test_without_a_header_lose_nothing(self, filled: Path) -> None:
        overwrite(filled, 0, b"SQLite vormat 3\0")
        with open_store(filled) as store:
            assert len(store.points("magnitude")) == 2
            assert store.artefacts() == {"plan.json": "cc"}

    def test_that_are_no_databases_are_set_aside_each_under_its_own_name(self, tmp_path: Path) -> None:
        for number, content in enumerate([b"this is not a database" * 40, b"x"], start=1):
            (tmp_path / "scan.db").write_bytes(content)
            notes: list[str] = []
            open_store(tmp_path, notes).close()
            assert f"'scan.db.damaged-{number}'" in notes[0]
            assert (tmp_path / f"scan.db.damaged-{number}").read_bytes() == content

    def test_that_ended_before_they_said_what_they_are_of_are_new(self, tmp_path: Path) -> None:
        open_database(tmp_path / "scan.db", print).close()
        notes: list[str] = []
        open_store(tmp_path, notes).close()
        assert notes == []
        assert [path.name for path in tmp_path.glob("*damaged*")] == []

    def test_whose_description_is_no_text_are_told_of_in_text(self, filled: Path) -> None:
        content = (filled / "scan.db").read_bytes()
        place = content.index(b"CREATE TABLE point (") + len("CREATE TABLE point (")
        overwrite(filled, place, b"\x82\x1b(")
        assert examine(filled / "scan.db").damage.isprintable()
        notes: list[str] = []
        open_store(filled, notes).close()
        assert len(notes) == 1
        assert notes[0].isprintable()

    @pytest.mark.parametrize("left", [b"", None])
    def test_whose_log_alone_is_left_keep_it(self, tmp_path: Path, left: bytes | None) -> None:
        (tmp_path / "scan.db-wal").write_bytes(b"all that was measured")
        if left is not None:
            (tmp_path / "scan.db").write_bytes(left)
        notes: list[str] = []
        open_store(tmp_path, notes).close()
        assert (tmp_path / "scan.db.damaged-1-wal").read_bytes() == b"all that was measured"
        assert "it is kept as 'scan.db.damaged-1-wal'" in notes[0]

    @pytest.mark.parametrize(
        "change",
        [
            "CREATE TRIGGER t AFTER INSERT ON point BEGIN DELETE FROM point; END",
            "CREATE VIEW v AS SELECT * FROM point",
            "CREATE INDEX i ON point (weight)",
        ],
    )
    def test_with_what_acts_by_itself_are_damaged(self, filled: Path, change: str) -> None:
        database = sqlite3.connect(filled / "scan.db")
        database.execute(change)
        database.commit()
        database.close()
        assert "ours have none" in examine(filled / "scan.db").damage
        notes: list[str] = []
        with open_store(filled, notes) as store:
            assert len(store.points("magnitude")) == 2, "rows are as sound as they were"
        assert "scan.db.damaged-1" in notes[0]

    @pytest.mark.parametrize(
        "other", ["CREATE VIEW lanes AS SELECT 1 AS batches, 2 AS checksum", "CREATE TABLE lanes (rowid TEXT)"]
    )
    def test_with_something_else_for_a_table_are_salvaged(self, filled: Path, other: str) -> None:
        database = sqlite3.connect(filled / "scan.db")
        database.execute("DROP TABLE lanes")
        database.execute(other)
        if "TABLE" in other:
            database.execute("INSERT INTO lanes VALUES ('x')")
        database.commit()
        database.close()
        with open_store(filled, []) as store:
            assert len(store.points("magnitude")) == 2

    def test_with_values_of_other_types_than_their_columns_drop_these(self, filled: Path) -> None:
        database = sqlite3.connect(filled / "scan.db")
        table = TABLES["artefact"]
        database.execute(table.insertion, table.sealed((b"blob", "cc")))
        database.commit()
        database.close()
        with open_store(filled, notes := []) as store:
            assert store.artefacts() == {"plan.json": "cc"}
        assert "1 rows are not what was written" in notes[0]

    def test_that_are_empty_are_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "scan.db").write_bytes(b"")
        notes: list[str] = []
        open_store(tmp_path, notes).close()
        assert notes == [f"'{tmp_path / 'scan.db'}' was empty, so the run starts anew"]

    def test_with_an_index_that_tells_otherwise_than_its_table_are_seen(self, filled: Path) -> None:
        content = (filled / "scan.db").read_bytes()
        places = [at for at in range(len(content)) if content.startswith(b"densefirstmagnitude", at)]
        assert len(places) == 2  # in the table and in the index
        other = filled / "scan.db"
        for place in places:
            other.write_bytes(content[:place] + b"densefirsu" + content[place + 10 :])
            notes: list[str] = []
            with open_store(filled, notes) as store:
                assert ("firsu", 15) not in store.points("magnitude")
            assert len(notes) == 1

    def test_that_are_links_are_refused(self, filled: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        (elsewhere / "scan.db").symlink_to(filled / "scan.db")
        with pytest.raises(StorageError, match="it is a symbolic link; name a plain file"):
            open_store(elsewhere)


class TestOlderStores:
    def test_are_taken_over_after_a_backup(self, tmp_path: Path) -> None:
        path = make_older_store(tmp_path)
        notes: list[str] = []
        with open_store(tmp_path, notes) as store:
            assert set(store.points("magnitude")) == {("first", 15), ("head", 15)}
            assert store.points("magnitude")["first", 15][0][1].measured.total == 32.0
            assert store.known("head") == Route("suffix", "split", exact=True, why="measured")
            assert store.artefacts() == {"plan.json": "cc"}
        assert notes == [f"'{path}' had schema 4 and has 5 now; as it was it is kept as 'scan.db.v4.bak'"]
        assert examine(tmp_path / "scan.db").bad_rows == {}
        backup = sqlite3.connect(tmp_path / "scan.db.v4.bak")
        assert backup.execute("SELECT schema_version FROM run").fetchall() == [(4,)]
        assert backup.execute("SELECT count(*) FROM point").fetchall() == [(2,)]
        backup.close()
        open_store(tmp_path, notes).close()
        assert len(notes) == 1

    def test_may_lack_what_was_not_written_down_then(self, tmp_path: Path) -> None:
        make_older_store(tmp_path)
        notes: list[str] = []
        with open_store(tmp_path, notes, cpu="x86_64 avx2") as store:
            assert store.accepted() == ["another processor (nothing there, x86_64 avx2 now)"]
        assert "goes on with a run made with another processor" in notes[1]

    @pytest.mark.parametrize("version", [1, 3])
    def test_from_before_that_are_not_touched(self, tmp_path: Path, version: int) -> None:
        path = make_older_store(tmp_path)
        change(tmp_path, "UPDATE run SET schema_version = ?", version)
        before = path.read_bytes()
        with pytest.raises(RunMismatchError, match=f"has schema {version}, .* reads 4 to 5; use another"):
            open_store(tmp_path)
        assert path.read_bytes() == before

    def test_that_are_damaged_are_set_aside(self, tmp_path: Path) -> None:
        make_older_store(tmp_path)
        overwrite(tmp_path, 4096 * 3, bytes(4096))
        notes: list[str] = []
        open_store(tmp_path, notes).close()
        assert "so the run starts anew" in notes[0]
        assert (tmp_path / "scan.db.damaged-1").exists()


class TestIdentity:
    def test_a_soft_field_can_be_accepted_and_is_remembered(self, filled: Path) -> None:
        pattern = r"made with another onnxruntime \(1\.0 there, 2\.0 now\); use another folder, or go on with it by "
        with pytest.raises(RunMismatchError, match=pattern + "--accept-changed onnxruntime$"):
            open_store(filled, onnxruntime="2.0")
        notes: list[str] = []
        with open_store(filled, notes, ("onnxruntime", "cpu"), onnxruntime="2.0") as store:
            assert store.accepted() == ["another onnxruntime (1.0 there, 2.0 now)"]
            assert len(store.points("magnitude")) == 2
        assert len(notes) == 1
        with open_store(filled, notes, onnxruntime="2.0") as store:
            assert len(store.accepted()) == 1
        assert examine(filled / "scan.db").accepted == ("another onnxruntime (1.0 there, 2.0 now)",)
        assert examine(filled / "scan.db").identity["onnxruntime"] == "2.0"

    def test_a_hard_field_beside_it_leaves_only_another_folder(self, filled: Path) -> None:
        with pytest.raises(
            RunMismatchError, match=r"another --seed .* and another onnxruntime .*; use another folder$"
        ):
            open_store(filled, onnxruntime="2.0", seed="1")
        with pytest.raises(RunMismatchError, match="another --seed"):
            open_store(filled, None, ("onnxruntime",), onnxruntime="2.0", seed="1")

    @pytest.mark.parametrize(("field", "why"), [("seed", "measurements depend on it"), ("sede", "has no such field")])
    def test_only_soft_fields_are_accepted(self, tmp_path: Path, field: str, why: str) -> None:
        with pytest.raises(UsageError, match=f"--accept-changed '{field}' cannot be: .*{why}.*{SOFT[0]}"):
            open_store(tmp_path, None, (field,))
        assert list(tmp_path.iterdir()) == []

    def test_the_processor_is_named_by_what_kernels_are_chosen_by(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "info").write_text("processor: 0\nflags\t\t: fpu avx2 avx mmx\nflags: never\n")
        monkeypatch.setattr(identity, "CPU_INFO", tmp_path / "info")
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        assert cpu_features.__wrapped__() == "x86_64 avx avx2"
        monkeypatch.setattr(identity, "CPU_INFO", tmp_path / "none")
        assert cpu_features.__wrapped__() == "x86_64"


class TestLock:
    def test_a_second_one_is_told_who_where_and_since_when(self, tmp_path: Path) -> None:
        with open_store(tmp_path):
            pattern = (
                rf"in use by process {os.getpid()} on host \S+ since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \(UTC\); wait"
            )
            with pytest.raises(StoreInUseError, match=pattern):
                open_store(tmp_path)
        assert (tmp_path / ".lock").read_bytes() == b""

    def test_a_dead_holders_is_taken_over(self, tmp_path: Path) -> None:
        code = (
            "import os, sys, pathlib\nfrom onnxsens.scan.lock import FolderLock\n"
            "kept = FolderLock(pathlib.Path(sys.argv[1]))\nos.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, tmp_path], check=False, cwd=ROOT)
        assert json.loads((tmp_path / ".lock").read_text())["pid"] > 0
        open_store(tmp_path).close()

    def other_hosts(self, folder: Path) -> None:
        own = this_process()
        text = {"pid": 7, "host": "elsewhere", "since": "then", "process": own.mark.replace(own.host, "00000000")}
        (folder / ".lock").write_text(json.dumps(text))

    def test_another_hosts_is_respected_where_the_system_may_not_see_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.other_hosts(tmp_path)
        monkeypatch.setattr(lock, "is_remote", lambda folder: True)
        with pytest.raises(
            StoreInUseError, match=r"by process 7 on host elsewhere since then \(UTC\); if it is no more"
        ):
            open_store(tmp_path)
        (tmp_path / ".lock").unlink()
        open_store(tmp_path).close()

    def test_another_hosts_is_taken_over_on_a_disk_of_our_own(self, tmp_path: Path) -> None:
        self.other_hosts(tmp_path)
        open_store(tmp_path).close()

    @pytest.mark.parametrize(
        "text", [b"", b"12", b"[]", b'{"pid": "\\u001b[2J' + b"x" * 100 + b'"}', b"\xff\x00", b"[" * 1999]
    )
    def test_whatever_is_in_the_file_the_message_is_one_plain_line(self, tmp_path: Path, text: bytes) -> None:
        held = FolderLock(tmp_path)
        (tmp_path / ".lock").write_bytes(text)
        with pytest.raises(StoreInUseError) as raised:
            open_store(tmp_path)
        held.release()
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 300 + len(str(tmp_path))

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_bytes(b"1")
        (tmp_path / ".lock").symlink_to(tmp_path / "precious")
        with pytest.raises(StorageError, match="symbolic link"):
            open_store(tmp_path)
        assert (tmp_path / "precious").read_bytes() == b"1"

    def test_a_file_system_without_locks_is_no_one_elses_lock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(file: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(lock, "take", refuse)
        with pytest.raises(StorageError, match="cannot be locked: No locks available"):
            open_store(tmp_path)


class TestSharedFolders:
    MOUNTS = (
        "36 35 {device} / /mnt/a rw,noatime shared:1 - {kind} server:/a rw\n"
        "40 35 999:1 / /mnt/b rw - nfs4 server:/b rw\n"
    )

    @pytest.mark.parametrize(
        ("kind", "remote"),
        [("nfs4", True), ("cifs", True), ("fuse.sshfs", True), ("fuse", True), ("fuseblk", False), ("ext4", False)],
    )
    def test_are_told_by_their_file_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, remote: bool
    ) -> None:
        device = tmp_path.stat().st_dev
        text = self.MOUNTS.format(device=f"{os.major(device)}:{os.minor(device)}", kind=kind)
        (tmp_path / "mounts").write_text(text)
        monkeypatch.setattr(volumes, "MOUNTS", tmp_path / "mounts")
        assert volumes.is_remote(tmp_path) is remote

    def test_have_a_store_without_a_log_and_are_told_of(self, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(opening, "is_remote", lambda folder: True)
        notes: list[str] = []
        with open_store(filled, notes) as store:
            measured(store, "third")
            assert not (filled / "scan.db-wal").exists()
            assert store._db.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
            assert store._db.execute("PRAGMA synchronous").fetchall() == [(2,)]
        assert len(notes) == 1
        assert "has no write-ahead log" in notes[0]

    def test_a_disk_of_our_own_has_a_log_that_reaches_the_disk(self, filled: Path) -> None:
        with open_store(filled) as store:
            assert store._db.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
            assert store._db.execute("PRAGMA synchronous").fetchall() == [(2,)]


class TestExamining:
    def test_tells_all_and_changes_nothing(self, filled: Path) -> None:
        before = {path.name: path.read_bytes() for path in filled.iterdir()}
        found = examine(filled / "scan.db")
        rows = {name: found.rows[name] for name in ("point", "route", "metric", "run", "history", "joint")}
        assert rows == {"point": 2, "route": 2, "metric": 2, "run": 1, "history": 1, "joint": 0}
        assert (found.schema_version, found.bad_rows, found.damage) == (5, {}, "")
        assert (found.identity, found.settings, found.artefacts) == (IDENTITY, SETTINGS, {"plan.json": "cc"})
        assert before == {path.name: path.read_bytes() for path in filled.iterdir()}

    def test_sees_what_a_run_at_work_has_committed(self, filled: Path) -> None:
        with open_store(filled) as store:
            measured(store, "third")
            files = {path.name: path.stat().st_mtime_ns for path in filled.iterdir()}
            assert examine(filled / "scan.db").rows["point"] == 3
            assert {path.name: path.stat().st_mtime_ns for path in filled.iterdir()} == files

    def test_tells_of_an_older_store_as_it_is(self, tmp_path: Path) -> None:
        found = examine(make_older_store(tmp_path))
        assert (found.schema_version, found.bad_rows, found.damage) == (4, {}, "")
        assert found.rows["point"] == 2
        assert found.identity == IDENTITY

    @pytest.mark.parametrize("content", [b"", b"x", b"no database" * 400])
    def test_tells_of_what_is_no_store(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "scan.db").write_bytes(content)
        found = examine(tmp_path / "scan.db")
        assert found == StoreReport(0, {}, {}, found.damage, {}, {}, {})
        assert len(found.damage.splitlines()) == 1

    def test_a_missing_store_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"there is no '.*scan\.db'; make a run"):
            examine(tmp_path / "scan.db")


def test_a_newer_store_that_a_newer_version_sealed_is_told_from_a_damaged_one(filled: Path) -> None:
    """One bit of the version is damage, and another version is not."""
    change(filled, "UPDATE run SET schema_version = 6")
    notes: list[str] = []
    open_store(filled, notes).close()
    assert "is kept as 'scan.db.damaged-1'" in notes[0]
    row = RUN.sealed((6, "a test", json.dumps(IDENTITY), "{}"))
    change(filled, "DELETE FROM run")
    change(filled, RUN.insertion, *row)
    with pytest.raises(RunMismatchError, match=r"has schema 6, .*; update onnxsens"):
        open_store(filled)


def test_history_and_run_say_the_same(filled: Path) -> None:
    database = sqlite3.connect(filled / "scan.db")
    [run] = database.execute("SELECT made_by, identity, settings FROM run").fetchall()
    [history] = database.execute("SELECT made_by, identity, settings FROM history").fetchall()
    database.close()
    assert run == history
    assert HISTORY.names[1:4] == RUN.names[1:]


def test_a_run_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    write_atomically(tmp_path / "scan.db", [b""])
    (tmp_path / ".lock").mkdir()
    with pytest.raises(StorageError, match=r"\.lock': it is a folder"):
        open_store(tmp_path)
