"""Paths that the system does not even look at, in every place that takes one: one line, no bug of ours."""

import errno
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from commands import ROOT

import onnxsens
from onnxsens.engine.serving import failed
from onnxsens.errors import EngineBugError, InputError, OnnxsensError, StorageError, about_path

MODEL = ROOT / "models/jv_gru1.onnx"
DATA = ROOT / "models/japanese_vowels_test.npz"
# PATH stands for the path, RUN for a run; with the code that it ends in: it cannot be read (3), or not written (4).
COMMANDS = {
    "inspect PATH": {3},
    "inspect PATH/model.onnx": {3},
    "auto MODEL -d PATH.npz --sparsity 0.5 -o out": {3},
    "auto MODEL -d PATH --sparsity 0.5 -o out": {3},
    "auto MODEL -d DATA --sparsity 0.5 -o PATH": {4},
    "auto MODEL -d DATA --sparsity 0.5 -o PATH/out": {4},
    "auto MODEL -d DATA --sparsity 0.5 -o out --checkpoint PATH": {3},
    "auto MODEL -d DATA --sparsity 0.5 -o out --config PATH": {2},
    "auto MODEL -d DATA --sparsity 0.5 -o out --save-config PATH": {4},
    "auto MODEL -d DATA --sparsity 0.5 -o out --metric PATH.py:score": {3},
    "auto MODEL -d DATA --sparsity 0.5 -o out --custom-op-lib PATH": {3},
    "scan MODEL -d DATA -o PATH": {4},
    "plan PATH --sparsity 0.5": {3},
    "plan RUN --sparsity 0.5 --model PATH": {3},
    "verify MODEL PATH -d DATA": {3},
    "apply MODEL PATH -o out.onnx": {3},
    "check PATH": {3},
    "apply MODEL RUN/plan.json -o PATH": {4},
    "report RUN -o PATH": {4},
    "curves RUN -o PATH": {4},
    "diff RUN RUN -o PATH": {4},
    "export RUN/plan.json --to json --model MODEL -o PATH": {4},
    "export RUN/plan.json --to json --model PATH -o out": {3},
    "map MODEL -o PATH": {4},
    "map MODEL --checkpoint PATH": {3},
    "map MODEL --checkpoint PATH/model.safetensors": {3},
    "report PATH": {3},
    "diff PATH PATH": {3},
    "curves PATH": {3},
    "export PATH --to json --model MODEL -o out.json": {3},
    "targets xnnpack PATH": {3},
}
# As the superuser one may enter every folder, unless that is given up first.
GIVE_UP = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search")


