"""`onnxsens diff` on real runs: nothing between a run and its repetition, and one weight where one was changed."""

import json
import sqlite3
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import ROOT, document, onnxsens
from onnx import TensorProto, helper, numpy_helper

from onnxsens.errors import InputError
from onnxsens.reporting import diff

MODEL = ROOT / "models" / "jv_gru1.onnx"
DATA = ROOT / "models" / "japanese_vowels_test.npz"
SAMPLES, LIVE, DEAD, HIDDEN = 400, 8, 8, 16


def auto(folder: Path, *options: str) -> Path:
    done = onnxsens("auto", MODEL, "-d", DATA, "--sparsity", "0.5", *options, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    auto(folder / "first", "--update", "none")
    auto(folder / "again", "--update", "none")
    auto(folder / "seed", "--update", "none", "--seed", "1")
    auto(folder / "obs", "--update", "obs")
    return folder


def test_the_same_run_twice_differs_in_nothing(made: Path) -> None:
    found = document("diff", made / "first", made / "again", "--exit-code")
    assert not found["more_than_noise"] and len(found["weights"]) == len(found["curves"]) == 3
    assert not any(each["differs"] for each in (*found["fields"], *found["weights"]))
    assert all(point["difference"] == 0 for curve in found["curves"] for point in curve["points"])
    assert found["rank_correlation"] == 1.0 and found["ranked"] == 3


def test_another_seed_is_told_from_the_identity_and_is_noise(made: Path) -> None:
    found = document("diff", made / "first", made / "seed", "--exit-code")
    fields = {each["name"]: (each["a"], each["b"]) for each in found["fields"] if each["differs"]}
    assert fields["seed"] == ("0", "1") and "data_sha256" not in fields and "model_sha256" not in fields
    assert not any(curve["more_than_noise"] for curve in found["curves"])
    assert any(point["difference"] != 0 for curve in found["curves"] for point in curve["points"])


def test_two_settings_differ_where_they_should(made: Path) -> None:
    found = document("diff", made / "first", made / "obs")
    fields = {each["name"]: (each["a"], each["b"]) for each in found["fields"] if each["differs"]}
    assert fields["technique"] == ("magnitude", "obs")
    assert "f.weight" in found["less_sensitive"] and not found["more_sensitive"]
    assert found["a_technique"] == "magnitude" and found["b_technique"].startswith("obs")


def test_as_a_gate_it_ends_with_6_and_without_being_asked_with_0(made: Path) -> None:
    assert onnxsens("diff", made / "first", made / "obs").returncode == 0
    done = onnxsens("diff", made / "first", made / "obs", "--exit-code")
    assert done.returncode == 6 and "more than noise" in done.stderr and "less sensitive in B" in done.stdout


@pytest.mark.parametrize("name", ["md", "json", "csv"])
def test_every_format_goes_to_a_file_or_to_stdout(made: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / f"x.{name}"
    done = onnxsens("diff", made / "first", made / "obs", "-o", out)
    assert done.returncode == 0 and f"wrote {out}" in done.stderr
    assert onnxsens("diff", made / "first", made / "obs", "--format", name).stdout == out.read_text()
    assert str(made) not in out.read_text() and "/home" not in out.read_text()
    again = onnxsens("diff", made / "first", made / "obs", "-o", out)
    assert again.returncode == 4 and "--force" in again.stderr


def test_a_file_of_a_run_is_no_folder(made: Path) -> None:
    done = onnxsens("curves", made / "first" / "plan.json")
    assert done.returncode == 3 and "give the folder it is in" in done.stderr


def test_weights_that_a_scan_of_the_same_model_left_out_are_no_failure(made: Path, tmp_path: Path) -> None:
    for name, options in (("all", ()), ("some", ("--weights", "f*"))):
        done = onnxsens("scan", MODEL, "-d", DATA, *options, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    done = onnxsens("diff", tmp_path / "all", tmp_path / "some", "--exit-code")
    assert done.returncode == 0 and "both are of one model" in done.stdout


def test_a_plan_alone_is_compared_too(made: Path) -> None:
    found = document("diff", made / "first" / "plan.json", made / "obs" / "plan.json")
    assert not found["curves"] and any("no curves" in note for note in found["notes"])
    assert {each["metric"] for each in found["quality"]} == {"accuracy", "kl"}
    assert any(each["differs"] for each in found["weights"])


def test_bad_input_is_refused_on_one_line(made: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "plan.json").write_text(json.dumps({"schema": "onnxsens.plan/9"}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "scan.db").write_bytes((made / "first" / "scan.db").read_bytes())
    database = sqlite3.connect(tmp_path / "broken" / "scan.db")
    database.execute("UPDATE point SET total = total + 1")
    database.commit()
    database.close()
    for bad, said in (
        (tmp_path / "other", "holds no run"),
        (tmp_path / "plan.json", "onnxsens.plan/9"),
        (tmp_path / "broken", "is damaged"),
        (tmp_path / "nothing", "does not exist"),
        (DATA, "not a valid plan"),
    ):
        for pair in ((made / "first", bad), (bad, made / "first")):
            with pytest.raises(InputError, match=said):
                diff(*pair)
    done = onnxsens("diff", made / "first", tmp_path / "broken")
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "is damaged" in done.stderr
    done = onnxsens("diff", made / "first", made / "obs", "--metric", "acuracy")
    assert done.returncode == 2 and "did you mean 'accuracy'" in done.stderr


def network(path: Path, dead: float) -> Path:
    """Three layers of which the first reads inputs that are always 0, by weights of this size.

    They change no output. But where they are large, pruning by magnitude takes those of the live inputs instead.
    """
    random = np.random.default_rng(0)
    first = np.concatenate([random.normal(size=(LIVE, HIDDEN)), dead * np.ones((DEAD, HIDDEN))]).astype(np.float32)
    weights = {
        "first": first,
        "second": random.normal(size=(HIDDEN, HIDDEN)).astype(np.float32) / 4,
        "third": random.normal(size=(HIDDEN, 4)).astype(np.float32) / 4,
    }
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "third"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", LIVE + DEAD])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def test_a_change_is_found_in_exactly_its_weight(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    samples = np.concatenate([random.normal(size=(SAMPLES, LIVE)), np.zeros((SAMPLES, DEAD))], axis=1)
    np.savez(tmp_path / "data.npz", x=samples.astype(np.float32))
    for name, dead in (("a", 1e-3), ("b", 10.0)):
        model = network(tmp_path / f"{name}.onnx", dead)
        done = onnxsens("scan", model, "-d", tmp_path / "data.npz", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    found = document("diff", tmp_path / "a", tmp_path / "b")
    assert found["more_sensitive"] == ["first"] and found["less_sensitive"] == []
    others = [curve for curve in found["curves"] if curve["weight"] != "first"]
    assert len(others) == 2 and not any(curve["more_than_noise"] for curve in others)
    assert all(abs(point["difference"]) < 1e-5 for curve in others for point in curve["points"])
    fields = {each["name"] for each in found["fields"] if each["differs"]}
    assert {"model", "model_sha256"} <= fields and "data_sha256" not in fields
    assert onnxsens("diff", tmp_path / "a", tmp_path / "b", "--exit-code").returncode == 6
