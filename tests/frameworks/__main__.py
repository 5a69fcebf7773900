"""Run the tests of the source frameworks, each in an environment of its own: `python -m tests.frameworks`.

From the repository's root. Frameworks want versions of shared packages that exclude each other, and none is needed to
use onnxsens; so each gets a virtual environment, made here. Exit code 0: every test ran and passed. A test that is
skipped has not run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXAMPLE = "test_fine_tuning.py::test_the_example_runs_and_keeps_its_zeros"
TESTS = {
    "torch": ("test_*_torch.py", "test_exporters_coreml.py", f"{EXAMPLE}[PyTorch]"),
    "tf": ("test_*_keras.py", "test_*_tf.py", f"{EXAMPLE}[Keras]"),
    "jax": ("test_*_jax.py", f"{EXAMPLE}[JAX]"),
    "paddle": ("test_*_paddle.py",),
    "compressors": ("test_exporters_compressors.py",),
}
"""The tests of each framework: patterns of files, and single tests of files that are for several."""

PYTEST = "pytest==9.2.0"  # pinned as what it runs is: a new one brings new warnings, which are errors here


@dataclass(frozen=True)
class Row:
    """What became of one framework's tests. `trouble`: empty when all is well. `trips`: a line on each round trip."""

    framework: str
    passed: int
    failed: int
    skipped: int
    seconds: float
    trouble: str
    trips: tuple[str, ...] = ()

    def line(self) -> str:
        """For the summary."""
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        return f"{self.framework}: {counts}, {self.seconds:.0f} s" + (f": {self.trouble}" if self.trouble else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the environments, run the tests, and say whether all was well."""
    options = parsed(arguments)
    with folder(options.environments) as environments:
        rows = [tested(framework, environments / framework, options.pytest) for framework in options.framework]
    for row in rows:
        said("\n".join([f"\n{row.framework}", *row.trips]))
    said("")
    for row in rows:
        said(row.line())
    return 1 if any(row.trouble for row in rows) else 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; what stands after `--` is for pytest."""
    listed = list(sys.argv[1:] if arguments is None else arguments)
    cut = listed.index("--") if "--" in listed else len(listed)
    parser = argparse.ArgumentParser(
        prog="python -m tests.frameworks",
        usage="%(prog)s [-h] [--environments DIR] [{torch,tf,jax,paddle,compressors} ...] [-- ARGUMENTS OF PYTEST]",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("framework", nargs="*", help=f"{', '.join(TESTS)}; default: all")
    kept = "keep the environments in this folder, and use those that are there"
    parser.add_argument("--environments", type=Path, metavar="DIR", help=kept)
    options = parser.parse_args(listed[:cut])
    options.framework = options.framework or list(TESTS)
    for name in options.framework:
        if name not in TESTS:
            parser.error(f"'{name}' is not a framework; choose from {', '.join(TESTS)}")
    options.pytest = listed[cut + 1 :]
    return options


@contextmanager
def folder(kept: Path | None) -> Iterator[Path]:
    """Where the environments are made: the folder to keep, or one that goes away."""
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="frameworks-") as made:
            yield Path(made)


def tested(framework: str, environment: Path, arguments: Sequence[str]) -> Row:
    """Install the framework where it is not, and run its tests."""
    started = time.monotonic()
    report = environment / "tests.xml"
    try:
        python = prepared(framework, environment)
    except subprocess.CalledProcessError as error:
        trouble = f"not installed: exit {error.returncode} of {' '.join(error.cmd)}"
        return Row(framework, 0, 0, 0, time.monotonic() - started, trouble)
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", *chosen(framework), f"--junitxml={report}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | {"ONNXSENS_REQUIRE": framework}, check=False)
    passed, failed, skipped = counted(report)
    trouble = ""
    if ended.returncode or failed:
        trouble = f"pytest ended with {ended.returncode}"
    elif skipped or not passed:
        trouble = "nothing may be skipped here" if skipped else "no test ran"
    return Row(framework, passed, failed, skipped, time.monotonic() - started, trouble, tuple(trips(report)))


def chosen(framework: str) -> list[str]:
    """What pytest is told to run; a pattern that fits no file is handed on, and pytest says that there is none."""
    found = []
    for wanted in TESTS[framework]:
        file, separator, test = wanted.partition("::")
        found += [f"{path}{separator}{test}" for path in sorted(HERE.glob(file)) or [HERE / file]]
    return found


def prepared(framework: str, environment: Path) -> str:
    """The interpreter of an environment that has the framework, the project and pytest.

    Raises:
        CalledProcessError: pip failed.
    """
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = environment / "installed.txt"  # what was asked for, written once it is all there
    requirements, alone = HERE / f"requirements-{framework}.txt", HERE / f"requirements-{framework}-alone.txt"
    asking = [path for path in (requirements, alone, ROOT / "pyproject.toml") if path.exists()]
    wanted = "".join(path.read_text(encoding="utf-8") for path in asking)
    if done.exists() and done.read_text(encoding="utf-8") == wanted:
        return str(python)
    said(f"{framework}: making {environment}")
    venv.create(environment, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "-e", str(ROOT), PYTEST, "-r", str(requirements)], check=True)
    if alone.exists():
        subprocess.run([*pip, "install", "-q", "--no-deps", "-r", str(alone)], check=True)
    one_runtime(pip)
    done.write_text(wanted, encoding="utf-8")
    return str(python)


def one_runtime(pip: Sequence[str]) -> None:
    """Leave one onnxruntime where there are two: their files are the same, and the CPU's wheel wins without a word.

    A framework's own requirement may have brought `onnxruntime` beside the project's `onnxruntime-gpu`.
    """
    listed = subprocess.run([*pip, "list", "--format=freeze"], check=True, capture_output=True, text=True).stdout
    versions = dict(line.split("==", 1) for line in listed.splitlines() if "==" in line)
    if {"onnxruntime", "onnxruntime-gpu"} <= versions.keys():
        subprocess.run([*pip, "uninstall", "-q", "-y", "onnxruntime"], check=True)
        gpu = f"onnxruntime-gpu=={versions['onnxruntime-gpu']}"
        subprocess.run([*pip, "install", "-q", "--no-deps", "--force-reinstall", gpu], check=True)


def counted(report: Path) -> tuple[int, int, int]:
    """Tests that passed, failed or broke off, and were skipped, in pytest's report; zeros where there is none."""
    if not report.exists():
        return 0, 0, 0
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    total, failed, broken, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    return total - failed - broken - skipped, failed + broken, skipped


def trips(report: Path) -> Iterator[str]:
    """What the round trips noted, each with its test class and parameters."""
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        for noted in case.iter("property"):
            if noted.get("name") == "trip":
                group = case.get("classname", "").rpartition(".")[2]
                _, bracket, parameters = case.get("name", "").partition("[")
                yield f"{group}{bracket}{parameters}: {noted.get('value')}"


def said(line: str) -> None:
    """A line of progress, in its place among the lines of pip and pytest."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
