"""What zeros are worth on four runtimes, for one model."""

from collections import Counter
from pathlib import Path

import numpy as np

import onnxsens
from onnxsens.api import assess
from onnxsens.targets import targets

MODELS = Path(__file__).resolve().parents[2] / "models"
MODEL = MODELS / "fashion_cnn.onnx"


def main() -> None:
    """First which weights each would take, which needs no samples; then a plan for each, on 2,000 of the images."""
    with np.load(MODELS / "fashion_mnist_test.npz") as file:
        data = {"image": file["image"][::5]}, file["labels"][::5]
    for name in ("size-only", "tensorrt-2to4", "xnnpack", "ethos-u"):
        target = targets.get(name)
        judged = assess(target, MODEL)
        print(f"{name}: faster? {target.speedup}; takes {len(judged.eligible)} of {len(judged.judgements)} weights")
        for reason, count in Counter(each.refusal for each in judged.judgements if each.refusal).items():
            print(f"  {count} stay dense: {reason}")
        try:
            plan = onnxsens.auto(
                MODEL, data, sparsity=0.3, target=name, update="none", scale=255, mean=0.2860, std=0.3530
            )
        except onnxsens.OnnxsensError as error:
            print(f"  no plan with 30 % zeros: {error}")
            continue
        totals, drop = plan.record.totals, plan.quality.metrics["accuracy"].drop
        packed = totals.bytes_zlib_pruned / totals.bytes_zlib_dense
        print(f"  {plan.sparsity:.0%} zeros: {packed:.0%} of the size, accuracy drop {drop:.3f}")


if __name__ == "__main__":
    main()
