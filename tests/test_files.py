"""The old file or the new one, never something between."""

import os
from pathlib import Path

import pytest

from onnxsens.errors import StorageError
from onnxsens.files import claim, prepare_directory, write_atomically


def failing_chunks() -> object:
    yield b"half"
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_atomically(path, [b"old"])
    with pytest.raises(StorageError, match="No space left on device"):
        write_atomically(path, failing_chunks())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> object:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", [b"1"])
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="is a file; name a folder"):
        prepare_directory(tmp_path / "out")


def test_claiming_refuses_what_is_there_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "x"
    claim(path, force=False)
    path.write_text("")
    with pytest.raises(StorageError, match="give --force"):
        claim(path, force=False)
    claim(path, force=True)
    with pytest.raises(StorageError, match="it is a folder"):
        claim(tmp_path, force=True)
    with pytest.raises(StorageError, match="does not exist; create it"):
        claim(tmp_path / "no" / "x", force=True)
