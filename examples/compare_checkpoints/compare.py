"""How sensitivity changes while a network is trained, and what of that is more than noise."""

import tempfile
from pathlib import Path

from training import samples, trained, write

import onnxsens

EARLY, LATE = 100, 3000  # steps


def main() -> None:
    """Two checkpoints, a scan of each on the same samples, and the difference."""
    data = samples(4000, seed=3)
    with tempfile.TemporaryDirectory() as name:
        runs = {}
        for step, weights in enumerate(trained(LATE), 1):
            if step in (EARLY, LATE):
                model = Path(name) / f"step{step}.onnx"
                write(weights, model)
                runs[step] = onnxsens.scan(
                    model, data, levels=[0.5, 0.7, 0.9], metrics=["accuracy"], out=Path(name) / f"run{step}"
                )
                print(f"step {step}: {runs[step].dense['accuracy']:.3f} of the samples right")
        found = onnxsens.diff(runs[EARLY].folder, runs[LATE].folder, metric="accuracy")
    for curve in found.curves:
        point = curve.strongest
        if point is not None:
            verdict = "more than noise" if curve.more_than_noise else "may be noise"
            print(f"{curve.weight}: drop at {point.sparsity:.0%} zeros {point.a:.3f} -> {point.b:.3f}, {verdict}")


if __name__ == "__main__":
    main()
