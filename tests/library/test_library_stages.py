"""Runs and plans by the library: what the command line makes, and what can be done with them then."""

import contextlib
import copy
import gc
import json
import pickle
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import ROOT
from commands import onnxsens as command
from plans import plan_of

import onnxsens
from onnxsens.errors import DataError, InputError, PlanError, StorageError, UsageError
from onnxsens.plan.planfile import size_of, write_plan

MODEL = ROOT / "models/jv_gru1.onnx"
DATA = ROOT / "models/japanese_vowels_test.npz"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> onnxsens.Run:
    """A scan, as it was left."""
    folder = tmp_path_factory.mktemp("run") / "run"
    return onnxsens.scan(MODEL, DATA, levels=[0.5, 0.8], metrics="accuracy", out=folder)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> onnxsens.Run:
    """The same for tests that make plans of it, which measure more."""
    folder = tmp_path_factory.mktemp("planned") / "run"
    return onnxsens.scan(MODEL, DATA, levels=[0.5, 0.8], metrics="accuracy", out=folder)


def zeros_in(path: Path, name: str) -> int:
    """Counted by onnx alone."""
    tensor = next(each for each in onnx.load(path).graph.initializer if each.name == name)
    return int((onnx.numpy_helper.to_array(tensor) == 0).sum())


@pytest.mark.slow
def test_auto_and_the_command_line_leave_the_same_plan_and_model(tmp_path: Path) -> None:
    done = command("auto", MODEL, "-d", DATA, "--max-drop", "accuracy=0.1", "--skip", "last", "-o", tmp_path / "typed")
    assert done.returncode == 0, done.stderr
    plan = onnxsens.auto(str(MODEL), str(DATA), max_drop={"accuracy": 0.1}, skip="last", out=tmp_path / "called")
    assert plan.verified is True
    for name in ("plan.json", "changes.safetensors", "pruned.onnx"):
        assert (tmp_path / "typed" / name).read_bytes() == (tmp_path / "called" / name).read_bytes()


@pytest.mark.slow
def test_scan_and_plan_leave_what_the_two_commands_leave(tmp_path: Path) -> None:
    typed, called = tmp_path / "typed", tmp_path / "called"
    goal = ("--sparsity", "0.5", "--max", "f*=0.25", "--freeze", "onnx::GRU_105")
    assert command("scan", MODEL, "-d", DATA, "--levels", "0.5,0.8", "--seed", "3", "-o", typed).returncode == 0
    assert command("plan", typed, *goal).returncode == 0
    run = onnxsens.scan(MODEL, DATA, levels=np.array([0.5, 0.8]), seed=np.int64(3), out=called)
    plan = run.plan(sparsity=np.float32(0.5), maximum={"f*": 0.25}, freeze=["onnx::GRU_105"])
    assert (typed / "plan.json").read_bytes() == plan.path.read_bytes()


@pytest.mark.slow
def test_a_run_of_either_is_gone_on_with_by_the_other(run: onnxsens.Run, tmp_path: Path) -> None:
    done = command("scan", MODEL, "-d", DATA, "--levels", "0.5,0.8", "--metric", "accuracy", "-v", "-o", run.folder)
    assert done.returncode == 0, done.stderr
    assert "at 0.5:" not in done.stderr, "a point was measured again"
    heard: list[onnxsens.Progress] = []
    typed = tmp_path / "typed"
    assert command("scan", MODEL, "-d", DATA, "--levels", "0.5", "-o", typed).returncode == 0
    again = onnxsens.scan(MODEL, DATA, levels=[0.5], out=typed, progress=heard.append)
    assert [told.what for told in heard if told.kind == "evaluated"] == []
    assert again.to_numpy().tolist() == onnxsens.open_run(typed).to_numpy().tolist()