def ended(
    command: str, path: Path, place: Path, before: Sequence[str] = (), run: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it with `path` in its place."""
    words = [word.replace("MODEL", str(MODEL)).replace("DATA", str(DATA)) for word in command.split()]
    words = [word.replace("PATH", str(path)).replace("RUN", str(run)) for word in words]
    return subprocess.run(
        [*before, sys.executable, "-m", "onnxsens", *words],
        capture_output=True, text=True, cwd=place, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False, timeout=120,
    )  # fmt: skip


def is_told(done: subprocess.CompletedProcess[str], codes: set[int]) -> bool:
    """Whether it ended in one line, as such a path should."""
    errors = [line for line in done.stderr.splitlines() if not line.startswith(("note: ", "warning: "))]
    return (
        done.returncode in codes
        and len(errors) == 1
        and errors[0].startswith("error: ")
        and "bug of ours" not in errors[0]
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    options = "--sparsity 0.5 --scan-samples 64 --update none --search-metric kl -q -o run"
    done = ended(f"auto MODEL -d DATA {options}", folder, folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def shut(tmp_path: Path) -> tuple[Path, Sequence[str]]:
    """A folder that may not be entered, and what a command has to begin with so that this holds for it."""
    folder = tmp_path / "shut"
    folder.mkdir()
    folder.chmod(0)
    if os.geteuid():
        return folder, ()
    if shutil.which(GIVE_UP[0]) is None:
        pytest.skip("the superuser may enter every folder, and there is no setpriv")
    folder.chmod(0o700)
    os.chown(folder, 65534, 65534)
    tried = subprocess.run([*GIVE_UP, "ls", str(folder)], capture_output=True, check=False)
    if tried.returncode == 0:
        pytest.skip("the superuser may enter every folder here, whatever is given up")
    return folder, GIVE_UP


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_too_long_is_one_line(command: str, run: Path, tmp_path: Path) -> None:
    done = ended(command, tmp_path / ("n" * 300), tmp_path, run=run)
    assert is_told(done, COMMANDS[command]), (done.returncode, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_may_not_be_entered_is_one_line(
    command: str, shut: tuple[Path, Sequence[str]], run: Path, tmp_path: Path
) -> None:
    folder, before = shut
    done = ended(command, folder / "it", tmp_path, before, run)
    assert is_told(done, COMMANDS[command]), (done.returncode, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_link_that_leads_to_itself_is_one_line(command: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    done = ended(command, tmp_path / "loop", tmp_path, run=run)
    assert is_told(done, COMMANDS[command] | {3, 4}), (done.returncode, done.stderr)


def test_a_name_with_a_nul_is_one_line(run: Path, tmp_path: Path) -> None:
    """Which no shell can give, but a file of settings."""
    for command, option in (
        (f"report {run}", "out"),
        (f"apply {MODEL} {run}/plan.json", "out"),
        (f"auto {MODEL} -d {DATA} --sparsity 0.5", "out"),
        (f"auto {MODEL} -d {DATA} --sparsity 0.5 -o out", "checkpoint"),
        (f"plan {run} --sparsity 0.5", "model"),
    ):
        (tmp_path / "own.toml").write_text(f'{option} = "a\\u0000b"\n')
        done = ended(f"{command} --config own.toml", tmp_path, tmp_path)
        assert is_told(done, {2}) and "NUL" in done.stderr, (command, done.returncode, done.stderr)


def test_a_working_folder_that_is_gone_is_none_of_ours(run: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os, sys; os.rmdir({str(gone)!r}); sys.exit(__import__('onnxsens.start').start.main())"
    for command in (f"report {run} --format md -o -", f"curves {run}", f"diff {run} {run}"):
        gone.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", code, *command.split()],
            capture_output=True, text=True, cwd=gone, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and done.stdout, (command, done.stderr)


def calls(path: Path, run: Path) -> dict[str, Callable[[], object]]:
    """Every function of the library that takes a path, with one that cannot be used."""
    return {
        "apply": lambda: onnxsens.apply(MODEL, run / "plan.json", path),
        "auto": lambda: onnxsens.auto(MODEL, str(DATA), out=path),
        "check_run": lambda: onnxsens.check_run(path),
        "curves": lambda: onnxsens.curves(path),
        "diff": lambda: onnxsens.diff(run, path),
        "estimate": lambda: onnxsens.estimate(path, onnxsens.Options(str(DATA))),
        "export": lambda: onnxsens.export(run / "plan.json", MODEL, None, "json", path),
        "inspect": lambda: onnxsens.inspect(path),
        "map_model": lambda: onnxsens.map_model(MODEL, None, path),
        "open_plan": lambda: onnxsens.open_plan(path),
        "open_run": lambda: onnxsens.open_run(path),
        "plan": lambda: onnxsens.plan(path),
        "read_map": lambda: onnxsens.read_map(path),
        "read_plan": lambda: onnxsens.read_plan(path),
        "report": lambda: onnxsens.report(run, path),
        "scan": lambda: onnxsens.scan(MODEL, str(DATA), out=path),
        "verify": lambda: onnxsens.verify(MODEL, path, str(DATA)),
    }


FUNCTIONS = [name for name in onnxsens.__all__ if inspect.isfunction(getattr(onnxsens, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_library_says_the_same(name: str, run: Path, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / ("n" * 300), tmp_path / ("n" * 300) / "deeper", tmp_path / "loop", tmp_path / "a\0b"):
        with pytest.raises(OnnxsensError) as told:
            calls(path, run)[name]()
        assert "\n" not in str(told.value) and not isinstance(told.value, EngineBugError)


@pytest.mark.parametrize(
    ("number", "name", "kind", "said"),
    [
        (errno.ENOSPC, None, StorageError, "the result cannot be written: .*; make room"),
        (errno.EDQUOT, "x", StorageError, "'x' cannot be written: .*; make room"),
        (errno.EROFS, "x", StorageError, "'x' cannot be read or written: .*; check the disk"),
        (errno.EIO, None, StorageError, "the result cannot be read or written: .*; check the disk"),
        (errno.EACCES, "x", InputError, "'x' cannot be used: .*; check the path"),
        (errno.ENAMETOOLONG, b"x", InputError, "'b'x'' cannot be used: .*; check the path"),
    ],
)
def test_what_the_system_says_is_told_by_kind(number: int, name: object, kind: type, said: str) -> None:
    told = about_path(OSError(number, os.strerror(number), name))
    assert type(told) is kind and re.fullmatch(f"{said}.*", str(told))
    assert failed(OSError(number, os.strerror(number), name)).kind is kind  # in a worker


def test_what_is_no_matter_of_paths_is_none() -> None:
    for error in (OSError(errno.ENOENT, "no", "x"), OSError(errno.EACCES, "no"), ValueError("other"), KeyError("x")):
        assert about_path(error) is None


def test_a_plan_may_name_a_file_that_no_system_takes(tmp_path: Path) -> None:
    done = ended("auto MODEL -d DATA --sparsity 0.5 -o out --scan-samples 64", tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "out/plan.json"
    plan = json.loads(path.read_text())
    for name in ("n" * 300, "n\0.safetensors"):
        plan["changes"]["file"] = name
        path.write_text(json.dumps(plan))
        done = ended("apply MODEL PATH -o again.onnx", path, tmp_path)
        assert is_told(done, {3}) and "is not there" in done.stderr, done.stderr
