# %% [markdown]
# Curves as tables and pictures. Every `# %%` is a cell, in VS Code, Spyder and, by way of jupytext, in Jupyter.

# %%
from pathlib import Path

import onnxsens

MODELS = Path(__file__).resolve().parents[2] / "models"
run = onnxsens.scan(
    MODELS / "jv_transformer.onnx",
    MODELS / "japanese_vowels_test.npz",
    levels=[0.3, 0.5, 0.7, 0.9],
    metrics=["accuracy"],
)
run  # draws a curve for every weight

# %%
curves = run.to_pandas()
table = curves.assign(level=curves["sparsity"].round(1)).pivot(index="weight", columns="level", values="drop")
print("KL divergence from the dense model, in nats, by sparsity\n")
print(table.sort_values(0.9).round(4).to_string())

# %%
touchy = table[0.9].idxmax()
print(f"\nleave this one alone: {touchy}")
plan = run.plan(sparsity=0.5, freeze=[touchy])
print(plan.to_pandas()[["op", "parameters", "sparsity"]].round(3).to_string())
plan  # draws a bar for every weight

# %%
accuracy = run.curves_of("accuracy")[touchy]
print(f"\naccuracy that {touchy} alone would cost:")
for sparsity, drop in zip(accuracy.sparsity, accuracy.drop, strict=True):
    print(f"  {drop:+.3f} at {sparsity:.0%} zeros")
