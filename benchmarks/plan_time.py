"""Time to a verified plan: `onnxsens auto --max-drop` against the usual one-shot loop, and what both plans are worth.

    python -m benchmarks.plan_time fashion_cnn --goal accuracy=0.01
    python -m benchmarks.plan_time resnet50 --goal kl=0.05 --samples 128 --part 0.05

`--part` measures some points of the loop only, and extrapolates. README.md beside this file explains every figure.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from benchmarks.cases import NAMES, Case, case
from benchmarks.one_shot import BISECTIONS, Found, Samples, drops, one_shot, plan, prunable
from benchmarks.timing import Spread

BATCH = 32
LEVELS = [number / 20 for number in range(1, 20)] + [1.0]
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Ours:
    """What `auto` did: seconds of the whole command, its plan, and the measurements that it says it took."""

    seconds: float
    sparsity: float
    drop: float
    bound: float
    verified: bool
    picker: str
    points: int
    joint_runs: int
    scan_samples: int


@dataclass(frozen=True)
class Theirs:
    """What the loop did.

    Attributes:
        part: of its points that were measured; if less than 1, its time is extrapolated and it has no plan.
        measured: samples of each of these.
        loop, joint: seconds of the single-layer points, and of finding a plan by joint runs with its check.
        point: median seconds of a point.
    """

    points: int
    samples: int
    part: float
    measured: int
    loop: float
    joint: float
    point: float
    sparsity: float | None
    found: Found | None

    @property
    def seconds(self) -> float:
        """Up to the verified plan."""
        return self.loop + self.joint


def auto(wanted: Case, goal: str, folder: Path) -> Ours:
    """The command as a user gives it, imports and all, into an empty run folder."""
    options = wanted.options
    command = [sys.executable, "-m", "onnxsens", "auto", str(wanted.model), "-d", options.data, "-o", str(folder)]
    command += ["--max-drop", goal, "--quiet"]
    for name in ("scale", "mean", "std", "threads"):
        value = getattr(options, name)
        command += [f"--{name}", str(value)] if value is not None else []
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    spent = time.perf_counter() - started
    if done.returncode not in (0, 5):
        raise SystemExit(f"auto ended with {done.returncode}: {done.stderr.strip()}")
    made = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    quality, choice = made["quality"], made["choice"]
    judged = quality["metrics"][goal.partition("=")[0]]
    return Ours(
        spent,
        made["totals"]["sparsity"],
        judged["drop"],
        judged["bound"],
        bool(quality["verified"]),
        choice["picker"],
        choice["points"],
        choice["joint_runs"],
        made["data"]["scan_samples"],
    )


def halves(wanted: Case) -> tuple[Samples, Samples]:
    """Search and hold-out samples, split as docs/plan.md says that `auto` splits them."""
    options = wanted.options
    with np.load(options.data) as arrays:
        (name,) = set(arrays.files) - {"labels"}
        values, labels = arrays[name], arrays["labels"]
    if options.scale is not None:
        scaled = values / np.float32(options.scale) - np.float32(options.mean or 0)
        values = (scaled / np.float32(options.std or 1)).astype(np.float32)
    order = np.random.default_rng(options.seed).permutation(len(values))
    held = round(options.holdout * len(values))
    session = onnxruntime.InferenceSession(str(wanted.model), providers=["CPUExecutionProvider"])

    def samples(chosen: np.ndarray) -> Samples:
        feeds = [{name: values[chosen[start : start + 32]]} for start in range(0, len(chosen), 32)]
        dense = np.concatenate([session.run(None, feed)[0] for feed in feeds])
        return Samples(name, values[chosen], dense, labels[chosen])

    return samples(order[held:]), samples(order[:held])


def loop(wanted: Case, goal: str, part: float, most: int | None = None, seed: int = 0) -> Theirs:
    """The one-shot loop over all layers and 20 levels, then a plan from its curves, measured as a whole.

    Args:
        part: of the points to measure; seeded.
        most: samples of each of these points; where there are more, its time is that of a point on one batch and, for
            the rest, in proportion to the samples. Joint runs are extrapolated likewise.
    """
    metric, _, limit = goal.partition("=")
    search, holdout = halves(wanted)
    few = Samples(search.name, search.values[:BATCH], search.dense[:BATCH], search.labels[:BATCH])
    some = Samples(search.name, search.values[:most], search.dense[:most], search.labels[:most])
    proto = onnx.load(wanted.model)
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    layers = prunable(proto)
    points = [(name, level) for name in layers for level in LEVELS]
    parts = max(1, round(part * len(points)))
    # One point from each of as many equal parts of the list, so that layers and levels all have their share.
    drawn = (np.arange(parts) + np.random.default_rng(seed).random(parts)) * (len(points) / parts)
    chosen = [points[int(position)] for position in drawn] if part < 1 else points
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    begun = time.perf_counter()
    drops(proto, dict([chosen[0]]), few, metric)
    least = time.perf_counter() - begun

    def on_all(seconds: float, samples: int) -> float:
        measured = len(some.values)
        if measured == samples:
            return seconds
        return least + (seconds - least) * (samples - BATCH) / (measured - BATCH)

    spent = []
    begun = time.perf_counter()
    for name, level, lost in one_shot(proto, chosen, some, metric):
        curves[name].append((level, lost))
        spent.append(on_all(time.perf_counter() - begun, len(search.values)))
        begun = time.perf_counter()
    total = sum(spent) * len(points) / len(chosen)
    begun = time.perf_counter()
    if part < 1:
        uniform = dict.fromkeys(layers, 0.5)
        drops(proto, uniform, some, metric)
        taken = time.perf_counter() - begun
        joint = BISECTIONS * on_all(taken, len(search.values)) + on_all(taken, len(holdout.values))
        return Theirs(
            len(points),
            len(search.values),
            len(chosen) / len(points),
            len(some.values),
            total,
            joint,
            statistics.median(spent),
            None,
            None,
        )
    found = plan(proto, curves, search, holdout, metric, float(limit))
    joint = time.perf_counter() - begun
    zeros = sum(round(level * sizes[name]) for name, level in found.levels.items())
    sparsity = zeros / sum(sizes[name] for name in layers)
    return Theirs(
        len(points),
        len(search.values),
        1.0,
        len(search.values),
        total,
        joint,
        statistics.median(spent),
        sparsity,
        found,
    )


def show(wanted: Case, goal: str, runs: Sequence[Ours], theirs: Theirs) -> None:
    """Print both, and the ratio."""
    print(f"{wanted.name}, --max-drop {goal}")
    for ours in runs:
        verdict = "verified" if ours.verified else "NOT verified"
        worth = f"sparsity {ours.sparsity:.4f} ({ours.picker}), hold-out drop {ours.drop:.4f}, bound {ours.bound:.4f}"
        print(f"  onnxsens auto   {ours.seconds:9.1f} s: {worth}, {verdict}")
        print(
            f"                    {ours.points} points, {ours.joint_runs} joint runs, {ours.scan_samples} samples each"
        )
    how = "" if theirs.part == 1 else f", EXTRAPOLATED from {100 * theirs.part:.1f} % of its points"
    how += "" if theirs.measured == theirs.samples else f", each on {theirs.measured} of its samples"
    print(f"  one-shot loop   {theirs.seconds:9.1f} s{how}")
    points = f"{theirs.points} points of {theirs.samples} samples, {theirs.point:.3f} s each"
    print(f"                    {points}: {theirs.loop:.1f} s; joint runs {theirs.joint:.1f} s")
    if theirs.found and theirs.sparsity is not None:
        found = theirs.found
        worth = f"sparsity {theirs.sparsity:.4f}, hold-out drop {found.drop:.4f}, bound {found.bound:.4f}"
        print(f"                    {worth}, {found.runs} joint runs")
    else:
        print("                    no plan: it needs all points")
    print(f"  loop / auto     {Spread([theirs.seconds / ours.seconds for ours in runs])}", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_time", description=__doc__.splitlines()[0])
    names = [name for name in NAMES if name != "jv_gru1_loop"]  # the loop does not look into bodies
    parser.add_argument("model", choices=names, metavar="MODEL", help=f"one of {', '.join(names)}")
    parser.add_argument("--goal", default="accuracy=0.01", help="METRIC=X, of accuracy and kl")
    parser.add_argument("--samples", type=int, default=128, help="of a made model; half of them are held out")
    parser.add_argument("--part", type=float, default=1.0, help="share of the loop's points that is measured")
    parser.add_argument("--part-samples", type=int, help="of each point that is measured, where --part is below 1")
    parser.add_argument("--runs", type=int, default=2, help="of auto: one before the loop, the others after it")
    parser.add_argument("--side", type=int, help="of a made model's images")
    parser.add_argument("--threads", type=int, help="of auto; the loop takes what onnxruntime takes")
    given = parser.parse_args(arguments)
    if given.part_samples is not None and (given.part == 1 or given.part_samples <= BATCH):
        parser.error(f"--part-samples is more than {BATCH}, and goes with a --part below 1")
    if not 0 < given.part <= 1 or given.goal.partition("=")[0] not in ("accuracy", "kl"):
        parser.error("--part is in (0, 1], and --goal is accuracy=X or kl=X")
    sizes: dict[str, Any] = {"side": given.side} if given.side else {}
    with tempfile.TemporaryDirectory() as name:
        wanted = case(given.model, Path(name), given.samples, settings={"threads": given.threads}, **sizes)
        first = auto(wanted, given.goal, Path(name) / "run0")
        theirs = loop(wanted, given.goal, given.part, given.part_samples)
        later = [auto(wanted, given.goal, Path(name) / f"run{number}") for number in range(1, given.runs)]
        show(wanted, given.goal, [first, *later], theirs)


if __name__ == "__main__":
    main()
