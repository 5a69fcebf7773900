"""The whole suite in a row: `python -m benchmarks` (hours), or `python -m benchmarks --quick` (minutes, small sizes).

`--quick` shows that everything runs; its figures are of sizes too small to be quoted.
"""

import argparse

from benchmarks import engine, growth, plan_time

QUICK_SIDE = 64


def whole() -> None:
    """What README.md quotes. ResNet-50 has a subset of its layers and points, and its output says so."""
    engine.main(["fashion_cnn", "jv_transformer", "jv_lstm", "jv_gru", "jv_gru1_loop"])
    engine.main(["resnet20", "--samples", "500"])
    engine.main(["resnet18", "mobilenet_v2", "vit_tiny", "transformer"])
    engine.main(["resnet50", "--samples", "32", "--every", "6"])
    plan_time.main(["fashion_cnn", "--goal", "accuracy=0.01"])
    plan_time.main(["resnet50", "--goal", "kl=0.1", "--samples", "128", "--part", "0.05"])
    growth.main([])


def quick() -> None:
    """Every script, every kind of network, at sizes that take seconds."""
    for name in (
        "fashion_cnn",
        "jv_transformer",
        "jv_gru1_loop",
        "resnet20",
        "resnet18",
        "mobilenet_v2",
        "transformer",
    ):
        side = ["--side", str(QUICK_SIDE)] if name in ("resnet18", "mobilenet_v2") else []
        engine.main([name, "--samples", "8", "--rounds", "1", "--levels", "2", "--every", "6", *side])
    plan_time.main(["resnet20", "--goal", "kl=0.5", "--samples", "80", "--side", "16", "--part", "0.05", "--runs", "1"])
    few = ["--depths", "8", "16", "--levels", "2", "4", "--counts", "16", "32"]
    growth.main(["--side", "16", "--samples", "16", "--memory-samples", "64", "--rounds", "1", *few])


def main() -> None:
    """One or the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes")
    (quick if parser.parse_args().quick else whole)()


if __name__ == "__main__":
    main()
