"""The benchmarks run at a tiny size and give rows that make sense; what they are made of is right."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import ROOT
from onnx import numpy_helper

sys.path.append(str(ROOT))  # the suite is no part of what is installed

from benchmarks import ablation, engine, growth, mapping, plan_quality, plan_time, report_page, wide_layer
from benchmarks.cases import METRICS, SHIPPED, case
from benchmarks.floor import suffix_shares
from benchmarks.making import make
from benchmarks.networks import NETWORKS
from benchmarks.one_shot import Samples, drops, highest, plan, prunable
from benchmarks.timing import MB, in_child
from onnxsens import Options

ONE_THREAD: dict[str, Any] = {"threads": 1, "batch_size": 4}
SMALL = {name: {"side": 32} for name in NETWORKS} | {"transformer": {"tokens": 16}}

# Parameters as published, without those of BatchNormalization's statistics: torchvision's counts for the first four.
PARAMETERS = {"resnet18": 11_689_512, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_passes_the_checker_and_gives_logits_that_differ_between_samples(
    name: str, tmp_path: Path
) -> None:
    made = make(name, tmp_path, 6, **SMALL[name])
    onnx.checker.check_model(str(made.model), full_check=True)
    with np.load(made.data) as arrays:
        feed = {key: arrays[key] for key in arrays.files if key != "labels"}
        labels = arrays["labels"]
    session = onnxruntime.InferenceSession(str(made.model), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, feed)
    assert len(logits) == 6
    np.testing.assert_array_equal(logits.argmax(axis=1), labels)
    assert 0.2 < (logits - logits.mean(axis=0)).std() < 30
    assert made.model.with_suffix(".bin").is_file() == (made.weight_bytes > 100 * MB) == (name == "resnet50")


@pytest.mark.parametrize(("name", "count"), PARAMETERS.items())
def test_the_networks_have_as_many_parameters_as_published(name: str, count: int) -> None:
    proto = NETWORKS[name](0)
    weights = {tensor.name: int(np.prod(tensor.dims)) for tensor in proto.graph.initializer}
    kept = [size for key, size in weights.items() if not key.endswith(("running_mean", "running_var"))]
    assert sum(kept) - sum(size for key, size in weights.items() if key.startswith("constant_")) == count


def test_networks_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again, other = (NETWORKS["resnet20"](seed).SerializeToString() for seed in (1, 1, 2))
    assert first == again != other


def test_the_floor_of_a_chain_of_equal_layers_falls_in_equal_steps(tmp_path: Path) -> None:
    made = make("chain", tmp_path, 1, depth=4, side=8, width=8, channels=8)
    conv = 8 * 8 * 9 * 64
    macs = {f"layers.{number}.weight": conv for number in range(4)} | {"head.weight": 80}
    shares = suffix_shares(made.model, macs)
    total = 4 * conv + 80
    assert list(shares.values()) == pytest.approx([(conv * left + 80) / total for left in (4, 3, 2, 1, 0)])


def test_the_floor_counts_what_is_beside_a_weight_and_products_without_weights(tmp_path: Path) -> None:
    made = make("transformer", tmp_path, 1, tokens=16)
    positions, width = 16, 256
    macs = {}
    for name in prunable(onnx.load(made.model)):
        size = width**2 * (4 if ".fc" in name else 1)
        macs[name] = 0 if name == "embedding" else 16 * width if name == "head.weight" else positions * size
    shares = suffix_shares(made.model, macs)
    attention = 2 * positions**2 * width  # scores, and their mixture of values
    layer = positions * 12 * width**2 + attention
    total = 12 * layer + 16 * width
    assert shares["embedding"] == 1
    assert shares["layers.1.query.weight"] == pytest.approx((total - layer - 2 * positions * width**2) / total)
    assert shares["layers.11.proj.weight"] == pytest.approx((positions * 9 * width**2 + 16 * width) / total)


def test_the_engine_benchmark_measures_every_layer_and_finds_equal_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = case("resnet20", tmp_path, 4, settings=ONE_THREAD, side=8)
    grid = engine.measure(wanted, engine.levels_of(2), rounds=1, every=6)
    engine.show(grid, by_layer=True)
    (layers,) = grid.rounds
    assert [len(layers), grid.weights, grid.samples, grid.batch] == [4, 22, 4, 4]
    assert layers[0].share == 1
    assert [layer.share for layer in layers] == sorted((layer.share for layer in layers), reverse=True)
    assert all(0 < layer.floor <= 2 * layer.plain for layer in layers)
    assert grid.equality.compared == 4 * 2 * len(METRICS)
    assert grid.equality.to_curve < 1e-4
    assert 50 * MB < grid.peak < 1000 * MB
    assert "a subset: of 22 layers" in capsys.readouterr().out


def test_growth_is_measured_at_each_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = growth.chains(tmp_path, 8, ONE_THREAD)
    rows = growth.by_depth(chain, (2, 3), 4, rounds=1)
    growth.show_rows("depth", rows)
    assert [(row.size, row.points) for row in rows] == [(2, 9), (3, 12)]
    assert all(row.to_half.median > 0 for row in rows)
    assert rows[0].to_linear(rows[0]).median == 1
    assert "to linear" in capsys.readouterr().out


def test_the_one_shot_loop_zeroes_the_smallest_weights_and_takes_the_mean_drop(tmp_path: Path) -> None:
    made = make("chain", tmp_path, 8, depth=2, side=8, width=4, channels=4)
    proto = onnx.load(made.model)
    with np.load(made.data) as arrays:
        images, labels = arrays["image"], arrays["labels"]
    session = onnxruntime.InferenceSession(str(made.model), providers=["CPUExecutionProvider"])
    dense = session.run(None, {"image": images})[0]
    samples = Samples("image", images, dense, labels)
    assert prunable(proto) == ["layers.0.weight", "layers.1.weight", "head.weight"]
    assert drops(proto, {"layers.0.weight": 0.0}, samples, "kl").max() < 1e-6
    head = next(tensor for tensor in proto.graph.initializer if tensor.name == "head.weight")
    bias = next(numpy_helper.to_array(tensor) for tensor in proto.graph.initializer if tensor.name == "head.bias")
    lost = drops(proto, {"head.weight": 1.0}, samples, "accuracy")
    np.testing.assert_array_equal(lost, labels != bias.argmax())
    assert numpy_helper.to_array(head).any()


def test_the_usual_plan_holds_as_a_whole_on_the_search_samples(tmp_path: Path) -> None:
    assert highest({"a": [(0.5, 0.0), (0.9, 0.2)], "b": [(0.5, 0.3)]}, 0.1) == {"a": 0.5, "b": 0.0}
    made = make("chain", tmp_path, 64, depth=2, side=8, width=4, channels=4)
    proto = onnx.load(made.model)
    search, holdout = plan_time.halves(plan_time.Case("chain", made.model, Options(str(made.data)), 64, 0))
    layers = prunable(proto)
    curves = {
        name: [(level, float(drops(proto, {name: level}, search, "kl").mean())) for level in (0.3, 0.6, 0.9)]
        for name in layers
    }
    found = plan(proto, curves, search, holdout, "kl", 0.4)
    assert drops(proto, found.levels, search, "kl").mean() <= 0.4
    assert any(level > 0 for level in found.levels.values())
    assert found.runs % 9 == 0


def test_time_to_a_plan_is_measured_for_both_and_an_extrapolation_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = case("chain", tmp_path, 160, settings={"threads": 1}, side=8, depth=2)
    ours = plan_time.auto(wanted, "kl=0.2", tmp_path / "run")
    whole = plan_time.loop(wanted, "kl=0.2", 1.0)
    part = plan_time.loop(wanted, "kl=0.2", 0.1, most=48)
    assert part.measured == 48
    assert whole.points == part.points == 60
    assert part.part == pytest.approx(0.1)
    assert whole.sparsity is not None
    assert part.found is None
    plan_time.show(wanted, "kl=0.2", [ours], part)
    assert "EXTRAPOLATED from 10.0 % of its points, each on 48 of its samples" in capsys.readouterr().out
    assert ours.seconds > 0
    assert 0 < ours.sparsity < 1


def test_shipped_models_can_be_measured(tmp_path: Path) -> None:
    assert all(case(name, tmp_path, 8, settings={}).model.is_file() for name in SHIPPED)


def test_the_peak_of_a_child_is_its_own() -> None:
    small, large = (in_child(bytearray, size)[1] for size in (1, 200 * MB))
    assert 190 * MB < large - small < 700 * MB


def test_plan_quality_and_the_ablation_table_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    plan_quality.main(["jv_gru", "--levels", "0.6"])
    ablation.main(["jv_gru", "--levels", "0.6"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    methods = {line.split(" | ")[1] for line in lines if line.startswith("| jv_gru")}
    assert {"uniform", "erk", "lamp", "one-tolerance", "ours, no update", "ours, reconstruct"} <= methods
    losses = {
        line.split(" | ")[0][2:]: float(line.rpartition("; ")[2].rstrip(" |")) for line in lines if "; 0." in line
    }
    by_method = {name: losses[f"knapsack: {text}"] for name, text in ablation.METHODS.items()}
    assert by_method["reconstruct"] < by_method["refit"] < by_method["none"]


def test_a_wide_layer_says_what_it_took(capsys: pytest.CaptureFixture[str]) -> None:
    wide_layer.main(["--rows", "8", "--columns", "40", "--inputs", "2000"])
    assert capsys.readouterr().out.startswith("8 x 40: ")


def test_mapping_finds_its_own_checkpoint_and_refuses_the_other(capfd: pytest.CaptureFixture[str]) -> None:
    mapping.main(["--blocks", "2", "--width", "32"])
    said = capfd.readouterr()
    assert said.err.count("100.0 % of the elements of 12 weights") == 2
    assert "is not the checkpoint of" in said.err
    assert said.out.count("exit 0") == 2
    assert said.out.count("exit 3") == 1


def test_pages_are_weighed_and_opened(capsys: pytest.CaptureFixture[str]) -> None:
    report_page.main(["--layers", "2", "4", "--rounds", "1", "--points", "1"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith(("| 2", "| 4"))]
    small, large = (float(row[2].removesuffix(" kB")) for row in rows)
    assert 30 < small < large < 200
