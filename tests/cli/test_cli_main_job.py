"""From a model to a checked plan, on a model small enough to do it many times."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import ROOT, document, onnxsens, with_routes_of
from networks import convolutional, model_of, samples_file, saved, tied, with_dead_weight, with_external_data
from onnx import numpy_helper

GOAL = ("--max-drop", "kl=0.05")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and 400 samples."""
    folder = tmp_path_factory.mktemp("task")
    return saved(convolutional(), folder / "m.onnx"), samples_file(folder / "d.npz", (2, 8, 8), 5, samples=400)


@pytest.fixture(scope="module")
def finished(task: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, made without interruption."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    done = onnxsens("auto", task[0], "-d", task[1], *GOAL, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: np.ndarray = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def test_the_plan_says_what_the_pruned_model_is(task: tuple[Path, Path], finished: Path) -> None:
    made = json.loads((finished / "plan.json").read_text())
    before, after = initializers(task[0]), initializers(finished / "pruned.onnx")
    for weight in made["weights"]:
        assert int((after[weight["name"]] == 0).sum()) == weight["zeros"]
    assert {name for name in before if before[name].tobytes() != after[name].tobytes()} == set(made["changed"])
    assert made["totals"]["zeros"] == sum(weight["zeros"] for weight in made["weights"])
    assert sum(row["parameters"] for row in made["skipped"]) + made["totals"]["parameters"] == sum(
        value.size for value in before.values()
    )


def test_the_pruned_model_has_the_quality_that_the_plan_states_in_a_plain_session(
    task: tuple[Path, Path], finished: Path
) -> None:
    made = json.loads((finished / "plan.json").read_text())
    data = np.load(task[1])
    order = np.random.default_rng(made["data"]["seed"]).permutation(made["data"]["samples"])
    x = data["x"][order[: made["data"]["holdout"]]]
    outputs = [
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for path in (task[0], finished / "pruned.onnx")
    ]
    p, q = map(softmax, outputs)
    kl = made["quality"]["metrics"]["kl"]
    assert kl["pruned"] == pytest.approx((p * np.log(p / q)).sum(1).mean(), rel=1e-5)
    assert kl["bound"] <= kl["limit"] == 0.05
    assert made["quality"]["verified"] is True
    assert made["totals"]["sparsity"] > 0.1


def test_the_same_command_again_measures_nothing_and_gives_the_same_bytes(
    task: tuple[Path, Path], finished: Path
) -> None:
    before = (finished / "plan.json").read_bytes()
    done = onnxsens("auto", task[0], "-d", task[1], *GOAL, "-o", finished, "-v")
    assert done.returncode == 0
    assert "zeros:" not in done.stderr
    assert (finished / "plan.json").read_bytes() == before


def rows_of(folder: Path) -> dict[tuple[object, ...], int]:
    """Row ids of all measurements; a row that is written again gets another one."""
    database = sqlite3.connect(folder / "scan.db")
    try:
        points = database.execute("SELECT weight, zeros, metric, start, rowid FROM point").fetchall()
        joints = database.execute("SELECT variant, split, metric, start, rowid FROM joint").fetchall()
    finally:
        database.close()
    return {tuple(row[:-1]): row[-1] for row in [*points, *joints]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_an_interrupted_run_goes_on_where_it_stopped_and_ends_in_the_same_plan(
    task: tuple[Path, Path], finished: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    with_routes_of(finished, folder)  # how weights are run is measured, and part of the recipe of a run
    command = [sys.executable, "-m", "onnxsens", "auto", task[0], "-d", task[1], *GOAL, "-o", folder]
    seen: dict[tuple[object, ...], int] = {}
    endings = []
    for wanted in (3, 40, 90):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        wait_for_rows(folder, wanted, process)
        process.send_signal(number)
        _, message = process.communicate(timeout=60)
        endings.append(process.returncode)
        rows = rows_of(folder)
        assert seen.items() <= rows.items()
        seen = rows
        if number is not signal.SIGKILL and process.returncode:
            assert message.splitlines()[-1].startswith(f"error: ended by {number.name}; everything measured is saved")
    assert endings[0] == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert seen.items() <= rows_of(folder).items()
    assert (folder / "plan.json").read_bytes() == (finished / "plan.json").read_bytes()
    assert (folder / "pruned.onnx").read_bytes() == (finished / "pruned.onnx").read_bytes()
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]


def wait_for_rows(folder: Path, wanted: int, process: "subprocess.Popen[str]") -> None:
    for _ in range(3000):
        if process.poll() is not None:
            return
        try:
            if (folder / "scan.db").exists() and len(rows_of(folder)) >= wanted:
                return
        except sqlite3.OperationalError:
            pass  # the tables are just being made
        time.sleep(0.01)
    raise AssertionError(f"not {wanted} rows in 30 s")


def test_a_look_that_fails_is_followed_by_a_milder_plan_three_looks_in_all(
    task: tuple[Path, Path], tmp_path: Path
) -> None:
    """Search and hold-out split differ, so that the first look is bound to fail: some labels of one are wrong."""
    data = dict(np.load(task[1]))
    order = np.random.default_rng(0).permutation(400)
    session = onnxruntime.InferenceSession(str(task[0]), providers=["CPUExecutionProvider"])
    dense = session.run(None, {"x": data["x"]})[0]
    labels = dense.argmax(1)
    unsure = np.sort(dense, axis=1)[:, -1] - np.sort(dense, axis=1)[:, -2]
    # On the search split only the surest samples count as right, so that pruning costs little there.
    wrong = order[200:][unsure[order[200:]] < np.median(unsure)]
    labels[wrong] = dense.argmin(1)[wrong]
    np.savez(tmp_path / "d.npz", x=data["x"], labels=labels)
    limit = ("--max-drop", "accuracy=0.04")
    done = onnxsens("auto", task[0], "-d", tmp_path / "d.npz", *limit, "-o", tmp_path / "run", "--json")
    made = json.loads(done.stdout)
    quality = made["quality"]
    assert quality["looks"] == 3
    assert quality["verified"] is (quality["metrics"]["accuracy"]["bound"] <= 0.04)
    assert done.returncode == (0 if quality["verified"] else 5)
    database = sqlite3.connect(tmp_path / "run" / "scan.db")
    drops = database.execute(
        "SELECT mean_drop FROM joint WHERE split = 'holdout' AND metric = 'kl' ORDER BY rowid"
    ).fetchall()
    database.close()
    assert len(drops) >= 3  # then follows what the plan is compared with
    assert drops[0] > drops[1] > drops[2]


def test_the_limit_that_is_advised_can_be_chosen_for(task: tuple[Path, Path], tmp_path: Path) -> None:
    refused = onnxsens("auto", task[0], "-d", task[1], "--max-drop", "agreement=0.01", "-o", tmp_path / "run")
    assert refused.returncode == 5
    advised = refused.stderr.split("--max-drop agreement=")[1].split()[0]
    done = onnxsens(
        "auto", task[0], "-d", task[1], "--max-drop", f"agreement={advised}", "-o", tmp_path / "run", "--json"
    )
    made = json.loads(done.stdout)
    assert done.returncode == (0 if made["quality"]["verified"] else 5)
    assert made["totals"]["zeros"] > 0


def test_a_sparsity_goal_counts_weights_that_stay_dense_too(tmp_path: Path) -> None:
    model = saved(with_dead_weight(), tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (6,), 3, samples=100)
    made = document("auto", model, "-d", data, "--sparsity", "0.4", "-o", tmp_path / "run")
    assert made["totals"]["zeros"] / made["totals"]["parameters"] >= 0.39
    refused = onnxsens("auto", model, "-d", data, "--sparsity", "0.6", "-o", tmp_path / "run")
    assert refused.returncode == 5
    assert "cannot be met (without effect on the outputs, and left dense: dead)" in refused.stderr


def test_the_output_that_the_labels_belong_to_is_found(tmp_path: Path) -> None:
    proto = convolutional()
    features = onnx.helper.make_tensor_value_info("f", onnx.TensorProto.FLOAT, ["N", 6])
    whole = onnx.helper.make_tensor_value_info("cls", onnx.TensorProto.INT64, ["N"])
    proto.graph.node.append(onnx.helper.make_node("ArgMax", ["logits"], ["cls"], axis=1, keepdims=0))
    logits = proto.graph.output.pop()
    proto.graph.output.extend([whole, features, logits])
    model = saved(proto, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), 5, samples=100)
    done = onnxsens("scan", model, "-d", data, "--levels", "0.5", "-o", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert "'logits', the likeliest of 3 outputs, has 5 classes" in done.stderr


def test_an_output_whose_first_axis_is_no_batch_is_not_read_by_chance(tmp_path: Path) -> None:
    proto = convolutional()
    proto.graph.node.append(onnx.helper.make_node("Transpose", ["logits"], ["turned"], perm=[1, 0]))
    proto.graph.output.insert(0, onnx.helper.make_tensor_value_info("turned", onnx.TensorProto.FLOAT, [5, "N"]))
    model = saved(proto, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None, samples=40)
    done = onnxsens(
        "scan",
        model,
        "-d",
        data,
        "--levels",
        "0.5",
        "--batch-size",
        "5",
        "--metric",
        "kl",
        "-o",
        tmp_path / "run",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    refused = onnxsens("scan", model, "-d", data, "--batch-size", "5", "--output", "turned", "-o", tmp_path / "other")
    assert refused.returncode == 2


def test_a_metric_that_is_undefined_on_resamples_fails_and_is_no_bug(task: tuple[Path, Path], tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "import numpy as np\n"
        "def rare(outputs, dense, labels):\n"
        "    right = (outputs['logits'].argmax(1) == labels).mean()\n"
        "    return float('nan') if dense['logits'].max() < PEAK else float(right)\n"
    )
    x = np.load(task[1])["x"]
    peak = onnxruntime.InferenceSession(str(task[0])).run(None, {"x": x})[0].max(1)
    code.write_text(code.read_text().replace("PEAK", repr(float(np.sort(peak)[-30]))))
    done = onnxsens(
        "auto",
        task[0],
        "-d",
        task[1],
        "--sparsity",
        "0.3",
        "--metric",
        f"{code}:rare",
        "--metric",
        "kl",
        "-o",
        tmp_path / "r",
    )
    assert done.returncode in (0, 7), done.stderr
    assert "bug of ours" not in done.stderr


class TestNothingOfTheUsersIsOverwritten:
    def test_not_the_model_its_data_or_the_plan(self, finished: Path, tmp_path: Path) -> None:
        model = with_external_data(convolutional(), tmp_path / "m.onnx")
        data = samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
        document("auto", model, "-d", data, "--sparsity", "0.3", "-o", tmp_path / "run")
        before = (tmp_path / "m.bin").read_bytes()
        for out in (model, tmp_path / "m.bin", tmp_path / "run" / "plan.json"):
            refused = onnxsens("apply", model, tmp_path / "run" / "plan.json", "-o", out, "--force")
            assert refused.returncode == 4
            assert "is what the pruned model is made from" in refused.stderr
        assert (tmp_path / "m.bin").read_bytes() == before

    def test_not_a_model_that_lies_where_the_result_would_go(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        model = tmp_path / "pruned.onnx"
        model.write_bytes(task[0].read_bytes())
        refused = onnxsens("auto", model, "-d", task[1], "--sparsity", "0.3", "-o", tmp_path)
        assert refused.returncode == 4
        assert "would overwrite the model itself" in refused.stderr
        assert sorted(path.name for path in tmp_path.iterdir()) == ["pruned.onnx"]

    def test_not_a_file_in_a_run_folder_that_the_run_did_not_write(
        self, task: tuple[Path, Path], tmp_path: Path
    ) -> None:
        document("scan", task[0], "-d", task[1], "--levels", "0.5", "-o", tmp_path)
        (tmp_path / "pruned.onnx").write_text("precious")
        command = ("auto", task[0], "-d", task[1], "--sparsity", "0.3", "-o", tmp_path)
        refused = onnxsens(*command)
        assert refused.returncode == 4 and "give --force" in refused.stderr
        assert (tmp_path / "pruned.onnx").read_text() == "precious"
        document(*command, "--force")
        document(*command)
        (tmp_path / "plan.json").write_text("edited")
        assert onnxsens(*command).returncode == 4


def test_plan_works_from_another_folder_and_with_another_number_of_cores(
    task: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    scan = ("scan", task[0].name, "-d", task[1].name, "--metric", "kl", "--levels", "0.5", "--threads", "1", "-o", run)
    assert onnxsens(*scan, cwd=task[0].parent).returncode == 0
    document("plan", run, "--sparsity", "0.3")


def test_a_sparsity_goal_is_met_to_the_element_and_not_called_verified(task: tuple[Path, Path], tmp_path: Path) -> None:
    made = document("auto", task[0], "-d", task[1], "--sparsity", "0.4", "-o", tmp_path)
    planned = made["totals"]["parameters"]
    assert 0.4 * planned <= made["totals"]["zeros"] <= 0.4 * planned + len(made["weights"])
    assert made["quality"]["verified"] is None
    assert {proposal["picker"] for proposal in made["choice"]["proposals"]} >= {"top-down", "uniform", "erk", "lamp"}


def test_without_a_goal_the_knee_is_taken(task: tuple[Path, Path], tmp_path: Path) -> None:
    made = document("auto", task[0], "-d", task[1], "-o", tmp_path)
    assert made["objective"]["kind"] == "knee"
    assert 0.05 < made["totals"]["sparsity"] < 0.96
    assert made["quality"]["verified"] is None


def test_several_limits_all_hold(task: tuple[Path, Path], tmp_path: Path) -> None:
    limits = ("--max-drop", "kl=0.05", "--max-drop", "agreement=0.15", "--max-drop", "f1=0.3")
    made = document("auto", task[0], "-d", task[1], *limits, "-o", tmp_path)
    metrics = made["quality"]["metrics"]
    assert set(metrics) == {"kl", "agreement", "f1"}
    assert all(item["bound"] <= item["limit"] for item in metrics.values())


def test_no_labels_and_random_samples_are_enough_for_kl(task: tuple[Path, Path], tmp_path: Path) -> None:
    made = document("auto", task[0], "-d", "random:256", *GOAL, "-o", tmp_path)
    assert made["quality"]["verified"] is True
    assert set(made["quality"]["metrics"]) == {"kl"}


def test_stages_one_by_one_give_what_auto_gives(task: tuple[Path, Path], finished: Path, tmp_path: Path) -> None:
    run, pruned = tmp_path / "run", tmp_path / "pruned.onnx"
    with_routes_of(finished, run)  # how weights are run is measured, and part of the recipe of a run
    points = document("scan", task[0], "-d", task[1], "--metric", "kl", "--levels", "0.5,0.9", "-o", run)["points"]
    assert len(points) == 8
    document("plan", run, *GOAL)
    assert (run / "plan.json").read_bytes() == (finished / "plan.json").read_bytes()
    document("apply", task[0], run / "plan.json", "-o", pruned)
    assert pruned.read_bytes() == (finished / "pruned.onnx").read_bytes()
    verified = document("verify", task[0], run / "plan.json", "-d", task[1])
    assert verified["holds"] is True
    assert verified["split"] == "holdout"
    stated = json.loads((run / "plan.json").read_text())["quality"]["metrics"]["kl"]
    assert verified["metrics"]["kl"]["drop"] == pytest.approx(stated["drop"])


def test_a_limit_that_is_exceeded_ends_verify_with_6(task: tuple[Path, Path], finished: Path) -> None:
    done = onnxsens("verify", task[0], finished / "plan.json", "-d", task[1], "--max-drop", "kl=0.0001")
    assert done.returncode == 6
    assert "EXCEEDED" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: the plan exceeds its limit in kl")


def test_verify_on_other_samples_uses_all_of_them(task: tuple[Path, Path], finished: Path) -> None:
    verified = document("verify", task[0], finished / "plan.json", "-d", "random:100", "--max-drop", "kl=5")
    assert (verified["split"], verified["samples"]) == ("all", 100)


def test_a_plan_can_be_carried_to_a_later_checkpoint_by_name(
    task: tuple[Path, Path], finished: Path, tmp_path: Path
) -> None:
    later = saved(convolutional(seed=9), tmp_path / "later.onnx")
    refused = onnxsens("apply", later, finished / "plan.json", "-o", tmp_path / "out.onnx", "--by-name")
    assert refused.returncode == 3
    assert "fitted to data" in refused.stderr
    run = tmp_path / "run"
    made = document("auto", task[0], "-d", task[1], "--sparsity", "0.4", "--update", "none", "-o", run)
    refused = onnxsens("apply", later, run / "plan.json", "-o", tmp_path / "out.onnx")
    assert refused.returncode == 3
    assert "the plan is for another model" in refused.stderr
    assert not (tmp_path / "out.onnx").exists()
    document("apply", later, run / "plan.json", "-o", tmp_path / "out.onnx", "--by-name")
    zeros = {weight["name"]: weight["zeros"] for weight in made["weights"]}
    after = initializers(tmp_path / "out.onnx")
    assert {name: int((after[name] == 0).sum()) for name in zeros} == zeros


def test_a_weight_without_effect_stays_dense_and_says_so(tmp_path: Path) -> None:
    model = saved(with_dead_weight(), tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (6,), 3, samples=400)
    made = document("auto", model, "-d", data, "--max-drop", "kl=0.5", "-o", tmp_path / "run")
    by_name = {weight["name"]: weight for weight in made["weights"]}
    assert by_name["dead"]["effect"] == "no effect" and by_name["dead"]["zeros"] == 0
    assert by_name["live"]["effect"] == "effective"


def test_points_that_cannot_be_measured_end_with_7_and_the_rest_is_done(
    task: tuple[Path, Path], tmp_path: Path
) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "import numpy as np\n"
        "def score(outputs, dense, labels):\n"
        "    far = np.abs(outputs['logits'] - dense['logits']).mean()\n"
        "    return np.full(len(outputs['logits']), np.nan if far > 1.5 else -far)\n"
    )
    done = onnxsens(
        "scan", task[0], "-d", task[1], "--metric", f"{code}:score", "--metric", "kl", "-o", tmp_path / "run", "--json"
    )
    assert done.returncode == 7
    result = json.loads(done.stdout)
    assert "could not be measured" in done.stderr
    assert "is NaN or infinite" in next(iter(result["failures"].values()))
    assert any(point["measurements"].get("kl") for point in result["points"] if point["failures"])


def test_an_output_of_values_is_judged_without_classes(tmp_path: Path) -> None:
    proto = tied()
    proto.graph.output[0].name = proto.graph.node[-1].output[0] = "y"
    model = saved(proto, tmp_path / "m.onnx")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 6), dtype=np.float32)
    labels = rng.standard_normal((300, 3), dtype=np.float32)
    np.savez(tmp_path / "d.npz", x=x, labels=labels)
    by_default = document("auto", model, "-d", tmp_path / "d.npz", "-o", tmp_path / "default")
    assert set(by_default["quality"]["metrics"]) == {"sqnr", "dense-mse"}
    limits = ("--max-drop", "mse=0.1", "--max-drop", "cosine=0.05")
    made = document("auto", model, "-d", tmp_path / "d.npz", *limits, "-o", tmp_path / "run")
    metrics = made["quality"]["metrics"]
    assert metrics["mse"]["bound"] <= 0.1 and metrics["cosine"]["bound"] <= 0.05
    assert made["totals"]["zeros"] > 0


def test_a_dry_run_says_how_long_and_writes_nothing(task: tuple[Path, Path], tmp_path: Path) -> None:
    auto = document("auto", task[0], "-d", task[1], *GOAL, "-o", tmp_path / "run", "--dry-run")
    scan = document("scan", task[0], "-d", task[1], "-o", tmp_path / "run", "--dry-run")
    exact = document("auto", task[0], "-d", task[1], *GOAL, "-o", tmp_path / "run", "--dry-run", "--exact")
    assert exact["points"] > scan["points"] == 4 * 9 > auto["points"]
    assert exact["seconds"] > 0 and auto["seconds"] > 0  # each measured by its own command, so not to be compared
    assert not (tmp_path / "run").exists()


def test_code_is_never_started_from_a_store(task: tuple[Path, Path], tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    trace = tmp_path / "ran"
    code.write_text(
        "import pathlib, numpy as np\n"
        f"pathlib.Path({str(trace)!r}).touch()\n"
        "def batches():\n"
        "    rng = np.random.default_rng(0)\n"
        "    for _ in range(4):\n"
        "        yield {'x': rng.standard_normal((100, 2, 8, 8), dtype=np.float32)}, None\n"
    )
    run = tmp_path / "run"
    document("scan", task[0], "-d", f"{code}:batches", "--metric", "kl", "--levels", "0.5", "-o", run)
    assert trace.exists()
    trace.unlink()
    refused = onnxsens("plan", run, *GOAL)
    assert refused.returncode == 2
    assert "comes from code" in refused.stderr.replace("come from code", "comes from code")
    assert not trace.exists()
    document("plan", run, *GOAL, "-d", f"{code}:batches")
    assert trace.exists()


def test_a_plan_does_not_depend_on_what_else_was_measured_in_its_folder(
    task: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ("auto", task[0], "-d", task[1], "--max-drop", "agreement=0.2", "-o")
    fresh = document(*command, tmp_path / "fresh")
    with_routes_of(tmp_path / "fresh", tmp_path / "used")
    document("auto", task[0], "-d", task[1], "--sparsity", "0.3", "--metric", "accuracy", "-o", tmp_path / "used")
    document("scan", task[0], "-d", task[1], "--metric", "f1", "--scan-samples", "10", "-o", tmp_path / "used")
    again = document(*command, tmp_path / "used")
    assert again == fresh
    assert again["data"]["scan_samples"] == 200


def test_a_plan_that_changes_no_output_is_accepted_at_any_limit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((6, 3), dtype=np.float32) + 3
    weight[3:] = 0.001  # of features that are always 0
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["logits"])]
    model = saved(model_of(nodes, {"x": ["N", 6]}, {"logits": ["N", 3]}, {"w": weight}), tmp_path / "m.onnx")
    x = rng.standard_normal((100, 6), dtype=np.float32)
    x[:, 3:] = 0
    np.savez(tmp_path / "d.npz", x=x)
    command = ("auto", model, "-d", tmp_path / "d.npz", "--max-drop", "kl=1e-9", "-o", tmp_path / "run")
    made = document(*command)
    assert made["weights"][0]["zeros"] == 9
    assert made["quality"]["metrics"]["kl"]["bound"] == 0


def test_a_goal_on_code_leaves_no_path_in_the_plan_and_is_not_run_from_it(
    task: tuple[Path, Path], tmp_path: Path
) -> None:
    code = tmp_path / "mine.py"
    code.write_text(
        "def score(outputs, dense, labels):\n    return -abs(outputs['logits'] - dense['logits']).mean(1)\n"
    )
    limit = ("--max-drop", f"{code}:score=0.2")
    made = document("auto", task[0], "-d", task[1], *limit, "-o", tmp_path / "run")
    assert made["quality"]["verified"] is True
    assert made["objective"]["max_drop"] == {"mine.py:score": 0.2}
    assert str(tmp_path) not in json.dumps(made)
    refused = onnxsens("verify", task[0], tmp_path / "run" / "plan.json", "-d", task[1])
    assert refused.returncode == 2
    assert "name it again with --max-drop" in refused.stderr
    assert document("verify", task[0], tmp_path / "run" / "plan.json", "-d", task[1], *limit)["holds"] is True


def test_progress_is_quiet_without_a_terminal_and_stdout_holds_the_result_alone(
    task: tuple[Path, Path], finished: Path, tmp_path: Path
) -> None:
    done = onnxsens("auto", task[0], "-d", task[1], *GOAL, "-o", finished, "-q")
    assert (done.stdout, done.stderr) == ("", "")
    plain = onnxsens("auto", task[0], "-d", task[1], *GOAL, "-o", finished, NO_COLOR="1")
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "verified at 95% confidence" in plain.stdout


def test_a_reader_that_leaves_early_is_no_error(task: tuple[Path, Path]) -> None:
    shell = f"{sys.executable} -m onnxsens inspect {task[0]} --json | head -c 1"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, cwd=ROOT, env=os.environ | {}, check=False
    )
    assert "Traceback" not in done.stderr
