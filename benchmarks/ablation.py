"""What each part of `reconstruct` is worth: one plan, the knapsack's, carried out by ever better methods.

    python -m benchmarks.ablation fashion_cnn fashion_resnet fashion_vgg
    python -m benchmarks.ablation fashion_cnn --levels 0.8 --pickers knapsack one-tolerance lamp --samples 512 2048 5000

A column a level: drop of accuracy in points, and KL, on the hold-out split. Nothing is chosen by these figures.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.cases import MODELS, SHIPPED
from benchmarks.plan_quality import prepared
from onnxsens.options import Options
from onnxsens.plan.climbing import Carrying
from onnxsens.plan.pickers import pickers
from onnxsens.scan import Joint
from onnxsens.workbench import Workbench

METHODS = {
    "none": "the picker's levels, nothing updated",
    "bias": "biases take the means",
    "obs": "OBS, weight by weight",
    "refit": "exact refit and bias, weight by weight",
    "sequential": "in order, from pruned inputs to dense outputs",
    "reconstruct": "masks by ADMM",
}


def rows_of(
    name: str, options: Options, levels: Sequence[float], names: Sequence[str], samples: Sequence[int], folder: Path
) -> Iterator[tuple[str, str, int, float, Joint]]:
    """Picker, method, calibration size, level, and what was measured."""
    with Workbench(MODELS / f"{name}.onnx", replace(options, update="reconstruct")) as bench:
        task, ensemble = prepared(bench, folder, names)
        scanner = task.scanner
        for picker in names:
            for level in levels:
                chosen = ensemble.levels_at(picker, level)
                if chosen is None:
                    continue
                for method in METHODS:
                    # Without an update, which elements go is best said by magnitude.
                    technique = "magnitude" if method in {"none", "bias"} else "obs"
                    carrying = Carrying(bench.carrier, technique, method)
                    for count in samples if method == "reconstruct" else samples[:1]:
                        carried = carrying.carry(chosen, min(count, bench.sizes["search"]))
                        joint = scanner.joint(chosen, "holdout", scanner.metrics, base=carried.name)
                        yield picker, method, count, level, joint


def main(arguments: Sequence[str] | None = None) -> None:
    """A table a model."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=[name for name in SHIPPED if name != "jv_gru1_loop"])
    parser.add_argument("--levels", type=float, nargs="+", default=[0.5, 0.7, 0.8])
    parser.add_argument("--pickers", nargs="+", default=["knapsack"], choices=pickers.names())
    parser.add_argument("--samples", type=int, nargs="+", default=[2048])
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="onnxsens-ablation-") as folder:
        for name in given.models:
            options = replace(SHIPPED[name], metrics=("accuracy",))
            cells: dict[tuple[str, str, int], dict[float, str]] = {}
            own = Path(folder) / name
            for picker, method, count, level, joint in rows_of(
                name, options, given.levels, given.pickers, given.samples, own
            ):
                found = joint.measurements
                text = f"{100 * found['accuracy'].drop:.1f}; {found['kl'].drop:.4f}"
                cells.setdefault((picker, method, count), {})[level] = text
            print(f"| {name} | samples | " + " | ".join(f"{level:.0%}" for level in given.levels) + " |")
            print("|---|---|" + "---|" * len(given.levels))
            for (picker, method, count), row in cells.items():
                values = " | ".join(row.get(level, "-") for level in given.levels)
                print(f"| {picker}: {METHODS[method]} | {count} | {values} |")


if __name__ == "__main__":
    main()
