"""How far predicted curves are from measured ones, and what they cost.

    python benchmarks/predicted_curves.py [--samples 1000] [--calibration 256] [--rows 512]

For each shipped model: seconds of one calibration pass and the errors of 9 levels of every weight, against seconds of
measuring them; then, for one or two measured points a weight, the share of the other points from 20 to 90 % whose
predicted KL is within a factor of 2 of the measured one, and the smallest and largest ratio.
"""

import argparse
import time
from collections.abc import Mapping, Sequence

from benchmarks.reference_engine import CASES, MODELS
from onnxsens.engine import Change, ModelRunner, Question
from onnxsens.engine.calibration import Sampling
from onnxsens.engine.prediction import Prediction, predict
from onnxsens.model.features import input_sources
from onnxsens.scan.prediction import POWER, PredictedCurve
from onnxsens.station import Station

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ANCHORS = (((0.6,), 1.0), ((0.6,), POWER), ((0.6, 0.8), POWER))
MEMORY = 2**30

Drops = Mapping[str, Mapping[float, float]]


def main() -> None:
    """Print one row a model, and one for each way to anchor."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1000, help="of a measured point, at most the search split")
    parser.add_argument("--calibration", type=int, default=256, help="samples of the calibration pass")
    parser.add_argument("--rows", type=int, default=512, help="input rows of a weight")
    arguments = parser.parse_args()
    for name, options in CASES.items():
        with Station(MODELS / f"{name}.onnx", options, ("kl",)) as bench:
            started = time.perf_counter()
            curves = predicted(bench, arguments.calibration, Sampling(arguments.rows, MEMORY))
            between = time.perf_counter()
            drops = measured(bench, min(arguments.samples, len(bench.split.search)))
            ended = time.perf_counter()
        print(f"{name}: {len(curves)} weights, predicted in {between - started:.2f} s", end="")
        print(f", measured in {ended - between:.1f} s")
        for anchors, power in ANCHORS:
            ratios = ratios_of(curves, drops, anchors, power)
            within = sum(1 / 2 < ratio < 2 for ratio in ratios) / len(ratios)
            print(f"  from {anchors}, power {power:.2f}: {within:4.0%} within 2x, ", end="")
            print(f"{min(ratios):.2f} to {max(ratios):.2f}")


def predicted(bench: Station, samples: int, sampling: Sampling) -> list[PredictedCurve]:
    """Curves of all weights that have one."""
    runner = ModelRunner(bench.model, bench.inventory, bench.dataset, bench.provider, bench.recipe)
    try:
        sources = input_sources(bench.model, bench.inventory)
        found = list(predict(runner, sources, bench.technique, LEVELS, bench.split.search[:samples], sampling))
    finally:
        runner.close()
    return [
        PredictedCurve(each.weight, bench.inventory.weight(each.weight).size, each.steps, each.errors)
        for each in found
        if isinstance(each, Prediction)
    ]


def measured(bench: Station, samples: int) -> Drops:
    """KL of every weight at every level."""

    def drop(weight: str, level: float) -> float:
        question = Question((Change(weight, bench.technique.name, level),), "search", (0, samples), ("kl",))
        return bench.evaluator.answer(question).measurements["kl"].drop

    return {weight.name: {level: drop(weight.name, level) for level in LEVELS} for weight in bench.inventory.weights}


def ratios_of(curves: Sequence[PredictedCurve], drops: Drops, anchors: Sequence[float], power: float) -> list[float]:
    """Predicted to measured drop, at all levels from 20 % that are not anchors."""
    ratios = []
    for curve in curves:
        own = drops[curve.weight]
        scaled = curve.scaled([(level, own[level]) for level in anchors], power)
        if scaled is not None:
            ratios += [scaled.drop_at(level) / own[level] for level in LEVELS[1:] if level not in anchors]
    return ratios


if __name__ == "__main__":
    main()
