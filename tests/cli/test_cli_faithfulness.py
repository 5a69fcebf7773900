"""A scan says what it does not know: no effect, never run, zero already, no better than chance, only noise."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import document, onnxsens
from networks import convolutional, noisy, oracle, samples_file, saved, with_dead_weight, with_idle_branch
from onnx import numpy_helper


def set_values(proto: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def values_of(proto: onnx.ModelProto, name: str) -> np.ndarray:
    return numpy_helper.to_array(next(tensor for tensor in proto.graph.initializer if tensor.name == name)).copy()


@pytest.mark.parametrize(
    ("proto", "name", "effect"),
    [(with_dead_weight(), "dead", "no effect"), (with_idle_branch(), "idle", "not executed")],
    ids=["no effect", "not executed"],
)
class TestAWeightThatChangesNothing:
    def test_is_named_and_neither_measured_nor_picked(
        self, tmp_path: Path, proto: onnx.ModelProto, name: str, effect: str
    ) -> None:
        model = saved(proto, tmp_path / "m.onnx")
        data = samples_file(tmp_path / "d.npz", (6,), 3, samples=100)
        command = ("scan", model, "-d", data, "--search", "grid", "--search", "sweet-spotter", "-o", tmp_path / "run")
        made = document(*command)
        assert made["effects"] == {"live": "effective", name: effect}
        assert {point["weight"] for point in made["points"]} == {"live"}
        assert all(set(picks) == {"live"} for picks in made["picks"].values())
        shown = onnxsens(*command).stdout
        [row] = [line for line in shown.splitlines() if line.startswith(name)]
        assert row.split(maxsplit=1)[1].startswith(effect)

    def test_stays_dense_in_a_plan_that_says_why(
        self, tmp_path: Path, proto: onnx.ModelProto, name: str, effect: str
    ) -> None:
        model = saved(proto, tmp_path / "m.onnx")
        data = samples_file(tmp_path / "d.npz", (6,), 3, samples=400)
        command = ("auto", model, "-d", data, "--max-drop", "kl=0.5", "-o", tmp_path / "run")
        weights = {weight["name"]: weight for weight in document(*command)["weights"]}
        assert (weights[name]["effect"], weights[name]["zeros"], weights[name]["level"]) == (effect, 0, 0)
        assert weights["live"]["effect"] == "effective" and weights["live"]["zeros"] > 0
        assert weights[name]["macs"] == (0 if effect == "not executed" else 18)
        assert f"{effect} on these samples, left dense" in onnxsens(*command).stdout


def test_a_level_below_the_zeros_that_are_there_says_what_it_comes_to(tmp_path: Path) -> None:
    proto = convolutional()
    values = values_of(proto, "head")  # 30 elements
    values.reshape(-1)[:12] = 0
    set_values(proto, "head", values)
    model = saved(proto, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
    command = ("scan", model, "-d", data, "--levels", "0.1,0.2,0.5", "--metric", "kl", "-o", tmp_path / "run")
    points = [point for point in document(*command)["points"] if point["weight"] == "head"]
    assert [(point["level"], point["zeros"], point["sparsity"]) for point in points] == [
        (0.1, 12, 0.4),
        (0.2, 12, 0.4),
        (0.5, 15, 0.5),
    ]
    assert points[0]["measurements"]["kl"]["drop"] == 0 and points[0]["measurements"]["kl"]["pruned"] is None
    shown = onnxsens(*command).stdout.splitlines()
    assert "@ the sparsity it comes to" in shown[0]
    [row] = [line for line in shown if line.startswith("head")]
    assert row.split()[1:7] == ["0", "@40.0", "%", "0", "@40.0", "%"]
    assert "@" not in "".join(line for line in shown[1:] if not line.startswith("head"))
    made = document("auto", model, "-d", data, "--sparsity", "0.3", "-o", tmp_path / "plan")
    head = next(weight for weight in made["weights"] if weight["name"] == "head")
    assert head["sparsity"] == head["zeros"] / 30 >= 0.4


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """`head` has elements of one size only, so that its magnitudes say nothing: the earlier one goes first."""
    folder = tmp_path_factory.mktemp("control")
    proto = convolutional()
    # Class 0 is always far ahead, and the first to go by magnitude. By lot, some of it stays.
    set_values(proto, "head", np.where(np.arange(30).reshape(5, 6) < 6, 1.0, -1.0))
    return saved(proto, folder / "m.onnx"), samples_file(folder / "d.npz", (2, 8, 8), 5, samples=200)


class TestControl:
    def command(self, task: tuple[Path, Path], folder: Path) -> tuple[object, ...]:
        return ("scan", task[0], "-d", task[1], "--levels", "0.2,0.6,1", "--metric", "kl", "--control", "-o", folder)

    def test_it_is_random_pruning_at_the_same_levels_in_the_same_store(
        self, task: tuple[Path, Path], tmp_path: Path
    ) -> None:
        made = document(*self.command(task, tmp_path / "run"), "--seed", "7")
        assert {point["technique"] for point in made["points"]} == {"magnitude"}
        assert {point["technique"] for point in made["control"]} == {"random@7"}
        asked = {(point["weight"], point["level"], point["zeros"]) for point in made["points"] if point["level"] < 1}
        assert {(point["weight"], point["level"], point["zeros"]) for point in made["control"]} == asked
        assert document(*self.command(task, tmp_path / "run"), "--seed", "7") == made
        by_itself = document(
            *self.command(task, tmp_path / "alone")[:-3], "--technique", "random@7", "--seed", "7", "-o", tmp_path / "r"
        )
        drops = {(p["weight"], p["level"]): p["measurements"]["kl"]["drop"] for p in by_itself["points"]}
        for point in made["control"]:
            drop = drops[point["weight"], point["level"]]  # by another route perhaps, which shows in last bits
            assert point["measurements"]["kl"]["drop"] == pytest.approx(drop, rel=1e-6)

    def test_a_criterion_that_is_no_better_is_remarked_on(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        made = document(*self.command(task, tmp_path / "run"))
        worse: dict[str, float] = {}
        for sign, points in ((1, made["control"]), (-1, made["points"])):
            for point in points:
                if point["level"] < 1:
                    drop = sign * point["measurements"]["kl"]["drop"]
                    worse[point["weight"]] = worse.get(point["weight"], 0) + drop
        expected = [weight for weight in made["effects"] if worse[weight] <= 0]
        assert made["no_better_than_random"] == expected
        assert "head" in expected and "first" not in expected
        lines = onnxsens(*self.command(task, tmp_path / "run")).stdout.splitlines()
        rows = {before.split()[0]: row for before, row in pairwise(lines) if "at random" in row}
        assert set(rows) == set(made["effects"])
        said = {weight for weight, row in rows.items() if "random costs no more: the criterion says nothing" in row}
        assert said == set(expected)

    def test_without_it_nothing_random_is_measured(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        command = [part for part in self.command(task, tmp_path / "run") if part != "--control"]
        made = document(*command)
        assert made["control"] == made["no_better_than_random"] == []
        assert "random" not in onnxsens(*command).stdout

    def test_random_has_no_control(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        refused = onnxsens(*self.command(task, tmp_path / "run"), "--technique", "random")
        assert refused.returncode == 2
        assert "is random already" in refused.stderr
        assert not (tmp_path / "run").exists()

    def test_a_random_plan_is_carried_out_as_it_was_measured(self, task: tuple[Path, Path], tmp_path: Path) -> None:
        made = document(
            "auto", *task[:1], "-d", task[1], "--sparsity", "0.3", "--technique", "random@5", "-o", tmp_path / "run"
        )
        assert made["technique"] == "random@5"
        x = np.load(task[1])["x"]
        order = np.random.default_rng(0).permutation(200)[: made["data"]["holdout"]]
        [dense] = oracle(task[0], {}, {"x": x[order]})
        [pruned] = oracle(tmp_path / "run" / "pruned.onnx", {}, {"x": x[order]})
        agreement = made["quality"]["metrics"]["accuracy"]
        labels = np.load(task[1])["labels"][order]
        assert agreement["drop"] == pytest.approx(
            (dense.argmax(1) == labels).mean() - (pruned.argmax(1) == labels).mean()
        )


class TestValuesThatAreNotFinite:
    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        proto = convolutional()
        values = values_of(proto, "depthwise")
        values[0, 0, 0, :2] = np.nan, np.inf
        set_values(proto, "depthwise", values)
        # Keeps the outputs finite all the same.
        zero = onnx.helper.make_node("Clip", ["d", "low", "high"], ["clipped"])
        proto.graph.initializer.extend(
            [numpy_helper.from_array(np.float32(bound), name) for name, bound in (("low", 0), ("high", 1))]
        )
        clean = onnx.helper.make_node("Where", ["broken", "low", "clipped"], ["clean"])
        test = onnx.helper.make_node("IsNaN", ["clipped"], ["broken"])
        position = next(number for number, node in enumerate(proto.graph.node) if node.op_type == "ConvTranspose")
        proto.graph.node[position].input[0] = "clean"
        for node in (clean, test, zero):
            proto.graph.node.insert(position, node)
        return saved(proto, tmp_path / "m.onnx")

    def test_are_counted_and_their_weight_is_never_ranked(self, model: Path, tmp_path: Path) -> None:
        reason = "2 of its values are NaN or infinite"
        assert reason in " ".join(onnxsens("inspect", model).stdout.split())
        data = samples_file(tmp_path / "d.npz", (2, 8, 8), 5, samples=100)
        scanned = document("scan", model, "-d", data, "--levels", "0.5", "-o", tmp_path / "run")
        planned = document("auto", model, "-d", data, "--sparsity", "0.3", "-o", tmp_path / "run")
        for made in (document("inspect", model), scanned, planned):
            assert reason in {row["name"]: row["reason"] for row in made["skipped"]}["depthwise"]
        assert "depthwise" not in scanned["effects"]
        assert "depthwise" not in {weight["name"] for weight in planned["weights"]}


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("noise")
    return saved(noisy(), folder / "m.onnx"), samples_file(folder / "d.npz", (6,), 3, samples=200)


class TestNoise:
    def one_line(self, *command: object) -> str:
        refused = onnxsens(*command)
        assert refused.returncode == 5
        [error] = [line for line in refused.stderr.splitlines() if line.startswith("error:")]
        return error

    def floor(self, error: str) -> float:
        assert "cannot be told from noise: two runs of the dense model differ by " in error
        return float(error.split("differ by ")[1].partition(";")[0])

    @pytest.mark.parametrize("search", ["grid", "top-down"])
    def test_a_tolerance_below_it_is_refused_with_the_floor(
        self, noise: tuple[Path, Path], tmp_path: Path, search: str
    ) -> None:
        command = ("scan", noise[0], "-d", noise[1], "--search", search, "-o", tmp_path / "run", "--tolerance")
        floor = self.floor(self.one_line(*command, "kl=0.001"))
        assert floor > 0.001
        assert onnxsens(*command, f"kl={10 * floor}").returncode == 0

    def test_a_goal_below_it_is_refused_with_the_floor(self, noise: tuple[Path, Path], tmp_path: Path) -> None:
        run = tmp_path / "run"
        floor = self.floor(self.one_line("auto", noise[0], "-d", noise[1], "--max-drop", "kl=0.001", "-o", run))
        assert not (run / "plan.json").exists()
        assert self.floor(self.one_line("plan", run, "--max-drop", "kl=0.001")) == floor

    def test_a_scan_without_a_goal_notes_it(self, noise: tuple[Path, Path], tmp_path: Path) -> None:
        done = onnxsens("scan", noise[0], "-d", noise[1], "--levels", "0.5", "-o", tmp_path / "run")
        assert done.returncode == 0
        assert "note: the model is not deterministic; two dense runs differ by about" in done.stderr

    def test_a_model_without_noise_is_left_in_peace(self, tmp_path: Path) -> None:
        model = saved(convolutional(), tmp_path / "m.onnx")
        data = samples_file(tmp_path / "d.npz", (2, 8, 8), 5)
        command = ("scan", model, "-d", data, "--levels", "0.5", "--tolerance", "kl=0", "-o", tmp_path / "run")
        done = onnxsens(*command, "--json")
        assert done.returncode == 0
        assert "deterministic" not in done.stderr
        made: dict[str, Any] = json.loads(done.stdout)
        assert made["tolerance"] == 0


def test_only_weights_that_were_named_are_scanned_brackets_and_all(tmp_path: Path) -> None:
    proto = convolutional()
    for tensor in proto.graph.initializer:
        tensor.name = "first[0]" if tensor.name == "first" else tensor.name
    proto.graph.node[0].input[1] = "first[0]"
    model = saved(proto, tmp_path / "m.onnx")
    data = samples_file(tmp_path / "d.npz", (2, 8, 8), None)
    named = ("--weights", "first[0]", "--weights", "h*d")
    found = document("scan", model, "-d", data, "--levels", "0.5", *named, "-o", tmp_path / "run")
    assert list(found["effects"]) == ["first[0]", "head"]
    assert {point["weight"] for point in found["points"]} == {"first[0]", "head"}
