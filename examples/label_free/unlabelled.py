"""Prune a model with samples that nobody has labelled: it is held to its own answers."""

from pathlib import Path

import numpy as np

import onnxsens

MODELS = Path(__file__).resolve().parents[2] / "models"


def main() -> None:
    """Half of the samples choose, the other half check."""
    with np.load(MODELS / "japanese_vowels_test.npz") as file:
        recordings = file["x"]  # and not file["labels"]
    plan = onnxsens.auto(MODELS / "jv_gru1.onnx", {"x": recordings}, max_drop={"agreement": 0.1})
    same = plan.quality.metrics["agreement"]
    print(f"{plan.sparsity:.0%} of the weights are zero")
    print(f"of {plan.quality.samples} samples that chose nothing, {same.pruned:.1%} get the answer they got before")
    print(f"with 95 % confidence, at least {1 - same.bound:.1%} do")
    print(f"verified: {plan.verified}")


if __name__ == "__main__":
    main()
