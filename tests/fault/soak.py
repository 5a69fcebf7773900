"""Thousands of evaluations in one worker: its memory must not grow, and that of the first process by results alone.

python -m tests.fault soak --cases 30000
"""

import argparse
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.fault.running import Running, work_folder

WIDTH = 24
WEIGHTS = 30
WARM = 0.4  # share of the evaluations after which memory is looked at
LIMIT = 1.0  # MB for 1,000 evaluations
PAGE = 4096


@dataclass
class Soaked:
    """What was in memory, and when.

    Attributes:
        evaluations: made when each sample was taken.
        parent, worker: MB that were resident then.
    """

    evaluations: list[int] = field(default_factory=list)
    parent: list[float] = field(default_factory=list)
    worker: list[float] = field(default_factory=list)

    def growth(self, resident: list[float]) -> float:
        """MB for 1,000 evaluations, by a line through the samples after the warm-up."""
        done, held = np.array(self.evaluations), np.array(resident)
        late = done >= WARM * done[-1]
        return float(1000 * np.polyfit(done[late], held[late], 1)[0])

    def __str__(self) -> str:
        return (
            f"{self.evaluations[-1]:,} evaluations; the first process grows by {self.growth(self.parent):+.3f} MB for "
            f"1,000, from {self.parent[0]:.0f} to {self.parent[-1]:.0f} MB, the worker by "
            f"{self.growth(self.worker):+.3f} MB, from {self.worker[0]:.0f} to {self.worker[-1]:.0f} MB"
        )


def deep() -> onnx.ModelProto:
    """Matrices one behind the other, small ones: there are few levels of many weights, as in any scan."""
    rng = np.random.default_rng(0)
    nodes, held, last = [], [], "x"
    for number in range(WEIGHTS):
        weight = (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
        held.append(numpy_helper.from_array(weight, f"w{number}"))
        nodes += [
            helper.make_node("MatMul", [last, f"w{number}"], [f"m{number}"]),
            helper.make_node("Tanh", [f"m{number}"], [f"t{number}"]),
        ]
        last = f"t{number}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("x", last)]
    graph = helper.make_graph(nodes, "deep", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def soak(place: Path, cases: int) -> Soaked:
    """Scan so many levels that there are `cases` evaluations, and look at memory meanwhile.

    Raises:
        RuntimeError: the scan does not succeed, or had several workers.
    """
    levels = ",".join(f"{level:.6f}" for level in np.linspace(0.01, 0.99, -(-cases // WEIGHTS)))
    model = place / "deep.onnx"
    onnx.save(deep(), str(model))
    given = (
        "-d",
        "random:64",
        "--metric",
        "dense-mse",
        "--search-metric",
        "dense-mse",
        "--levels",
        levels,
        "-j",
        1,
        "--cache-memory",
        "4MB",
        "-v",
        "-o",
        place / "run",
    )
    running = Running(["scan", model, *given], place)
    found = Soaked()
    seen: set[int] = set()
    while running.alive:
        workers = running.workers()
        told = running.told() if workers else 0
        seen.update(workers)
        if told:
            parent, worker = resident(running.process.pid), resident(workers[0])
            if parent and worker and told != next(reversed(found.evaluations), 0):
                found.evaluations.append(told)
                found.parent.append(parent)
                found.worker.append(worker)
        time.sleep(0.1)
    ended = running.wait()
    if ended.code or len(seen) != 1:
        raise RuntimeError(f"exit code {ended.code} with {len(seen)} workers: {ended.err[-500:]}")
    return found


def resident(pid: int) -> float:
    """MB of memory that a process has; 0 of one that is no more."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / 1e6
    except (OSError, IndexError):
        return 0.0


def main(arguments: list[str]) -> int:
    """The tool: prints a summary; 1 where memory grows."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000, help="evaluations")
    given = parser.parse_args(arguments)
    with work_folder() as folder:
        found = soak(folder, given.cases)
    sys.stdout.write(f"soak: {found}\n")
    return 0 if max(found.growth(found.worker), found.growth(found.parent)) <= LIMIT else 1
