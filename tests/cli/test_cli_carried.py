"""What `auto` writes, held against the plan and the options: the file by onnx alone, its quality by a plain session.

One run for a set of options, shared by its tests.
"""

import hashlib
import json
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import ROOT, document, onnxsens, with_routes_of
from onnx import numpy_helper
from safetensors.numpy import load_file

MODELS = ROOT / "models"
VOWELS = MODELS / "japanese_vowels_test.npz"
SEVENTY = ("--sparsity", "0.7")
Run = Callable[..., Path]
Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Folder of a finished run of a shipped model with options; made once."""
    made: dict[tuple[str, ...], Path] = {}

    def once(model: str, *options: str) -> Path:
        if (model, *options) not in made:
            folder = tmp_path_factory.mktemp("carried") / "run"
            document("auto", MODELS / f"{model}.onnx", "-d", VOWELS, *options, "-o", folder)
            made[model, *options] = folder
        return made[model, *options]

    return once


def tensors(path: Path) -> Tensors:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def plan_in(folder: Path) -> Any:
    return json.loads((folder / "plan.json").read_text())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def differing(model: str, folder: Path) -> set[str]:
    before, after = tensors(MODELS / f"{model}.onnx"), tensors(folder / "pruned.onnx")
    assert list(before) == list(after)
    return {name for name in before if before[name].tobytes() != after[name].tobytes()}


@pytest.mark.parametrize("model", ["jv_transformer", "jv_gru"])
class TestByDefault:
    def test_the_plan_is_reconstructed_and_its_values_lie_beside_it(self, run: Run, model: str) -> None:
        folder = run(model, *SEVENTY)
        plan = plan_in(folder)
        assert plan["update"] == "reconstruct"
        assert plan["choice"]["carried_out"] > 0
        changes = folder / plan["changes"]["file"]
        assert changes.name == "changes.safetensors"
        assert hashlib.sha256(changes.read_bytes()).hexdigest() == plan["changes"]["sha256"]
        held, after = load_file(changes), tensors(folder / "pruned.onnx")
        assert all(held[name].tobytes() == after[name].tobytes() for name in plan["changed"])

    def test_the_file_differs_from_the_dense_one_in_what_the_plan_says_and_nowhere_else(
        self, run: Run, model: str
    ) -> None:
        folder = run(model, *SEVENTY)
        plan, after = plan_in(folder), onnx.load(str(folder / "pruned.onnx"))
        assert differing(model, folder) == set(plan["changed"])
        before = onnx.load(str(MODELS / f"{model}.onnx"))
        for proto in (before, after):
            del proto.graph.initializer[:]
        assert before.SerializeToString(deterministic=True) == after.SerializeToString(deterministic=True)

    def test_the_zeros_of_the_file_are_those_of_the_plan(self, run: Run, model: str) -> None:
        folder = run(model, *SEVENTY)
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            values = after[weight["name"]]
            assert int((values == 0).sum()) == weight["zeros"]
            assert not np.signbit(values[values == 0]).any()
            assert np.isfinite(values).all()
        assert plan["totals"]["zeros"] / plan["totals"]["parameters"] == pytest.approx(0.7, abs=0.001)

    def test_a_plain_session_gives_the_quality_that_the_plan_states(self, run: Run, model: str) -> None:
        folder = run(model, *SEVENTY)
        plan, data = plan_in(folder), np.load(VOWELS)
        order = np.random.default_rng(plan["data"]["seed"]).permutation(plan["data"]["samples"])
        held = order[: plan["data"]["holdout"]]
        dense, pruned = (answers(path, data["x"][held]) for path in (MODELS / f"{model}.onnx", folder / "pruned.onnx"))
        before, after = log_softmax(dense), log_softmax(pruned)
        stated = plan["quality"]["metrics"]
        divergence = (np.exp(before) * (before - after)).sum(axis=1).mean()
        assert stated["kl"]["pruned"] == pytest.approx(divergence, rel=1e-3, abs=1e-7)
        for logits, which in ((dense, "dense"), (pruned, "pruned")):
            right = (logits.argmax(axis=1) == data["labels"][held]).mean()
            assert stated["accuracy"][which] == pytest.approx(right, abs=1e-12)

    def test_apply_gives_the_bytes_of_the_run(self, run: Run, model: str, tmp_path: Path) -> None:
        folder = run(model, *SEVENTY)
        made = document("apply", MODELS / f"{model}.onnx", folder / "plan.json", "-o", tmp_path / "again.onnx")
        assert (tmp_path / "again.onnx").read_bytes() == (folder / "pruned.onnx").read_bytes()
        assert made["zeros"] == plan_in(folder)["totals"]["zeros"]

    def test_verify_looks_at_the_hold_out_split_and_finds_what_the_plan_says(self, run: Run, model: str) -> None:
        folder = run(model, *SEVENTY)
        command = ("verify", MODELS / f"{model}.onnx", folder / "plan.json", "-d", VOWELS)
        found = document(*command, "--max-drop", "kl=0.5")
        assert (found["split"], found["samples"], found["holds"]) == ("holdout", 185, True)
        stated = plan_in(folder)["quality"]["metrics"]["kl"]
        assert found["metrics"]["kl"]["drop"] == pytest.approx(stated["drop"], rel=1e-6)
        assert onnxsens(*command, "--max-drop", "kl=1e-9").returncode == 6

    def test_plan_in_the_run_gives_the_same_plan(self, run: Run, model: str) -> None:
        folder = run(model, *SEVENTY)
        names = ("plan.json", "changes.safetensors", "pruned.onnx")
        before = {name: (folder / name).read_bytes() for name in names}
        document("plan", folder, *SEVENTY)
        assert {name: (folder / name).read_bytes() for name in names} == before


def damaged(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("which", ["missing", "damaged", "foreign", "empty", "a folder"])
def test_values_that_are_not_the_plans_end_apply_with_3_and_write_nothing(run: Run, tmp_path: Path, which: str) -> None:
    folder, other = run("jv_transformer", *SEVENTY), run("jv_gru", *SEVENTY)
    (tmp_path / "plan.json").write_bytes((folder / "plan.json").read_bytes())
    beside = tmp_path / "changes.safetensors"
    if which == "a folder":
        beside.mkdir()
    elif which != "missing":
        own, foreign = ((each / beside.name).read_bytes() for each in (folder, other))
        beside.write_bytes({"damaged": damaged(own), "foreign": foreign, "empty": b""}[which])
    refused = onnxsens(
        "apply", MODELS / "jv_transformer.onnx", tmp_path / "plan.json", "-o", tmp_path / "out.onnx", COLUMNS="400"
    )
    assert refused.returncode == 3
    [line] = refused.stderr.splitlines()
    assert line.startswith("error: ") and "changes.safetensors" in line
    assert ("is not there" in line) is (which in {"missing", "a folder"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["plan.json", *([] if which == "missing" else [beside.name])]
    )


LADDER = ["none", "bias", "obs", "refit", "reconstruct"]


class TestUpdates:
    @pytest.mark.parametrize("update", LADDER[:-1])
    def test_a_milder_one_can_be_asked_for_and_is_compared_with_those_below_it(self, run: Run, update: str) -> None:
        folder = run("jv_transformer", *SEVENTY, "--update", update)
        plan = plan_in(folder)
        assert plan["update"] == update
        assert [each["name"] for each in plan["updates"]] == ([] if update == "none" else self.below(update))
        assert (plan["changes"] is None) is (update == "none") is not (folder / "changes.safetensors").exists()
        assert differing("jv_transformer", folder) == set(plan["changed"])

    def below(self, update: str) -> list[str]:
        return LADDER[: LADDER.index(update) + 1]

    @pytest.mark.parametrize("update", ["none", "bias"])
    def test_without_a_fit_kept_elements_keep_every_bit(self, run: Run, update: str) -> None:
        folder = run("jv_transformer", *SEVENTY, "--update", update)
        plan, before = plan_in(folder), tensors(MODELS / "jv_transformer.onnx")
        after = tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            old, new = before[weight["name"]], after[weight["name"]]
            assert np.array_equal(new[new != 0], old[new != 0])
        besides = set(plan["changed"]) - {weight["name"] for weight in plan["weights"]}
        assert bool(besides) is (update == "bias")

    @pytest.mark.parametrize("update", ["obs", "refit"])
    def test_with_a_fit_kept_elements_change(self, run: Run, update: str) -> None:
        folder = run("jv_transformer", *SEVENTY, "--update", update)
        plan, before = plan_in(folder), tensors(MODELS / "jv_transformer.onnx")
        after = tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            old, new = before[weight["name"]], after[weight["name"]]
            if 0.5 < weight["sparsity"] < 1:  # rows that would lose more stay as they are
                assert (old != new)[new != 0].mean() > 0.5
        besides = set(plan["changed"]) - {weight["name"] for weight in plan["weights"]}
        assert bool(besides) is (update == "refit")
        assert all(name.endswith(".bias") for name in besides)

    def test_the_better_one_loses_less_at_the_same_levels(self, run: Run) -> None:
        plan = plan_in(run("jv_transformer", *SEVENTY))
        losses = {each["name"]: each["metrics"]["kl"]["drop"] for each in plan["updates"]}
        assert list(losses) == LADDER
        assert losses["reconstruct"] < losses["refit"] < losses["none"]
        assert losses["refit"] < losses["obs"] < losses["none"]
        assert losses["bias"] < losses["none"]
        assert losses["reconstruct"] == plan["quality"]["metrics"]["kl"]["drop"]


def matrix(values: np.ndarray, op: str) -> np.ndarray:
    """`[groups, out, in]` with input channels last: MatMul weights are stored `[in, out]`, kernels `[out, in, ...]`."""
    if op == "MatMul":
        return values.T[None]
    if op == "Conv":
        return np.moveaxis(values.reshape(*values.shape[:2], -1), 2, 0)
    return values.reshape(-1, *values.shape[-2:])


class TestPatterns:
    @pytest.mark.parametrize("options", [("--technique", "magnitude:2:4"), ("--target", "tensorrt-2to4")])
    def test_of_four_input_channels_two_are_left(self, run: Run, options: tuple[str, ...]) -> None:
        folder = run("jv_transformer", "--sparsity", "0.4", *options)
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        pruned = [weight for weight in plan["weights"] if weight["zeros"]]
        assert len(pruned) > 5
        for weight in pruned:
            rows = matrix(after[weight["name"]], weight["op"])
            assert ((rows != 0).reshape(*rows.shape[:-1], -1, 4).sum(axis=-1) <= 2).all()
            assert (weight["pattern"], weight["sparsity"]) == ("2:4", 0.5)

    def test_blocks_are_gone_as_a_whole(self, run: Run) -> None:
        folder = run("jv_transformer", *SEVENTY, "--technique", "obs:block4x1")
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            rows = matrix(after[weight["name"]], weight["op"])[0] != 0
            if weight["zeros"]:
                blocks = rows.reshape(rows.shape[0] // 4, 4, rows.shape[1])
                assert ((blocks.sum(axis=1) == 0) | (blocks.sum(axis=1) == 4)).all()
            else:
                assert weight["limited"] or rows.all()
        assert {weight["name"]: weight["limited"] for weight in plan["weights"] if weight["limited"]}.keys() == {
            "f.weight"  # 9 rows
        }

    def test_channels_are_gone_as_a_whole(self, run: Run) -> None:
        folder = run("jv_transformer", "--sparsity", "0.3", "--technique", "magnitude:channel")
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            left = (matrix(after[weight["name"]], weight["op"])[0] != 0).mean(axis=1)
            assert set(left) <= {0.0, 1.0}
            assert weight["zeros"] == int((left == 0).sum()) * after[weight["name"]].size // len(left)

    def test_rows_have_equally_many_left(self, run: Run) -> None:
        folder = run("jv_transformer", *SEVENTY, "--technique", "obs:row")
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        for weight in plan["weights"]:
            assert len(set((matrix(after[weight["name"]], weight["op"])[0] != 0).sum(axis=1))) == 1

    def test_wanda_chooses_by_inputs_too(self, run: Run) -> None:
        wanda, plain = (
            run("jv_transformer", *SEVENTY, "--technique", name, "--update", "none") for name in ("wanda", "magnitude")
        )
        plan = plan_in(wanda)
        assert plan["technique"] == "wanda"
        assert plan["changes"] is not None  # which elements go depends on data
        assert plan_in(plain)["changes"] is None
        before, after = tensors(MODELS / "jv_transformer.onnx"), tensors(wanda / "pruned.onnx")
        bolder = 0
        for weight in plan["weights"]:
            old, new = before[weight["name"]], after[weight["name"]]
            assert np.array_equal(new[new != 0], old[new != 0])
            if 0 < weight["zeros"] < old.size:
                bolder += np.abs(old[new == 0]).max() > np.abs(old[new != 0]).min()
        assert bolder > 5

    def test_of_kernels_groups_lie_along_channels(self, tmp_path: Path) -> None:
        plan = fashion(tmp_path)
        after = tensors(tmp_path / "run" / "pruned.onnx")
        for weight in plan["weights"]:
            rows = matrix(after[weight["name"]], weight["op"])
            if weight["zeros"]:
                assert ((rows != 0).reshape(*rows.shape[:-1], -1, 4).sum(axis=-1) <= 2).all()
        assert sum(weight["op"] == "Conv" and weight["zeros"] > 0 for weight in plan["weights"]) > 3
        single = [weight for weight in plan["weights"] if weight["shape"][1] == 1]
        assert len(single) == 2  # the first Conv, and a depthwise one
        assert all(weight["zeros"] == 0 and "stays dense" in weight["limited"] for weight in single)


def fashion(folder: Path) -> Any:
    """A plan for fashion_cnn on 600 images."""
    data = np.load(MODELS / "fashion_mnist_test.npz")
    np.savez(folder / "few.npz", image=data["image"][:600], labels=data["labels"][:600])
    scaling = ("--scale", "255", "--mean", "0.286", "--std", "0.353")
    options = ("--sparsity", "0.4", "--technique", "magnitude:2:4", *scaling)
    return document("auto", MODELS / "fashion_cnn.onnx", "-d", folder / "few.npz", *options, "-o", folder / "run")


class TestPolygraphy:
    """NVIDIA's own check of what TensorRT's sparse kernels take; shares no code with ours."""

    def sparse(self, model: Path) -> set[str]:
        """Weights of which it says that they are 2:4 sparse."""
        pytest.importorskip("polygraphy", reason="NVIDIA Polygraphy is not installed; it is in the extra 'test'")
        program = Path(sys.executable).with_name("polygraphy")
        done = subprocess.run([program, "inspect", "sparsity", model], capture_output=True, text=True, check=True)
        marker = "Found sparse tensor: "
        return {line.partition(marker)[2].strip() for line in done.stdout.splitlines() if marker in line}

    def test_finds_the_pruned_matrices_sparse(self, run: Run) -> None:
        folder = run("jv_transformer", "--sparsity", "0.4", "--target", "tensorrt-2to4")
        pruned = {weight["name"] for weight in plan_in(folder)["weights"] if weight["zeros"]}
        assert self.sparse(folder / "pruned.onnx") == pruned
        assert not self.sparse(MODELS / "jv_transformer.onnx")

    def test_finds_the_pruned_kernels_sparse(self, tmp_path: Path) -> None:
        pruned = {weight["name"] for weight in fashion(tmp_path)["weights"] if weight["zeros"]}
        assert self.sparse(tmp_path / "run" / "pruned.onnx") == pruned


class TestLimits:
    OPTIONS = (
        *("--min", "*MatMul_228=0.5", "--max", "*MatMul_236=0.2", "--pin", "*MatMul_237=0.33"),
        *("--freeze", "*MatMul_229", "--skip", "last"),
    )

    @pytest.mark.parametrize("update", ["reconstruct", "none"])
    def test_they_hold_in_the_written_file_and_the_plan_names_them(self, run: Run, update: str) -> None:
        folder = run("jv_transformer", *SEVENTY, "--update", update, *self.OPTIONS)
        after, before = tensors(folder / "pruned.onnx"), tensors(MODELS / "jv_transformer.onnx")
        share = {name.rpartition("_")[2]: float((values == 0).mean()) for name, values in after.items()}
        assert share["228"] >= 0.5 - 1 / 576
        assert share["236"] <= 0.2 + 1 / 9216
        assert share["237"] == pytest.approx(0.33, abs=1 / 9216)
        for frozen in ("onnx::MatMul_229", "f.weight"):
            assert after[frozen].tobytes() == before[frozen].tobytes()
        named = {w["name"].rpartition(":")[2]: w["limited"] for w in plan_in(folder)["weights"] if w["limited"]}
        assert named == {
            "MatMul_228": "--min '*MatMul_228=0.5'",
            "MatMul_229": "--freeze '*MatMul_229'",
            "MatMul_236": "--max '*MatMul_236=0.2'",
            "MatMul_237": "--pin '*MatMul_237=0.33'",
            "f.weight": "--skip last",
        }
        assert plan_in(folder)["totals"]["sparsity"] == pytest.approx(0.7, abs=0.001)

    @pytest.mark.parametrize("options", [("--technique", "magnitude:2:4"), ("--target", "tensorrt-2to4")])
    def test_a_least_level_takes_the_next_one_that_the_pattern_has(self, run: Run, options: tuple[str, ...]) -> None:
        folder = run("jv_transformer", "--sparsity", "0.4", *options, "--min", "*MatMul_24?=0.3")
        shares = {
            weight["name"]: weight["sparsity"]
            for weight in plan_in(folder)["weights"]
            if weight["name"].startswith("onnx::MatMul_24")
        }
        assert len(shares) == 5
        assert set(shares.values()) == {0.5}


class TestBudgets:
    @pytest.mark.parametrize(
        ("nbytes", "options"),
        [
            (60_000, ("--update", "none")),
            (30_000, ("--update", "none")),
            (60_000, ()),
            (1000, ()),
            (40_000, ("--technique", "bits")),
        ],
    )
    def test_compressed_weights_of_the_file_take_no_more(self, run: Run, nbytes: int, options: tuple[str, ...]) -> None:
        folder = run("jv_transformer", "--size", str(nbytes), *options)
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        taken = sum(len(zlib.compress(after[weight["name"]].tobytes(), 6)) for weight in plan["weights"])
        assert taken == plan["totals"]["bytes_zlib_pruned"]
        assert 0.7 * nbytes < taken <= nbytes

    @pytest.mark.parametrize("macs", ["0.3", "400000"])
    def test_macs_of_the_elements_that_are_left_are_no_more(self, run: Run, macs: str) -> None:
        folder = run("jv_transformer", "--macs", macs)
        plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
        dense = plan["totals"]["macs_dense"]
        left = sum(w["macs"] * float((after[w["name"]] != 0).mean()) for w in plan["weights"])
        most = float(macs) * (dense if float(macs) <= 1 else 1)
        assert left == pytest.approx(plan["totals"]["macs_nonzero"], abs=len(plan["weights"]))
        assert 0.97 * most <= left <= most * (1 + 1e-4)

    def test_one_that_the_dense_model_keeps_changes_nothing(self, run: Run) -> None:
        for budget in (("--size", "10MB"), ("--macs", "1e12")):
            folder = run("jv_transformer", *budget)
            assert plan_in(folder)["changed"] == []
            assert (folder / "pruned.onnx").read_bytes() == (MODELS / "jv_transformer.onnx").read_bytes()


IMPOSSIBLE = [
    (("--size", "10"), "a size of 10 bytes cannot be met"),
    (("--macs", "0.3", "--max", "*=0.2"), "cannot be met"),
    (
        (
            "--size",
            "540",
        ),
        "a size of 540 bytes cannot be met",
    ),
    (
        ("--sparsity", "0.7", "--technique", "magnitude:2:4"),
        "a sparsity of 0.7 over all prunable weights cannot be met",
    ),
]


@pytest.mark.parametrize(("options", "message"), IMPOSSIBLE)
def test_what_cannot_be_met_ends_with_5_in_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = onnxsens("auto", MODELS / "jv_transformer.onnx", "-d", VOWELS, *options, "-o", tmp_path, "-q", COLUMNS="400")
    assert done.returncode == 5
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "plan.json").exists()


REFUSED = [
    (("--sparsity", "0.5", "--size", "60kB"), "--sparsity and --size exclude each other"),
    (("--macs", "0.5", "--max-drop", "kl=0.1"), "--max-drop and --macs exclude each other"),
    (("--update", "reconstuct"), "did you mean 'reconstruct'"),
    (("--target", "tensorrt-2to5"), "did you mean 'tensorrt-2to4'"),
    (("--technique", "magnitude:chanel"), "did you mean 'channel'"),
    (("--technique", "magnitude:4:2"), "keep at least 1, and fewer than all"),
    (("--technique", "obs:block4x1", "--target", "tensorrt-2to4"), "takes the pattern 2:4"),
    (("--technique", "bits", "--target", "tensorrt-2to4", "--sparsity", "0.4"), "'bits' makes none"),
    (("--technique", "bits", "--macs", "0.4"), "'bits' makes none"),
    (("--technique", "bits", "--update", "refit"), "is for sparsities"),
    (("--technique", "magnitude:2:4", "--sparsity", "0.2", "--pin", "*MatMul_237=0.3"), "the levels 0, 0.5 only"),
    (("--technique", "bits", "--sparsity", "0.7", "--pin", "*MatMul_237=0.5"), "allows none of them"),
    (("--freeze", "*MatMul_23", "--sparsity", "0.4"), "--freeze '*MatMul_23'"),
    (("--pareto", "--iterative", "3", "--sparsity", "0.5"), "give one of them"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    done = onnxsens("auto", MODELS / "jv_transformer.onnx", "-d", VOWELS, *options, "-o", tmp_path, "-q", COLUMNS="400")
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "plan.json").exists()


class TestTheFront:
    def test_it_is_written_by_sparsity_and_shown(self, tmp_path: Path) -> None:
        command = ("auto", MODELS / "jv_transformer.onnx", "-d", VOWELS, "--sparsity", "0.5", "-o", tmp_path)
        done = onnxsens(*command, "--pareto")
        assert done.returncode == 0, done.stderr
        assert "the front, measured as a whole" in done.stdout
        assert str(tmp_path / "pareto.json") in done.stderr.replace("\n", "")
        points = json.loads((tmp_path / "pareto.json").read_text())["points"]
        assert len(points) == 12
        assert [point["sparsity"] for point in points] == sorted(point["sparsity"] for point in points)
        front = [point for point in points if point["on_front"]]
        drops = [point["drops"]["kl"] for point in front]
        assert drops == sorted(drops)
        beaten = [point for point in points if not point["on_front"]]
        assert all(
            any(o["sparsity"] >= p["sparsity"] and o["drops"]["kl"] <= p["drops"]["kl"] for o in front) for p in beaten
        )
        again = onnxsens(*command)  # what lies there is no result of this one
        assert again.returncode == 0
        assert "the front" not in again.stdout

    def test_a_file_of_the_users_with_that_name_is_no_business_of_a_run_without_it(self, tmp_path: Path) -> None:
        (tmp_path / "pareto.json").write_text("{}")
        command = ("auto", MODELS / "jv_gru.onnx", "-d", VOWELS, "--sparsity", "0.5", "--update", "none")
        done = onnxsens(*command, "-o", tmp_path)
        assert done.returncode == 0, done.stderr
        refused = onnxsens(*command, "-o", tmp_path, "--pareto")
        assert refused.returncode == 4 and "--force" in refused.stderr
        assert (tmp_path / "pareto.json").read_text() == "{}"


def test_of_so_many_bits_a_row_has_no_more_values_than_they_tell_apart(run: Run) -> None:
    folder = run("jv_transformer", "--technique", "bits", "--max-drop", "kl=0.05")
    plan, after = plan_in(folder), tensors(folder / "pruned.onnx")
    assert (plan["level_kind"], plan["update"], plan["changes"]) == ("bits", "none", None)
    assert plan["quality"]["verified"] is True
    assert plan["quality"]["metrics"]["kl"]["bound"] <= 0.05
    assert any(weight["setting"] < 8 for weight in plan["weights"])
    for weight in plan["weights"]:
        assert weight["setting"] in {32, *range(2, 9)}
        rows = matrix(after[weight["name"]], weight["op"]).reshape(
            -1, *matrix(after[weight["name"]], weight["op"]).shape[-1:]
        )
        if weight["setting"] < 32:
            assert max(len(np.unique(row)) for row in rows) <= 2 ** weight["setting"]
        assert int((after[weight["name"]] == 0).sum()) == weight["zeros"]
    document("apply", MODELS / "jv_transformer.onnx", folder / "plan.json", "-o", folder / "again.onnx")
    assert (folder / "again.onnx").read_bytes() == (folder / "pruned.onnx").read_bytes()


@pytest.mark.parametrize("variants", [1, 4, 9])
def test_a_run_that_was_killed_ends_in_the_same_bytes(run: Run, tmp_path: Path, variants: int) -> None:
    finished, folder = run("jv_gru", *SEVENTY), tmp_path / "run"
    with_routes_of(finished, folder)  # how weights are run is measured, and part of the recipe of a run
    command = [sys.executable, "-m", "onnxsens", "auto", MODELS / "jv_gru.onnx", "-d", VOWELS, *SEVENTY, "-o", folder]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    started = time.monotonic()
    while process.poll() is None and len(list((folder / "variants").glob("*.json"))) < variants:
        assert time.monotonic() - started < 60
        time.sleep(0.005)
    process.kill()
    assert process.wait() == -9
    assert not (folder / "plan.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("plan.json", "changes.safetensors", "pruned.onnx"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()
