"""What it costs to have the model in a process that may be lost: `python -m benchmarks.supervisor`.

Whole `onnxsens scan` commands, with `--in-process` and without, in turns, each into a fresh folder; both take the same
routes, those of a first scan. So the ratio has all in it: starting the process, opening the model twice, the pipe.
"""

import argparse
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cases import MODELS, SHIPPED
from onnxsens.options import Options

LEVELS = ",".join(str(round(0.05 * step, 2)) for step in range(1, 20))


def command(name: str, options: Options, folder: Path, samples: int, *, alone: bool) -> list[str]:
    """A scan of all weights at many levels."""
    given = [] if options.scale is None else ["--scale", str(options.scale)]
    given += [] if options.mean is None else ["--mean", options.mean]
    given += [] if options.std is None else ["--std", options.std]
    return [
        *(sys.executable, "-m", "onnxsens", "scan", str(MODELS / f"{name}.onnx"), "-d", options.data, *given),
        *("--levels", LEVELS, "--scan-samples", str(samples), "-j", "1", "--quiet", "-o", str(folder)),
        *(["--in-process"] if alone else []),
    ]


def emptied(made: Path, folder: Path) -> Path:
    """A run folder with the routes of another one, and nothing measured."""
    shutil.copytree(made, folder)
    with sqlite3.connect(folder / "scan.db") as store:
        for table in ("point", "joint", "effect"):
            store.execute(f"DELETE FROM {table}")
    store.close()
    return folder


def seconds(arguments: Sequence[str]) -> float:
    """Of a command."""
    started = time.perf_counter()
    subprocess.run(arguments, check=True)
    return time.perf_counter() - started


def points_of(folder: Path) -> int:
    """Measured in a run."""
    store = sqlite3.connect(folder / "scan.db")
    try:
        return int(store.execute("SELECT count(*) FROM (SELECT DISTINCT weight, zeros FROM point)").fetchone()[0])
    finally:
        store.close()


def compared(name: str, samples: int, rounds: int) -> tuple[int, list[float], list[float]]:
    """Points, and the seconds of each round: in other processes, and in one."""
    apart: list[float] = []
    alone: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        subprocess.run(command(name, SHIPPED[name], folder / "first", samples, alone=False), check=True)
        for number in range(rounds):
            for each, found in (("apart", apart), ("alone", alone)):
                run = emptied(folder / "first", folder / f"{each}-{number}")
                found.append(seconds(command(name, SHIPPED[name], run, samples, alone=each == "alone")))
        return points_of(folder / "first"), apart, alone


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.supervisor", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["fashion_cnn", "fashion_resnet", "fashion_vgg"])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(arguments)
    print("| model | points | ms a point | apart, s | in process, s | ratio | smallest | largest |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.models:
        points, apart, alone = compared(name, given.samples, given.rounds)
        ratios = sorted(one / other for one, other in zip(apart, alone, strict=True))
        print(
            f"| `{name}` | {points} | {1000 * statistics.median(alone) / points:.0f} | {statistics.median(apart):.2f} "
            f"| {statistics.median(alone):.2f} | {statistics.median(ratios):.3f} | {ratios[0]:.3f} | {ratios[-1]:.3f} |"
        )


if __name__ == "__main__":
    main()