def test_a_run_says_what_was_measured(run: onnxsens.Run) -> None:
    assert run.weights == ["onnx::GRU_105", "onnx::GRU_106", "f.weight"] == list(run.curves)
    assert set(run.metrics) == {"accuracy", "kl"}
    assert run.search_metric == "kl"
    assert set(run.effects.values()) == {"effective"}
    assert run.failures == {}
    assert run.model == MODEL.resolve()
    assert run.result is not None and len(run.result.points) == 6
    curve = run.curves["f.weight"]
    assert curve.sparsity.tolist() == [288 / 576, 461 / 576]  # what is nearest to 0.8 of its 576 elements
    assert curve.samples.tolist() == [185, 185]
    assert (curve.low <= curve.drop).all() and (curve.drop <= curve.high).all()
    with pytest.raises(ValueError, match="read-only"):
        curve.drop[0] = 0
    accuracy = run.curves_of("accuracy")["f.weight"]
    assert (np.round(accuracy.drop * 185) / 185 == pytest.approx(accuracy.drop)) and accuracy.metric == "accuracy"
    # By ONNX Runtime's answers alone: how many of all 370 are right is near how many of the 185 are.
    assert abs(run.dense["accuracy"] - 0.943) < 0.03
    with pytest.raises(UsageError, match="'top5' was not measured; there are accuracy, kl"):
        run.curves_of("top5")


