"""The old file or the new one, never something between."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxsens.errors import StorageError
from onnxsens.files import (
    TEMPORARY,
    TemporaryFolder,
    claim,
    prepare_directory,
    rename_durably,
    unnamed_file,
    write_atomically,
    write_scratch,
)
from tests.fault.oscalls import Calls

PACKAGE = Path(__file__).parent.parent / "onnxsens"


def failing_chunks() -> Iterator[bytes]:
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
    def interrupted() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_are_on_disk_before_the_name_is_and_the_name_before_it_returns(tmp_path: Path) -> None:
    with Calls(tmp_path) as calls:
        write_atomically(tmp_path / "x", [b"1" * 3_000_000, b"2"])
    assert calls.log == [
        "open *",
        "write *",
        "write *",
        "ftruncate *",
        "chmod *",
        "fsync *",
        "close *",
        "replace *",
        "fsync .",
    ]


def test_nobody_else_reads_what_is_half_written(tmp_path: Path) -> None:
    modes = []

    def looking() -> Iterator[bytes]:
        yield b"1" * 2_000_000
        modes.extend(path.stat().st_mode & 0o777 for path in tmp_path.iterdir())

    write_atomically(tmp_path / "x", looking())
    assert modes == [0o600]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", [b"1"])
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("lengths", [(0,), (1, 2, 3), (70_000, 1, 2_000_000, 5), (3, 1 << 20)])
def test_bytes_come_back_whether_they_are_zeros_or_not(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    chunks = [bytes([number % 2]) * length for number, length in enumerate(lengths)]
    for write in (write_atomically, write_scratch):
        write(tmp_path / "x", chunks)
        assert (tmp_path / "x").read_bytes() == b"".join(chunks)
        write(tmp_path / "x", chunks[:1])
        assert (tmp_path / "x").read_bytes() == chunks[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_only_a_plain_file_is_replaced(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "x", tmp_path / "other"
    other.write_bytes(b"precious")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other if kind == "link" else tmp_path / "none")
    words = {"folder": "a folder", "pipe": "a pipe"}.get(kind, "a symbolic link")
    with pytest.raises(StorageError, match=f"it is {words}; name a plain file"):
        write_atomically(path, [b"new"])
    assert other.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == [other, path]


def test_a_link_that_appears_while_it_is_written_is_refused_too(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"precious")

    def linking() -> Iterator[bytes]:
        yield b"new"
        (tmp_path / "x").symlink_to(other)

    with pytest.raises(StorageError, match="it is a symbolic link"):
        write_atomically(tmp_path / "x", linking())
    assert other.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == [other, tmp_path / "x"]


def test_a_folder_that_is_renamed_is_on_disk_with_all_that_is_in_it(tmp_path: Path) -> None:
    made = tmp_path / "made"
    (made / "in").mkdir(parents=True)
    (made / "in" / "x").write_bytes(b"1")
    with Calls(tmp_path) as calls:
        rename_durably(made, tmp_path / "final")
    assert [call for call in calls.log if not call.startswith(("open", "close"))] == [
        "fsync made/in",
        "fsync made/in/x",
        "fsync made",
        "replace made",
        "fsync .",
    ]
    assert (tmp_path / "final" / "in" / "x").read_bytes() == b"1"


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


def test_a_temporary_folder_is_private_and_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with TemporaryFolder(inside=tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert TEMPORARY.fullmatch(folder.name)
        write_scratch(folder / "x", [b"1"])
        assert (folder / "x").stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_nobody_removed_goes_at_the_end(tmp_path: Path) -> None:
    code = "from onnxsens.files import TemporaryFolder; kept = TemporaryFolder(); print(kept.path)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_fork_does_not_take_its_parents_temporary_folder_away(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom onnxsens.files import TemporaryFolder\nkept = TemporaryFolder()\n"
        "child = os.fork()\nif not child: sys.exit(0)\nos.waitpid(child, 0)\nprint(kept.path.is_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert done.stdout == "True\n"


def test_a_file_without_a_name_leaves_nothing(tmp_path: Path) -> None:
    with unnamed_file(tmp_path) as file:
        file.write(b"1")
        assert list(tmp_path.iterdir()) == []


# Who else may call what makes a file, and why.
ELSEWHERE = {
    "onnxsens/scan/lock.py": {"os.open", "os.fdopen"},  # a lock is taken on a file that is written in place
    "onnxsens/model/mapping.py": {"os.open", "os.fdopen"},  # to read, without following a link
    "onnxsens/plan/pickers/multiple_choice.py": {"os.open"},  # the null device
    "onnxsens/engine/serving.py": {"os.open", "write_text"},  # the null device, and a setting of the kernel's
    "onnxsens/cli/shell.py": {"os.open"},  # the null device
    "onnxsens/start.py": {"os.open", "open to write"},  # the null device
    "onnxsens/library/samples.py": {"open to write"},  # a member of an archive, which a file of `files` is
}
MAKING = {
    "os.open", "os.fdopen", "os.replace", "os.rename", "os.link", "os.symlink", "os.truncate", "tempfile.mkstemp",
    "tempfile.mkdtemp", "tempfile.TemporaryFile", "tempfile.NamedTemporaryFile", "tempfile.TemporaryDirectory",
    "tempfile.SpooledTemporaryFile", "shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move",
    "np.save", "np.savetxt", "onnx.save", "onnx.save_model", "sqlite3.connect",
}  # fmt: skip
METHODS = {"write_bytes", "write_text", "symlink_to", "hardlink_to", "touch", "tofile"}


def making_calls(path: Path) -> set[str]:
    """Calls that make a file or give it a name, as far as that can be seen."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in MAKING or name.rpartition(".")[2] in METHODS:
            found.add(name if name in MAKING else name.rpartition(".")[2])
        if name == "open" or name.endswith(".open"):
            modes = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "mode")]
            texts = [node.value for node in modes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            if any(re.fullmatch(r"[rwxabt+]*[wxa+][rwxabt+]*", text) for text in texts):
                found.add("open to write")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_one_module_writes_files(path: Path) -> None:
    name = str(path.relative_to(PACKAGE.parent))
    if name == "onnxsens/files.py" or path.name == "contract.py":  # the latter are tests for authors of plug-ins
        return
    found = making_calls(path) - ELSEWHERE.get(name, set())
    if name.startswith("onnxsens/scan/"):
        found -= {"sqlite3.connect"}
    assert found == set()


def test_the_search_for_writes_sees_them(tmp_path: Path) -> None:
    lines = ["path.write_text('')", "open(path, 'w')", "path.open(mode='ab')", "os.replace(a, b)", "tempfile.mkdtemp()"]
    (tmp_path / "a.py").write_text("\n".join([*lines, "open(path, 'rb')", "path.open()", "text.replace(a, b)"]))
    assert making_calls(tmp_path / "a.py") == {"write_text", "open to write", "os.replace", "tempfile.mkdtemp"}
