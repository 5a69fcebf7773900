"""Time and memory of fitting one wide weight: `python -m benchmarks.wide_layer --rows 512 --columns 4608`.

Random weights, correlated inputs that are never negative, and others than the dense model's; 70 % sparsity. The peak
is of the whole process, the moments and the rows that they are made of included.
"""

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np

from onnxsens.engine.pairs import PairedBuilder, Sums
from onnxsens.techniques import make_sparsity
from onnxsens.techniques.layer import fit_layer
from onnxsens.techniques.threads import threads_for

BATCH = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wide_layer", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=512, help="of the weight: output channels")
    parser.add_argument("--columns", type=int, default=4608, help="of the weight: inputs")
    parser.add_argument("--inputs", type=int, default=8000, help="that moments are made of")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    builder = PairedBuilder(1, given.columns)
    for _ in range(max(given.inputs // BATCH, 1)):
        dense = rng.standard_normal((1, BATCH, given.columns), dtype=np.float32)
        dense[..., 1:] += 0.7 * dense[..., :-1]
        dense = np.maximum(dense, 0)
        pruned = dense + 0.1 * rng.standard_normal(dense.shape, dtype=np.float32)
        builder.add(Sums.of(pruned, dense))
    moments = builder.made()
    weight = rng.standard_normal((given.rows, given.columns), dtype=np.float32)
    began = time.perf_counter()
    with threads_for(given.columns):
        fit = fit_layer(weight, 0.7, make_sparsity("obs"), moments, update="refit", masks="alps")
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    zeros = float((fit.values == 0).mean())
    print(f"{given.rows} x {given.columns}: {seconds:.1f} s, peak {peak:.2f} GB, {zeros:.1%} zeros")


if __name__ == "__main__":
    main()