def test_a_run_with_nothing_measured_by_its_metric_has_no_curves(run: onnxsens.Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    with contextlib.closing(sqlite3.connect(folder / "scan.db")) as database, database:
        database.execute("DELETE FROM point")  # as `iterative` leaves it: each step measures another model
    write_plan(plan_of(text="kl"), folder / "plan.json")
    empty = onnxsens.open_run(folder)
    assert (empty.search_metric, empty.metrics) == ("kl", [])
    assert dict(empty.curves) == {}
    assert empty.to_numpy().shape == (0,) and empty.to_numpy().dtype.names == run.to_numpy().dtype.names
    with pytest.raises(UsageError, match="'kl' was not measured; there are none"):
        empty.curves_of("kl")
    pytest.importorskip("pandas")
    assert empty.to_pandas().shape == (0, 6)


def test_a_run_that_is_opened_is_the_one_that_was_made(run: onnxsens.Run) -> None:
    opened = onnxsens.open_run(run.folder)
    assert opened.to_numpy("accuracy").tolist() == run.to_numpy("accuracy").tolist()
    assert (opened.dense, opened.weights, opened.result) == (run.dense, run.weights, None)
    assert opened.check().sound
    with pytest.raises(InputError, match="does not exist; check the path"):
        onnxsens.open_run(run.folder / "nowhere")


@pytest.mark.slow
def test_each_of_several_plans_stays_itself(planned: onnxsens.Run, tmp_path: Path) -> None:
    plans = [planned.plan(sparsity=share) for share in (0.3, 0.6)]
    for plan, share in zip(plans, (0.3, 0.6), strict=True):
        assert plan.sparsity == pytest.approx(share, abs=1e-4)
        assert plan.verified is None and plan.quality.samples == 185
        out = tmp_path / f"{share}.onnx"
        done = plan.apply(out)
        assert done.zeros == plan.record.totals.zeros
        masks = plan.masks()
        assert list(masks) == list(plan.levels) == planned.weights
        for weight in plan.record.weights:
            mask = masks[weight.name]
            assert mask.shape == tuple(weight.shape) and mask.dtype == np.bool_
            assert zeros_in(out, weight.name) == weight.zeros == int((~mask).sum())
            assert plan.levels[weight.name] == weight.zeros / size_of(weight)
        found = plan.verify(max_drop={"kl": 50.0})
        assert (found.split, found.samples, found.holds) == ("holdout", 185, True)
        assert found.verdicts["kl"].measurement.drop == pytest.approx(plan.quality.metrics["kl"].drop, rel=1e-5)
        assert plan.export("json", tmp_path / f"{share}").paths[0].is_file()
        assert plan.run is not None and plan.run.weights == planned.weights
    assert planned.record.plan == plans[1].record
    with pytest.raises(StorageError, match=r"exists; choose another name or give force=True"):
        plans[0].apply(tmp_path / "0.3.onnx")
    assert onnxsens.plan(planned.folder, sparsity=0.3).record == plans[0].record


@pytest.mark.slow
def test_a_run_knows_of_the_plan_whoever_looked_at_it_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run = onnxsens.scan(MODEL, DATA, levels=[0.5], out=folder)
    other = onnxsens.open_run(folder)
    looks: list[int] = []
    plan = run.plan(sparsity=0.3, update="none", progress=lambda told: looks.append(len(run.curves)))
    assert looks and run.record.plan == other.record.plan == plan.record
    assert other.plan(sparsity=0.4, update="none").record == run.record.plan == other.record.plan
    shutil.rmtree(folder)
    assert run.weights == list(plan.levels)  # what was read stays in hand


@pytest.mark.slow
def test_a_plan_whose_file_another_process_overwrote_goes_no_further(planned: onnxsens.Run, tmp_path: Path) -> None:
    plan = planned.plan(sparsity=0.3)
    assert command("plan", planned.folder, "--sparsity", "0.4").returncode == 0
    with pytest.raises(PlanError, match="was written again since"):
        plan.apply(tmp_path / "out.onnx")
    assert onnxsens.open_plan(planned.folder).sparsity == pytest.approx(0.4, abs=1e-4)


@pytest.mark.slow
def test_a_run_without_a_folder_lives_as_long_as_whoever_has_it(tmp_path: Path) -> None:
    with np.load(DATA) as file:
        x, labels = file["x"], file["labels"]
    run = onnxsens.scan(MODEL, (x, labels), levels=[0.5], metrics=["accuracy"])
    folder = run.folder
    assert sorted(path.name for path in folder.iterdir() if path.suffix) == ["samples.npz", "scan.db"]
    plan = run.plan(sparsity=0.5)
    del run
    gc.collect()
    plan.apply(tmp_path / "pruned.onnx")
    assert plan.verify(max_drop={"accuracy": 0.9}).holds
    del plan
    gc.collect()
    assert not folder.exists()


@pytest.mark.slow
def test_copies_keep_the_folder_and_stay_themselves(tmp_path: Path) -> None:
    run = onnxsens.scan(MODEL, "random:64", dims={"T": 5}, metrics=["kl"], levels=[0.5])
    folder, weights = run.folder, run.weights
    with pytest.raises(TypeError, match="is a temporary folder, which goes with this process"):
        pickle.dumps(run)
    copies = [copy.deepcopy(run), copy.copy(run)]
    del run
    gc.collect()
    assert [each.weights for each in copies] == [weights, weights]
    plan = copy.deepcopy(copies[0].plan(sparsity=0.3, update="none"))
    other = copies[1].plan(sparsity=0.6, update="none")
    assert plan.apply(tmp_path / "0.3.onnx").zeros == plan.record.totals.zeros < other.record.totals.zeros
    del copies, plan, other
    gc.collect()
    assert not folder.exists()


@pytest.mark.slow
def test_a_plan_that_was_pickled_stays_itself_too(planned: onnxsens.Run, tmp_path: Path) -> None:
    run = pickle.loads(pickle.dumps(planned))
    assert (run.folder, run.weights, run.dense) == (planned.folder, planned.weights, planned.dense)
    plan = pickle.loads(pickle.dumps(run.plan(sparsity=0.3)))
    planned.plan(sparsity=0.6)
    assert plan.apply(tmp_path / "0.3.onnx").zeros == plan.record.totals.zeros


def test_a_plan_says_whether_its_file_is_gone_or_another(tmp_path: Path) -> None:
    write_plan(plan_of(), tmp_path / "plan.json")
    plan = onnxsens.open_plan(tmp_path)
    assert plan.intact() == tmp_path / "plan.json"
    write_plan(plan_of(text="other"), tmp_path / "plan.json")
    with pytest.raises(PlanError, match="was written again since"):
        plan.intact()
    (tmp_path / "plan.json").unlink()
    with pytest.raises(PlanError, match="is gone"):
        plan.intact()


@pytest.mark.slow
def test_a_temporary_folder_goes_with_the_interpreter(tmp_path: Path) -> None:
    code = f"""import onnxsens
run = onnxsens.scan({str(MODEL)!r}, "random:64", dims={{"T": 5}}, metrics=["kl"], levels=[0.5])
print(run.folder)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not Path(done.stdout.strip()).exists() and "onnxsens-" in done.stdout


@pytest.mark.slow
def test_arrays_are_measured_as_the_file_is(run: onnxsens.Run, tmp_path: Path) -> None:
    with np.load(DATA) as file:
        arrays = {name: file[name] for name in file.files}
    x, labels = arrays["x"], arrays["labels"]
    expected = run.to_numpy("accuracy").tolist()
    given: list[Any] = [arrays, ({"x": x}, labels), (x, labels)]
    for number, data in enumerate(given):
        found = onnxsens.scan(MODEL, data, levels=[0.5, 0.8], metrics=["accuracy"], out=tmp_path / str(number))
        assert found.to_numpy("accuracy").tolist() == expected
        # The same again goes on, and measures nothing.
        heard: list[onnxsens.Progress] = []
        onnxsens.scan(
            MODEL, data, levels=[0.5], metrics=["accuracy"], out=tmp_path / str(number), progress=heard.append
        )
        assert not [told for told in heard if told.kind == "evaluated"]
    with pytest.raises(DataError, match=r"^data has float64 .* for input 'x', but the model takes float32"):
        onnxsens.scan(MODEL, (x.astype(np.float64), labels), levels=[0.5])
    with pytest.raises(InputError, match="was made on other samples; choose another folder as out"):
        onnxsens.scan(MODEL, (x + 1, labels), levels=[0.5], out=tmp_path / "0")


@pytest.mark.slow
def test_a_gate_by_the_library_is_the_gate_of_the_command_line(planned: onnxsens.Run) -> None:
    plan = planned.plan(sparsity=0.5)
    by_file = onnxsens.verify(MODEL, plan.path, DATA, max_drop={"accuracy": 0.2})
    with np.load(DATA) as file:
        by_arrays = onnxsens.verify(MODEL, plan, (file["x"], file["labels"]), max_drop={"accuracy": 0.2})
    assert by_file.verdicts == by_arrays.verdicts == plan.verify(DATA, {"accuracy": 0.2}).verdicts
    done = command("verify", MODEL, plan.path, "-d", DATA, "--max-drop", "accuracy=0.2", "--json")
    assert f'"drop": {by_file.verdicts["accuracy"].measurement.drop!r}' in done.stdout
    with pytest.raises(UsageError, match=r"no quality goal, .*; give max_drop=\{'METRIC': X\}"):
        plan.verify()


@pytest.mark.slow
def test_code_of_the_users_is_only_run_where_it_was_named(tmp_path: Path) -> None:
    metric = tmp_path / "own.py"
    metric.write_text(
        "import numpy as np\n\n\ndef loss(outputs, dense, labels):\n"
        "    pruned = next(iter(outputs.values()))\n"
        "    return np.abs(pruned - next(iter(dense.values()))).mean(axis=-1)\n\n\n"
        "loss.higher_is_better = False\n"
    )
    spec = f"{metric}:loss"
    run = onnxsens.scan(MODEL, DATA, levels=[0.5], metrics=[spec], out=tmp_path / "run")
    assert "own.py:loss" in run.metrics
    assert run.plan(sparsity=0.3).sparsity == pytest.approx(0.3, abs=1e-4)
    with pytest.raises(UsageError, match="is code"):
        onnxsens.open_run(run.folder).plan(sparsity=0.3)
    assert onnxsens.open_run(run.folder, metrics=spec).plan(sparsity=0.3).path == run.folder / "plan.json"
    metric.unlink()  # what follows does not need it
    assert onnxsens.open_plan(run.folder).verify(max_drop={"accuracy": 0.9}).holds


@pytest.mark.slow
def test_a_limit_on_code_that_was_named_is_known_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def wrong(outputs, dense, labels):\n"
        "    return (next(iter(outputs.values())).argmax(axis=-1) != labels).astype(float)\n\n\n"
        "wrong.higher_is_better = False\nwrong.needs_labels = True\n"
    )
    spec = f"{tmp_path / 'own.py'}:wrong"
    plan = onnxsens.auto(MODEL, DATA, max_drop={spec: 0.2}, metrics="accuracy", update="none", out=tmp_path / "run")
    found = plan.verify()
    assert found.holds and list(found.verdicts) == [spec]
    assert found.verdicts[spec].measurement.drop == pytest.approx(plan.quality.metrics["accuracy"].drop)
    with pytest.raises(UsageError, match=r"is on code, 'own.py:wrong'; name it again with max_drop=\{"):
        onnxsens.open_plan(tmp_path / "run").verify()


@pytest.mark.slow
def test_isolated_gives_the_same_numbers(run: onnxsens.Run, tmp_path: Path) -> None:
    apart = onnxsens.scan(MODEL, DATA, levels=[0.5, 0.8], metrics=["accuracy"], out=tmp_path / "run", isolated=True)
    assert apart.to_numpy().tolist() == run.to_numpy().tolist()


@pytest.mark.slow
def test_a_plan_without_a_run_beside_it(planned: onnxsens.Run, tmp_path: Path) -> None:
    made = planned.plan(sparsity=0.5)
    (tmp_path / "plan.json").write_bytes(made.path.read_bytes())
    alone = onnxsens.open_plan(tmp_path / "plan.json")
    assert (alone.model, alone.run, alone.levels) == (None, None, made.levels)
    with pytest.raises(UsageError, match="nothing beside the plan says where its model is; give model="):
        alone.apply(tmp_path / "out.onnx")
    with pytest.raises(UsageError, match="so it has no samples of its own; give data"):
        alone.verify(max_drop={"accuracy": 0.2}, model=MODEL)
    with_model = onnxsens.open_plan(tmp_path, model=MODEL)
    assert with_model.apply(tmp_path / "out.onnx").zeros == made.record.totals.zeros
    assert with_model.verify(DATA, {"accuracy": 0.2}).split == "holdout"
    with pytest.raises(PlanError, match="check the path"):
        onnxsens.open_plan(tmp_path / "no.json")


def test_report_and_check_are_of_the_run(run: onnxsens.Run, tmp_path: Path) -> None:
    assert run.report() == run.folder / "report.html"
    assert run.report(tmp_path / "page.html").read_bytes() == (run.folder / "report.html").read_bytes()
    (tmp_path / "own.html").write_text("mine")
    with pytest.raises(StorageError, match="give force=True"):
        run.report(tmp_path / "own.html")
    assert run.check().sound


def test_a_report_has_the_format_of_its_name_or_the_one_asked_for(run: onnxsens.Run, tmp_path: Path) -> None:
    assert run.report(tmp_path / "a.json") == tmp_path / "a.json"
    assert json.loads((tmp_path / "a.json").read_text())
    assert run.report(format="md").name == "report.md"
    with pytest.raises(UsageError, match="format"):
        run.report(format="doc")


def test_curves_and_diff_are_the_commands(run: onnxsens.Run) -> None:
    rows = [row for row in onnxsens.curves(run.folder, metric="kl") if row.kind == "measured"]
    assert [(row.weight, row.sparsity, row.drop) for row in rows] == [tuple(row)[:3] for row in run.to_numpy().tolist()]
    found = onnxsens.diff(run.folder, run.folder)
    assert found.metric == "kl" and not found.more_than_noise


def test_a_run_goes_where_a_run_folder_does(run: onnxsens.Run, tmp_path: Path) -> None:
    anything: Any = run
    assert Path(run) == run.folder
    assert onnxsens.diff(anything, anything) == onnxsens.diff(run.folder, run.folder)
    assert onnxsens.curves(anything) == onnxsens.curves(run.folder)
    onnxsens.report(anything, tmp_path / "page.html")
    onnxsens.report(run.folder, tmp_path / "same.html")
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "same.html").read_bytes()


@pytest.mark.slow
def test_a_plan_goes_where_its_file_does(planned: onnxsens.Run) -> None:
    plan, other = (planned.plan(sparsity=share) for share in (0.3, 0.6))
    assert Path(other) == planned.folder / "plan.json"
    assert onnxsens.read_plan(str(Path(plan))) == plan.record, "its own copy, since another took its place"
    given: list[Any] = [plan, other]
    pairs = onnxsens.diff(*given).weights
    found = [(pair.a, pair.a_level, pair.b_level) for pair in pairs]
    assert found == [
        (each.name, each.level, other.record.weights[at].level) for at, each in enumerate(plan.record.weights)
    ]
