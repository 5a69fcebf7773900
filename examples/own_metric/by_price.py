"""Prune a model as far as a metric of one's own allows."""

from pathlib import Path

import onnxsens

HERE = Path(__file__).resolve().parent
MODELS = HERE.parents[1] / "models"


def main() -> None:
    """A function of a file is named as on the command line."""
    price = f"{HERE / 'price.py'}:price"
    plan = onnxsens.auto(
        MODELS / "jv_gru1.onnx",
        MODELS / "japanese_vowels_test.npz",
        max_drop={price: 0.2},
        metrics=["accuracy"],
        confidence=None,
    )
    print(f"{plan.sparsity:.0%} of the weights are zero")
    for name, found in plan.quality.metrics.items():
        unit = "" if found.unit in ("", "fraction") else f" {found.unit}"
        print(f"{name}: {found.dense:.3f} before, {found.pruned:.3f} after{unit}")
    print(f"within the limit: {plan.verified}")


if __name__ == "__main__":
    main()
