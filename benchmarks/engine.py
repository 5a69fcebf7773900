"""The evaluator that the commands use, over a full grid, against plain inference, one session a variant, and the floor.

    python -m benchmarks.engine [MODEL ...] [--samples 64] [--rounds 3] [--every 1] [--levels 9] [--layers]

All of them take turns in one process, layer by layer. README.md beside this file explains every figure.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.cases import METRICS, NAMES, SHIPPED, Case, case
from benchmarks.floor import suffix_shares
from benchmarks.opened import Opened, can_budget, opened, plain_inference
from benchmarks.timing import MB, Spread, in_child, seconds, timed
from onnxsens.engine import Answer, Evaluator

SLOW_POINT = 0.02  # seconds; what is faster is mostly overhead, and compared with no floor


@dataclass(frozen=True)
class Layer:
    """One weight in one round: seconds for all its levels by each road, and its share of the MACs."""

    weight: str
    share: float
    plain: float
    fast: float
    reference: float
    levels: int

    @property
    def floor(self) -> float:
        """Seconds that all levels take at least."""
        return self.levels * self.share * self.plain


@dataclass(frozen=True)
class Equality:
    """How alike the answers of both evaluators are.

    Attributes:
        equal: measurements that agree in every bit.
        relative: largest difference of two drops, relative to the drop.
        to_curve: the same, relative to the weight's largest drop; a drop near 0 is rounding and nothing else.
    """

    equal: int
    compared: int
    relative: float
    to_curve: float


@dataclass(frozen=True)
class Grid:
    """What was measured of one model: layers by round, in the order of the walk."""

    case: Case
    samples: int
    batch: int
    threads: int
    provider: str
    engine: str
    weights: int
    rounds: Sequence[Sequence[Layer]]
    equality: Equality
    peak: int

    def ratios(self, above: str, below: str) -> Spread:
        """Of sums over all layers, by round."""
        return Spread([total(layers, above) / total(layers, below) for layers in self.rounds])

    def layer_ratios(self, above: str, below: str, *, slow: bool = False) -> Spread:
        """By layer and round; of those alone whose points take more than `SLOW_POINT` where `slow`."""
        layers = [layer for layers in self.rounds for layer in layers]
        kept = [layer for layer in layers if not slow or layer.fast / layer.levels > SLOW_POINT]
        return Spread([getattr(layer, above) / getattr(layer, below) for layer in kept])


def total(layers: Sequence[Layer], name: str) -> float:
    """Seconds over all layers; of plain inference as many runs as there are points."""
    return sum(float(getattr(layer, name)) * (layer.levels if name == "plain" else 1) for layer in layers)


def levels_of(count: int) -> list[float]:
    """`count` levels, evenly between 0 and 1."""
    return [number / (count + 1) for number in range(1, count + 1)]


def measure(wanted: Case, levels: Sequence[float], rounds: int, every: int) -> Grid:
    """Full grids of one model; every round begins with evaluators that have measured nothing."""
    measured = []
    for _ in range(rounds):
        with opened(wanted.model, wanted.options, METRICS, wanted.samples) as bench:
            shares = suffix_shares(wanted.model, bench.macs)
            chosen = dict(list(shares.items())[:: max(1, every)])
            layers, answers = one_round(bench, chosen, levels)
            measured.append(layers)
    peak = in_child(grid_alone, wanted, list(chosen), levels)[1]
    return Grid(
        wanted,
        bench.samples,
        max(len(next(iter(batch.values()))) for batch in bench.batches),
        bench.threads,
        bench.providers[0],
        bench.fast.name,
        len(shares),
        measured,
        compare(answers),
        peak,
    )


Pairs = dict[str, list[tuple[Answer, Answer]]]


def one_round(bench: Opened, shares: dict[str, float], levels: Sequence[float]) -> tuple[list[Layer], Pairs]:
    """Every weight at every level by both evaluators, with a run of plain inference before each weight."""
    plain = plain_inference(bench)
    layers, pairs = [], {}
    for weight, share in shares.items():
        baseline = seconds(plain)
        fast, by_fast = timed(partial(answers, bench, bench.fast, weight, levels))
        reference, by_reference = timed(partial(answers, bench, bench.reference, weight, levels))
        layers.append(Layer(weight, share, baseline, by_fast, by_reference, len(levels)))
        pairs[weight] = list(zip(fast, reference, strict=True))
    return layers, pairs


def answers(bench: Opened, evaluator: Evaluator, weight: str, levels: Sequence[float]) -> list[Answer]:
    """One weight at every level.

    Raises:
        SystemExit: a point failed, so that its time says nothing.
    """
    found = [evaluator.answer(bench.question(weight, level)) for level in levels]
    failures = [failure for answer in found for failure in answer.failures.values()]
    if failures:
        raise SystemExit(f"'{weight}' could not be measured: {failures[0]}")
    return found


def grid_alone(wanted: Case, weights: Sequence[str], levels: Sequence[float]) -> float:
    """The same grid by the fast evaluator and nothing else, for its memory and its seconds."""
    with opened(wanted.model, wanted.options, METRICS, wanted.samples, alone=True) as bench:
        return seconds(lambda: [answers(bench, bench.fast, weight, levels) for weight in weights])


def compare(pairs: Pairs) -> Equality:
    """The drops of both evaluators, point by point."""
    equal = compared = 0
    relative = to_curve = 0.0
    for points in pairs.values():
        for metric in METRICS:
            drops = [(fast.measurements[metric].drop, slow.measurements[metric].drop) for fast, slow in points]
            largest = max(abs(slow) for _, slow in drops)
            for fast, slow in drops:
                compared += 1
                if fast == slow:
                    equal += 1
                    continue
                relative = max(relative, abs(fast - slow) / abs(slow) if slow else float("inf"))
                to_curve = max(to_curve, abs(fast - slow) / largest if largest else float("inf"))
    return Equality(equal, compared, relative, to_curve)


ROADS = {"reference": "session a variant", "plain": "plain", "floor": "floor"}


def show(grid: Grid, *, by_layer: bool = False) -> None:
    """Print what was measured."""
    first = grid.rounds[0]
    points = sum(layer.levels for layer in first)
    part = "" if len(first) == grid.weights else f", a subset: of {grid.weights} layers"
    print(f"{grid.case.name}: {len(first)} layers x {first[0].levels} levels = {points} points{part}")
    how = f"batches of {grid.batch}, {grid.threads} threads, {grid.provider}, {len(grid.rounds)} rounds"
    print(f"  {grid.samples} samples, {how}")
    plain = Spread([layer.plain for layers in grid.rounds for layer in layers])
    print(f"  plain inference, s          {plain.median:.4f} ({min(plain.values):.4f} to {max(plain.values):.4f})")
    labels = {"fast": f"{grid.engine}, grid, s", "reference": "session a variant, s", "floor": "floor, s"}
    for name, label in labels.items():
        spent = Spread([total(layers, name) for layers in grid.rounds])
        print(f"  {label:27} {spent}, a point {1000 * spent.median / points:.1f} ms")
    for above, below in (("reference", "fast"), ("fast", "floor"), ("fast", "plain")):
        ratio = f"{ROADS.get(above, grid.engine)} / {ROADS.get(below, grid.engine)}"
        print(f"  {ratio:27} {grid.ratios(above, below)}")
        if below == "fast":
            print(f"    by layer                  {grid.layer_ratios(above, below)}")
        if below == "floor":
            slow = grid.layer_ratios(above, below, slow=True)
            print(f"    by layer, over 20 ms      {slow}, {len(slow.values)} of {len(first) * len(grid.rounds)} times")
    same = grid.equality
    print(f"  measurements equal          {same.equal} of {same.compared}; largest difference {same.relative:.1e} of "
          f"the drop, {same.to_curve:.1e} of the curve's largest")  # fmt: skip
    print(f"  peak memory, MB             {grid.peak / MB:.0f} (model {grid.case.weight_bytes / MB:.0f})", flush=True)
    if by_layer:
        for position, layer in enumerate(first):
            tries = [layers[position] for layers in grid.rounds]
            floor = Spread([each.fast / each.floor for each in tries])
            gain = Spread([each.reference / each.fast for each in tries])
            point = Spread([1000 * each.fast / each.levels for each in tries])
            print(f"    {layer.weight:40} share {layer.share:.3f}  ms {point}  / floor {floor}  gain {gain}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the models that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(NAMES)}; all where none is named")
    parser.add_argument("--samples", type=int, help="of a point; 2000 of a shipped model, 64 of others")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=int, default=1, help="take every k-th layer only")
    parser.add_argument("--levels", type=int, default=9)
    parser.add_argument("--side", type=int, help="of a made model's images")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--cache-memory", type=int, metavar="MB", help="budget for what is kept of the dense run")
    parser.add_argument("--provider", default="cpu", help="of all evaluators and of plain inference")
    parser.add_argument("--layers", action="store_true", help="a row a layer too")
    given = parser.parse_args(arguments)
    unknown = set(given.models) - set(NAMES)
    if unknown:
        parser.error(f"no model '{min(unknown)}'; there are {', '.join(NAMES)}")
    if given.cache_memory and not can_budget():
        parser.error("this version takes no budget; leave out --cache-memory")
    settings: dict[str, Any] = {"batch_size": given.batch, "threads": given.threads, "provider": given.provider}
    if given.cache_memory:
        settings["cache_memory"] = given.cache_memory * MB
    for name in given.models or NAMES:
        samples = given.samples or (2000 if name in SHIPPED else 64)
        with tempfile.TemporaryDirectory() as folder:
            sizes = {"side": given.side} if given.side and name not in SHIPPED else {}
            wanted = case(name, Path(folder), samples, settings=settings, **sizes)
            show(measure(wanted, levels_of(given.levels), given.rounds, given.every), by_layer=given.layers)


if __name__ == "__main__":
    main()
