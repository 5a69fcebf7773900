"""A process is told from every other one, and only what is known to be no more is taken for that."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from onnxsens.files import temporary_name
from onnxsens.leftovers import remove_stale
from onnxsens.processes import PROC, Process, began, of_pid, this_process

needs_proc = pytest.mark.skipif(not (PROC / "self/stat").exists(), reason="the system has no /proc")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place for temporary files of its own."""
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    return place


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that waits."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_a_mark_is_read_back() -> None:
    own = this_process()
    assert Process.of_mark(own.mark) == own
    assert own.pid == os.getpid()
    for text in ("", "onnxsens", own.mark + "0x", own.mark.replace("-", "_")):
        assert Process.of_mark(text) is None


@needs_proc
def test_a_process_is_gone_when_it_has_ended_even_unreaped(other: "subprocess.Popen[bytes]") -> None:
    mark = of_pid(other.pid)
    assert mark.started > 0
    assert not mark.is_gone()
    other.send_signal(signal.SIGKILL)
    for _ in range(1000):
        if began(other.pid) == 0:
            break
        time.sleep(0.01)
    assert mark.is_gone()
    other.wait()
    assert mark.is_gone()


@needs_proc
def test_a_pid_that_is_used_again_is_another_process() -> None:
    own = this_process()
    assert replace(own, started=own.started + 1).is_gone()
    assert not own.is_gone()


@needs_proc
def test_of_another_host_or_container_nothing_is_assumed() -> None:
    dead = replace(this_process(), started=1)
    assert dead.is_gone()
    assert replace(dead, boot="00000000").is_gone()
    assert not replace(dead, space=dead.space + 1).is_gone()
    assert not replace(dead, host="00000000").is_gone()
    assert not replace(dead, host="00000000", boot="00000000").is_gone()


def name_of(process: Process) -> str:
    return temporary_name().replace(this_process().mark, process.mark)


@needs_proc
def test_what_the_dead_left_is_removed_and_nothing_else(tmp_path: Path, temporary: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    dead, alive = replace(this_process(), started=1), this_process()
    gone = [run / f".{name_of(dead)}.part", run / f".{name_of(dead)}", temporary / name_of(dead)]
    kept = [
        run / f".{name_of(alive)}.part",
        run / f".{name_of(replace(dead, host='00000000'))}.part",
        run / "plan.json",
        run / ".other.part",
        run / f"{name_of(dead)}.part.txt",
        temporary / name_of(alive),
    ]
    for path in [*gone, *kept]:
        if path.suffix:
            path.write_bytes(b"1")
        else:
            path.mkdir()
            (path / "x").write_bytes(b"1")
    assert remove_stale([run]) == 3
    assert not [path for path in gone if path.exists()]
    assert [path for path in kept if not path.exists()] == []
    assert remove_stale([run, tmp_path / "none"]) == 0


@needs_proc
def test_no_link_is_followed_to_what_is_removed(tmp_path: Path, temporary: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "x").write_bytes(b"1")
    dead = replace(this_process(), started=1)
    (temporary / name_of(dead)).symlink_to(precious)
    (temporary / f".{name_of(dead)}.part").symlink_to(precious / "x")
    folder = temporary / name_of(dead)
    folder.mkdir()
    (folder / "link").symlink_to(precious)
    assert remove_stale([]) == 1
    assert (precious / "x").read_bytes() == b"1"
    assert not folder.exists()


@needs_proc
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives files away")
def test_what_belongs_to_another_user_is_left(temporary: Path) -> None:
    path = temporary / f".{name_of(replace(this_process(), started=1))}.part"
    path.write_bytes(b"1")
    os.chown(path, 12345, 12345)
    assert remove_stale([]) == 0
    assert path.exists()
