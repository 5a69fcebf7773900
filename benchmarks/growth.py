"""How time grows with depth, levels and samples, and memory with the budget for what is kept of the dense run.

    python -m benchmarks.growth [--what depth levels samples memory] [--side 32] [--samples 256] [--rounds 3]

Chains of equal convolutions, so that nothing else changes. README.md beside this file explains every figure.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.cases import METRICS, Case, case
from benchmarks.engine import answers, grid_alone, levels_of
from benchmarks.opened import can_budget, opened, plain_inference, with_budget
from benchmarks.timing import MB, Spread, in_child, seconds

DEPTHS = (8, 16, 32, 64)
LEVELS = (5, 10, 20)
SAMPLES = (256, 512, 1024, 2048)
BUDGETS = (16 * MB, 64 * MB, 256 * MB)
BASE = 250 * MB  # what a process may take besides weights and budget


@dataclass(frozen=True)
class Row:
    """One size: seconds of plain inference, and of a full grid, by round.

    Attributes:
        work: what linear cost is in proportion to: points, times layers or samples of a run.
    """

    size: int
    points: int
    work: int
    plain: Sequence[float]
    grid: Sequence[float]

    @property
    def to_half(self) -> Spread:
        """Seconds of a point over half of plain inference."""
        return Spread([grid / self.points / (0.5 * plain) for grid, plain in zip(self.grid, self.plain, strict=True)])

    def to_linear(self, first: "Row") -> Spread:
        """How many times longer than the first size, over how many times the work; above 1 is more than linear."""
        times = self.work / first.work
        return Spread([mine / its / times for mine, its in zip(self.grid, first.grid, strict=True)])


@dataclass(frozen=True)
class Peak:
    """The memory of a process that measures a grid and nothing else, in bytes."""

    budget: int
    peak: int
    limit: int
    seconds: float


def timed(cases: Sequence[Case], levels: Sequence[int], sizes: Sequence[int], rounds: int, *, grows: bool) -> list[Row]:
    """A full grid for each; all sizes take turns in every round, and plain inference before each weight.

    Args:
        grows: whether a point costs more at a larger size.
    """
    plain: list[list[float]] = [[] for _ in cases]
    grid: list[list[float]] = [[] for _ in cases]
    points = [0] * len(cases)
    for _ in range(rounds):
        for place, (wanted, count) in enumerate(zip(cases, levels, strict=True)):
            with opened(wanted.model, wanted.options, METRICS, wanted.samples) as bench:
                dense = plain_inference(bench)
                baseline, spent = [], 0.0
                for weight in bench.weights:
                    baseline.append(seconds(dense))
                    spent += seconds(partial(answers, bench, bench.fast, weight, levels_of(count)))
                plain[place].append(statistics.median(baseline))
                grid[place].append(spent)
                points[place] = len(bench.weights) * count
    work = [count * size if grows else count for count, size in zip(points, sizes, strict=True)]
    return [Row(*row) for row in zip(sizes, points, work, plain, grid, strict=True)]


def by_depth(chain: Callable[..., Case], depths: Sequence[int], samples: int, rounds: int) -> list[Row]:
    """Chains of several depths, at 3 levels."""
    cases = [chain(depth=depth, samples=samples) for depth in depths]
    return timed(cases, [3] * len(depths), depths, rounds, grows=True)


def by_levels(chain: Callable[..., Case], levels: Sequence[int], samples: int, rounds: int) -> list[Row]:
    """The chain of 8 layers at several numbers of levels."""
    return timed([chain(depth=8, samples=samples)] * len(levels), levels, levels, rounds, grows=False)


def by_samples(chain: Callable[..., Case], counts: Sequence[int], rounds: int) -> list[Row]:
    """The chain of 8 layers on several numbers of samples, at 3 levels."""
    made = chain(depth=8, samples=max(counts))
    return timed([replace(made, samples=count) for count in counts], [3] * len(counts), counts, rounds, grows=True)


def by_budget(chain: Callable[..., Case], budgets: Sequence[int], samples: int) -> list[Peak]:
    """The chain of 16 layers at 2 levels, in a process of its own for each budget.

    Its images have one channel: samples are held in memory, and it is tensors between layers that are looked at.
    """
    made = chain(depth=16, samples=samples, channels=1)
    found = []
    for budget in budgets:
        wanted = replace(made, options=with_budget(made.options, budget))
        with opened(wanted.model, wanted.options, METRICS, wanted.samples, alone=True) as bench:
            weights = list(bench.weights)
        spent, peak = in_child(grid_alone, wanted, weights, levels_of(2))
        found.append(Peak(budget, peak, BASE + made.weight_bytes * 3 // 2 + budget, spent))
    return found


def chains(folder: Path, side: int, settings: dict[str, Any]) -> Callable[..., Case]:
    """What makes a chain of a depth, with its samples; each once."""

    @cache
    def chain(depth: int, samples: int, channels: int = 32) -> Case:
        label = f"chain{depth}_{samples}_{channels}"
        sizes = {"depth": depth, "side": side, "channels": channels}
        return case("chain", folder, samples, label=label, settings=settings, **sizes)

    return chain


def show_rows(title: str, rows: Sequence[Row]) -> None:
    """Print one row a size; growth is against the first one."""
    print(f"{title:>8} {'points':>7} {'plain, s':>9} {'grid, s':>9}  {'point / half of plain':>22}  {'to linear':>22}")
    for row in rows:
        plain, grid = statistics.median(row.plain), statistics.median(row.grid)
        linear = str(row.to_linear(rows[0]))
        print(f"{row.size:8} {row.points:7} {plain:9.4f} {grid:9.2f}  {row.to_half!s:>22}  {linear:>22}", flush=True)


def show_peaks(rows: Sequence[Peak]) -> None:
    """Print one row a budget."""
    print(f"{'budget, MB':>10} {'seconds':>8} {'peak, MB':>9} {'limit, MB':>10}")
    for row in rows:
        over = "  over" if row.peak > row.limit else ""
        print(
            f"{row.budget / MB:10.0f} {row.seconds:8.2f} {row.peak / MB:9.0f} {row.limit / MB:10.0f}{over}", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, or all."""
    kinds = ("depth", "levels", "samples", "memory")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--what", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--side", type=int, default=32, help="of the images")
    parser.add_argument("--samples", type=int, default=256, help="where depth or levels grow")
    parser.add_argument("--memory-samples", type=int, default=256, help="where memory is measured")
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS)
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    parser.add_argument("--counts", type=int, nargs="+", default=SAMPLES, help="where samples grow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        chain = chains(Path(folder), given.side, {"threads": given.threads})
        if "depth" in given.what:
            show_rows("depth", by_depth(chain, given.depths, given.samples, given.rounds))
        if "levels" in given.what:
            show_rows("levels", by_levels(chain, given.levels, given.samples, given.rounds))
        if "samples" in given.what:
            show_rows("samples", by_samples(chain, given.counts, given.rounds))
        if "memory" in given.what and can_budget():
            show_peaks(by_budget(chain, BUDGETS, given.memory_samples))
        elif "memory" in given.what:
            print("memory: skipped, since this version takes no budget (Options has no cache_memory)")


if __name__ == "__main__":
    main()
