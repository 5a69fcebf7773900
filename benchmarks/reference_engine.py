"""Seconds a point of the reference engine, against plain inference of the same batches, as a ratio.

    python benchmarks/reference_engine.py [--rounds 9] [--samples 2000]

Baseline: one ready `InferenceSession` of the dense model, `run` on every batch, nothing else. Engine: a question about
one weight, which makes a session, prunes, runs the same batches, and computes accuracy and KL. Both take turns, so that
a machine that changes its speed changes it for both; the ratio is taken pair by pair.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime

from onnxsens.engine import Change, Question
from onnxsens.options import Options
from onnxsens.station import Station

MODELS = Path(__file__).parent.parent / "models"
METRICS = ("accuracy", "kl")
IMAGES = Options(str(MODELS / "fashion_mnist_test.npz"), scale=255, mean="0.2860", std="0.3530", provider="cpu")
VOWELS = Options(str(MODELS / "japanese_vowels_test.npz"), provider="cpu")
CASES = {"fashion_cnn": IMAGES, "jv_transformer": VOWELS, "jv_lstm": VOWELS, "jv_gru": VOWELS}


def seconds(action: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Print one row a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="pairs that are counted, after one that is not")
    parser.add_argument("--samples", type=int, default=2000, help="samples of a point, at most the search split")
    arguments = parser.parse_args()
    print(f"{'model':15} {'samples':>7} {'plain s':>9} {'engine s':>9} {'ratio':>6} {'min':>6} {'max':>6}")
    for name, options in CASES.items():
        with Station(MODELS / f"{name}.onnx", options, METRICS) as bench:
            row(name, bench, arguments.rounds, arguments.samples)


def row(name: str, bench: Station, rounds: int, samples: int) -> None:
    """Measure one model."""
    samples = min(samples, len(bench.split.search))
    indices = bench.split.search[:samples]
    size = bench.recipe.batch_size
    feeds = [bench.dataset.batch(indices[start : start + size]) for start in range(0, samples, size)]
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = bench.recipe.threads
    session = onnxruntime.InferenceSession(str(bench.model.path), settings, providers=["CPUExecutionProvider"])
    weights = bench.inventory.weights

    def plain() -> None:
        for feed in feeds:
            session.run(None, feed)

    def point(number: int) -> None:
        change = Change(weights[number % len(weights)].name, bench.technique.name, 0.5 + number / 1000)
        bench.evaluator.answer(Question((change,), "search", (0, samples), METRICS))

    pairs = []
    for number in range(rounds + 1):
        baseline = seconds(plain)
        pairs.append((baseline, seconds(partial(point, number))))
    counted = pairs[1:]
    ratios = [engine / baseline for baseline, engine in counted]
    baseline, engine = (statistics.median(column) for column in zip(*counted, strict=True))
    ratio = statistics.median(ratios)
    print(f"{name:15} {samples:7} {baseline:9.4f} {engine:9.4f} {ratio:6.2f} {min(ratios):6.2f} {max(ratios):6.2f}")


if __name__ == "__main__":
    main()
