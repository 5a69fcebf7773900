"""Plans that are carried out as a whole, from the command line; the written file is judged by onnx and onnxruntime."""

import hashlib
import json
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import ROOT, document, onnxsens
from onnx import numpy_helper
from safetensors.numpy import load_file

MODELS = ROOT / "models"
DATA = MODELS / "japanese_vowels_test.npz"
TRANSFORMER = MODELS / "jv_transformer.onnx"
GRU = MODELS / "jv_gru.onnx"


def auto(model: Path, folder: Path, *options: str) -> dict:
    made: dict = document("auto", model, "-d", DATA, *options, "-o", folder)
    return made


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def logits(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": np.load(DATA)["x"]})[0]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("updates") / "run"
    auto(TRANSFORMER, folder, "--sparsity", "0.7")
    return folder


@pytest.fixture(scope="module")
def plan(run: Path) -> dict:
    made: dict = json.loads((run / "plan.json").read_text())
    return made


class TestByDefault:
    def test_kept_elements_are_reconstructed_and_their_values_lie_beside_the_plan(self, run: Path, plan: dict) -> None:
        assert (plan["technique"], plan["update"]) == ("obs", "reconstruct")
        file = run / plan["changes"]["file"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == plan["changes"]["sha256"]
        dense, pruned, changes = tensors(TRANSFORMER), tensors(run / "pruned.onnx"), load_file(file)
        differing = {name for name in dense if dense[name].tobytes() != pruned[name].tobytes()}
        assert differing == set(plan["changed"]) == set(changes)
        assert all(changes[name].tobytes() == pruned[name].tobytes() for name in changes)
        for weight in plan["weights"]:
            assert int((pruned[weight["name"]] == 0).sum()) == weight["zeros"]

    def test_quality_is_what_plain_inference_of_the_written_file_gives(self, run: Path, plan: dict) -> None:
        held = np.random.default_rng(0).permutation(370)[: plan["quality"]["samples"]]
        after, before = logits(run / "pruned.onnx")[held], logits(TRANSFORMER)[held]
        right = (after.argmax(1) == np.load(DATA)["labels"][held]).mean()
        assert right == pytest.approx(plan["quality"]["metrics"]["accuracy"]["pruned"], abs=1e-9)
        p, q = (each - np.log(np.exp(each).sum(1, keepdims=True)) for each in (before, after))
        kl = (np.exp(p) * (p - q)).sum(1).mean()
        assert kl == pytest.approx(plan["quality"]["metrics"]["kl"]["drop"], rel=1e-2, abs=1e-7)

    def test_milder_updates_and_known_rules_stand_beside_it(self, plan: dict) -> None:
        losses = {item["name"]: item["metrics"]["kl"]["drop"] for item in plan["updates"]}
        assert list(losses) == ["none", "bias", "obs", "refit", "reconstruct"]
        assert losses["reconstruct"] * 2 < losses["refit"] < losses["obs"] < losses["none"]
        assert losses["reconstruct"] == pytest.approx(plan["quality"]["metrics"]["kl"]["drop"], rel=0.5)
        assert {item["name"] for item in plan["baselines"]} == {"uniform", "erk", "lamp"}
        assert min(item["metrics"]["kl"]["drop"] for item in plan["baselines"]) > 20 * losses["reconstruct"]

    def test_apply_writes_the_same_bytes_and_refuses_without_the_right_values(self, run: Path, tmp_path: Path) -> None:
        document("apply", TRANSFORMER, run / "plan.json", "-o", tmp_path / "again.onnx")
        assert (tmp_path / "again.onnx").read_bytes() == (run / "pruned.onnx").read_bytes()
        shutil.copy(run / "plan.json", tmp_path / "plan.json")
        command = ("apply", TRANSFORMER, tmp_path / "plan.json", "-o", tmp_path / "out.onnx")
        missing = onnxsens(*command)
        (tmp_path / "changes.safetensors").write_bytes(b"0" * 100)
        damaged = onnxsens(*command)
        for refused, what in ((missing, "is not there"), (damaged, "is not the file")):
            assert refused.returncode == 3
            assert what in " ".join(refused.stderr.split())
        assert not (tmp_path / "out.onnx").exists()

    def test_verify_runs_the_plans_values_on_its_hold_out_split(self, run: Path, plan: dict) -> None:
        found = document("verify", TRANSFORMER, run / "plan.json", "-d", DATA, "--max-drop", "kl=0.5")
        assert (found["split"], found["holds"]) == ("holdout", True)
        assert found["metrics"]["kl"]["drop"] == pytest.approx(plan["quality"]["metrics"]["kl"]["drop"], rel=1e-6)

    def test_a_run_that_is_killed_goes_on_to_the_same_plan(self, run: Path, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "onnxsens", "auto", TRANSFORMER, "-d", DATA, "--sparsity", "0.7", "-o"]
        with subprocess.Popen(
            [*command, tmp_path / "run"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as job:
            for _ in range(600):
                if list((tmp_path / "run" / "variants").glob("*.json")) or job.poll() is not None:
                    break
                try:
                    job.wait(0.02)
                except subprocess.TimeoutExpired:
                    continue
            job.kill()
        auto(TRANSFORMER, tmp_path / "run", "--sparsity", "0.7")
        one, other = (json.loads((folder / "plan.json").read_text()) for folder in (run, tmp_path / "run"))
        assert [weight["level"] for weight in one["weights"]] == [weight["level"] for weight in other["weights"]]


@pytest.mark.parametrize("update", ["none", "bias", "obs", "refit", "sequential"])
def test_milder_updates_are_there_to_be_asked_for(update: str, tmp_path: Path) -> None:
    made = auto(TRANSFORMER, tmp_path, "--sparsity", "0.5", "--update", update)
    assert made["update"] == update
    assert (made["changes"] is None) == (update == "none")
    assert made["totals"]["sparsity"] == pytest.approx(0.5, abs=0.005)


PATTERNS = ["wanda", "lamp", "magnitude:2:4", "obs:block4x1", "magnitude:channel", "obs:row"]


@pytest.mark.parametrize("technique", PATTERNS)
def test_the_written_file_has_the_pattern(technique: str, tmp_path: Path) -> None:
    made = auto(TRANSFORMER, tmp_path, "--sparsity", "0.4", "--technique", technique)
    pruned = tensors(tmp_path / "pruned.onnx")
    planned = [weight for weight in made["weights"] if weight["zeros"]]
    assert len(planned) > 3
    for weight in planned:
        values = pruned[weight["name"]]
        rows = (values.T if weight["op"] == "MatMul" else values) != 0  # `[out, in]`
        if technique.endswith("2:4"):
            assert (rows.reshape(len(rows), -1, 4).sum(axis=2) <= 2).all()
        elif technique.endswith("block4x1"):
            blocks = rows.reshape(len(rows) // 4, 4, -1).any(axis=1)
            assert weight["zeros"] == 4 * int((~blocks).sum())
        elif technique.endswith("channel"):
            assert set(rows.mean(axis=1)) <= {0.0, 1.0}
        elif technique.endswith("row"):
            assert len(set(rows.sum(axis=1))) == 1


def test_polygraphy_finds_the_planned_weights_sparse_as_tensorrt_wants_them(tmp_path: Path) -> None:
    pytest.importorskip("polygraphy", reason="a test extra")
    made = auto(TRANSFORMER, tmp_path, "--sparsity", "0.45", "--target", "tensorrt-2to4")
    program = Path(sys.executable).parent / "polygraphy"
    done = subprocess.run(
        [program, "inspect", "sparsity", tmp_path / "pruned.onnx"], capture_output=True, text=True, check=True
    )
    sparse = {line.rpartition(": ")[2].strip() for line in done.stdout.splitlines() if "Found sparse tensor" in line}
    assert sparse == {weight["name"] for weight in made["weights"] if weight["zeros"]}
    assert len(sparse) > 5
    assert made["objective"]["target"] == "tensorrt-2to4"


def test_limits_hold_in_the_written_file_and_the_plan_says_which(tmp_path: Path) -> None:
    limits = (
        "--freeze",
        "f.weight",
        "--min",
        "*_236=0.7",
        "--max",
        "*_23?=0.75",
        "--pin",
        "*_245=0.5",
        "--skip",
        "first",
    )
    made = auto(TRANSFORMER, tmp_path, "--sparsity", "0.5", *limits)
    by_name = {weight["name"].rpartition("_")[2]: weight for weight in made["weights"]}
    assert by_name["f.weight"]["zeros"] == by_name["228"]["zeros"] == 0
    assert by_name["245"]["sparsity"] == 0.5
    assert 0.6999 <= by_name["236"]["sparsity"] <= 0.7501  # to the element
    assert all(by_name[name]["sparsity"] <= 0.7501 for name in ("229", "233", "237"))
    assert "--freeze 'f.weight'" in by_name["f.weight"]["limited"]
    assert tensors(tmp_path / "pruned.onnx")["f.weight"].tobytes() == tensors(TRANSFORMER)["f.weight"].tobytes()


def test_budgets_are_kept_by_the_written_file(tmp_path: Path) -> None:
    made = auto(GRU, tmp_path / "size", "--size", "60kB")
    pruned = tensors(tmp_path / "size" / "pruned.onnx")
    taken = sum(len(zlib.compress(pruned[weight["name"]].tobytes(), 6)) for weight in made["weights"])
    assert 50_000 < taken <= 60_000
    assert taken == made["totals"]["bytes_zlib_pruned"]
    made = auto(TRANSFORMER, tmp_path / "macs", "--macs", "0.4")
    assert 0.38 < made["totals"]["macs_nonzero"] / made["totals"]["macs_dense"] <= 0.4
    refused = onnxsens("auto", GRU, "-d", DATA, "--size", "10B", "-o", tmp_path / "none")
    assert refused.returncode == 5
    assert "cannot be met" in refused.stderr


def test_the_front_is_written_and_shown(tmp_path: Path) -> None:
    done = onnxsens("auto", GRU, "-d", DATA, "--sparsity", "0.6", "--pareto", "-o", tmp_path)
    assert done.returncode == 0
    assert "the front" in done.stdout
    points = json.loads((tmp_path / "pareto.json").read_text())["points"]
    assert [point["sparsity"] for point in points] == sorted(point["sparsity"] for point in points)
    front = [point["drops"]["kl"] for point in points if point["on_front"]]
    assert front == sorted(front)
    assert len(front) > 5


def test_bits_are_another_kind_of_level(tmp_path: Path) -> None:
    made = auto(GRU, tmp_path, "--technique", "bits", "--max-drop", "kl=0.05")
    assert made["level_kind"] == "bits"
    assert made["quality"]["verified"] is True
    pruned = tensors(tmp_path / "pruned.onnx")
    assert {weight["setting"] for weight in made["weights"]} <= {32.0, *map(float, range(2, 9))}
    for weight in made["weights"]:
        rows = pruned[weight["name"]].reshape(-1, weight["shape"][-1])
        assert max(len(np.unique(row)) for row in rows) <= 2 ** weight["setting"]
    assert min(weight["setting"] for weight in made["weights"]) < 6


def test_iterative_pruning_says_what_every_step_costs(tmp_path: Path) -> None:
    made = auto(GRU, tmp_path, "--sparsity", "0.8", "--iterative", "3")
    steps = [item["sparsity"] for item in made["steps"]]
    assert steps == sorted(steps)
    assert steps[-1] == pytest.approx(0.8, abs=0.005)
    pruned = tensors(tmp_path / "pruned.onnx")
    assert sum(int((pruned[weight["name"]] == 0).sum()) for weight in made["weights"]) == made["totals"]["zeros"]
    found = document("verify", GRU, tmp_path / "plan.json", "-d", DATA, "--max-drop", "kl=0.5")
    assert found["metrics"]["kl"]["drop"] == pytest.approx(made["quality"]["metrics"]["kl"]["drop"], rel=1e-5)


REFUSED = [
    (("--sparsity", "0.5", "--size", "1MB"), 2, "exclude each other"),
    (("--sparsity", "0.5", "--update", "reconstuct"), 2, "did you mean 'reconstruct'"),
    (("--sparsity", "0.5", "--target", "tensorrt"), 2, "tensorrt-2to4"),
    (("--sparsity", "0.5", "--technique", "obs:3to4"), 2, "unknown pattern '3to4'"),
    (("--sparsity", "0.5", "--technique", "bits", "--update", "obs"), 2, "is for sparsities"),
    (("--sparsity", "0.5", "--technique", "obs:row", "--target", "tensorrt-2to4"), 2, "takes the pattern 2:4"),
    (("--sparsity", "0.5", "--pin", "*=0.9", "--max", "*=0.5"), 2, "change one of the two"),
    (("--iterative", "3"), 2, "give --sparsity"),
    (("--sparsity", "0.5", "--technique", "wanda+obs"), 2, "--technique wanda --update obs"),
    (("--size", "huge"), 2, "is not a size"),
    (("--macs", "-1"), 2, "neither a share nor a number"),
    (("--sparsity", "0.6", "--technique", "magnitude:2:4"), 5, "cannot be met"),
    (("--sparsity", "0.5", "--freeze", "*"), 5, "no weight is left"),
]


@pytest.mark.parametrize(("options", "code", "fragment"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(
    options: tuple[str, ...], code: int, fragment: str, tmp_path: Path
) -> None:
    done = onnxsens("auto", GRU, "-d", DATA, *options, "-o", tmp_path)
    assert done.returncode == code, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert fragment in line
