"""`onnxsens check`: a run that is as it was left is sound, and whatever is changed in it is found and named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import ROOT, document, onnxsens
from onnx import numpy_helper
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from onnxsens.checking import check_run
from onnxsens.errors import InputError
from onnxsens.files import temporary_name
from onnxsens.options import Guard
from onnxsens.results import RunReport

MODEL = ROOT / "models" / "jv_transformer.onnx"
DATA = ROOT / "models" / "japanese_vowels_test.npz"
CHECKPOINT = ROOT / "models" / "jv_transformer.safetensors"
LEFT = temporary_name()  # by a process that was killed while it wrote
FILES = {
    "scan.db",
    "plan.json",
    "changes.safetensors",
    "pruned.onnx",
    "map.json",
    "masks.safetensors",
    "weights.safetensors",
    "pareto.json",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    goal = ("--sparsity", "0.5", "--confidence", "none", "--pareto")
    done = onnxsens("auto", MODEL, "-d", DATA, *goal, "--checkpoint", CHECKPOINT, "-o", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def check(folder: Path, model: Path | None = None) -> RunReport:
    return check_run(folder, model, guard=Guard(in_process=True))


def bad(folder: Path, model: Path | None = None) -> dict[str, str]:
    return {finding.name: finding.text for finding in check(folder, model).bad}


def with_pruned(run: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    proto = onnx.load(str(run / "pruned.onnx"))
    change(proto)
    onnx.save(proto, str(run / "pruned.onnx"))


def with_tensors(path: Path, change: Callable[[dict[str, np.ndarray]], None], **metadata: str) -> None:
    with safe_open(path, framework="np") as file:
        about = dict(file.metadata() or {}) | metadata
    tensors = {name: values.copy() for name, values in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, about)


class TestSound:
    def test_a_run_as_it_was_left_is_sound(self, made: Path) -> None:
        done = onnxsens("check", made)
        assert done.returncode == 0, done.stderr
        lines = [line.split() for line in done.stdout.splitlines()]
        states = {words[0]: words[1] for words in lines if words[0] in FILES | {"model"}}
        assert states == dict.fromkeys(FILES | {"model"}, "ok")
        assert done.stdout.startswith("run run is sound\n")

    def test_the_document_has_a_check_for_everything(self, made: Path) -> None:
        found = document("check", made)
        assert found["sound"] is True and found["run"] == "run"
        assert {each["name"]: each["state"] for each in found["checks"]} == dict.fromkeys(FILES | {"model"}, "ok")

    def test_looking_changes_nothing(self, run: Path) -> None:
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}
        assert onnxsens("check", run).returncode == 0
        assert {
            path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()
        } == before

    def test_what_this_run_wrote_has_to_be_there(self, run: Path) -> None:
        names = {"pareto.json", "map.json", "masks.safetensors", "weights.safetensors", "pruned.onnx"}
        for name in names:
            (run / name).unlink()
        assert bad(run).keys() == names
        assert bad(run)["map.json"] == "it is not there, and this run wrote it; make it again"

    def test_a_pruned_model_that_was_applied_again_is_right(self, run: Path) -> None:
        done = onnxsens("apply", MODEL, run / "plan.json", "-o", run / "pruned.onnx", "--force")
        assert done.returncode == 0, done.stderr
        assert not bad(run)

    def test_masks_that_were_exported_again_are_right(self, run: Path) -> None:
        given = ("export", run / "plan.json", "--model", MODEL, "--to", "masks", "--packed", "--force")
        assert onnxsens(*given).returncode == 0
        found = {finding.name: finding for finding in check(run).findings}
        assert found["masks.safetensors"].state == "ok"
        assert "written again since the run" in found["masks.safetensors"].text

    def test_a_model_that_moved_is_named(self, run: Path, tmp_path: Path) -> None:
        moved = tmp_path / "moved.onnx"
        shutil.copyfile(MODEL, moved)
        assert not bad(run, moved)

    def test_what_a_killed_process_left_is_listed(self, run: Path) -> None:
        (run / f".{LEFT}.part").write_bytes(b"half")
        (last,) = check(run).findings[-1:]
        assert last.name == "left behind" and f".{LEFT}.part" in last.text and last.state == "ok"


class TestPruned:
    @pytest.mark.parametrize("planned", [True, False])
    def test_another_value_in_any_tensor_is_found(self, run: Path, planned: bool) -> None:
        names = set(json.loads((run / "plan.json").read_text())["changed"])

        def change(proto: onnx.ModelProto) -> None:
            tensor = next(
                each
                for each in proto.graph.initializer
                if (each.name in names) == planned and numpy_helper.to_array(each).size > 1
            )
            values = numpy_helper.to_array(tensor).copy()
            values.flat[-1] += 1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

        with_pruned(run, change)
        assert set(bad(run)) == {"pruned.onnx"}
        assert "values" in bad(run)["pruned.onnx"] or "not as in the model" in bad(run)["pruned.onnx"]

    def test_a_changed_text_is_found(self, run: Path) -> None:
        with_pruned(run, lambda proto: setattr(proto, "doc_string", "another"))
        assert "not as in the model" in bad(run)["pruned.onnx"]

    def test_the_dense_model_is_not_the_pruned_one(self, run: Path) -> None:
        shutil.copyfile(MODEL, run / "pruned.onnx")
        assert "another" in bad(run)["pruned.onnx"] or "other values" in bad(run)["pruned.onnx"]

    def test_a_torn_file_is_found(self, run: Path) -> None:
        content = (run / "pruned.onnx").read_bytes()
        (run / "pruned.onnx").write_bytes(content[: len(content) // 2])
        assert set(bad(run)) == {"pruned.onnx"}

    def test_a_link_is_none_of_ours(self, run: Path, tmp_path: Path) -> None:
        shutil.move(run / "pruned.onnx", tmp_path / "elsewhere.onnx")
        (run / "pruned.onnx").symlink_to(tmp_path / "elsewhere.onnx")
        assert "no plain file" in bad(run)["pruned.onnx"]


class TestOthers:
    def test_a_plan_that_was_edited_is_found(self, run: Path) -> None:
        text = (run / "plan.json").read_text()
        (run / "plan.json").write_text(text.replace('"technique": "obs"', '"technique": "wanda"'))
        assert "changed since this run wrote it" in bad(run)["plan.json"]

    def test_a_plan_that_breaks_its_schema_does_not_hide_the_rest(self, run: Path) -> None:
        (run / "plan.json").write_text("{}")
        found = bad(run)
        assert "schema" in found["plan.json"] and "cannot be checked without a plan" in found["pruned.onnx"]
        assert "map.json" not in found and "scan.db" not in found

    def test_changes_of_another_plan_are_found(self, run: Path) -> None:
        with_tensors(run / "changes.safetensors", lambda tensors: next(iter(tensors.values())).__setitem__(..., 1))
        assert "not the file that the plan was made with" in bad(run)["changes.safetensors"]

    def test_a_mask_that_keeps_another_element_is_found(self, run: Path) -> None:
        def change(tensors: dict[str, np.ndarray]) -> None:
            mask = next(iter(tensors.values()))
            mask.flat[0] = 1 - mask.flat[0]

        with_tensors(run / "masks.safetensors", change)
        assert set(bad(run)) == {"masks.safetensors"} and "not the zeros" in bad(run)["masks.safetensors"]

    def test_masks_of_another_plan_are_found(self, run: Path) -> None:
        with_tensors(run / "masks.safetensors", lambda tensors: None, plan_sha256="0" * 64)
        assert "of another plan" in bad(run)["masks.safetensors"]

    def test_another_value_for_the_source_is_found(self, run: Path) -> None:
        with_tensors(run / "weights.safetensors", lambda tensors: next(iter(tensors.values())).__setitem__(..., 1))
        assert "not the values" in bad(run)["weights.safetensors"]

    def test_a_map_that_leaves_a_planned_weight_out_is_found(self, run: Path) -> None:
        made = json.loads((run / "map.json").read_text())
        gone = made["tensors"].pop(0)
        assert gone["role"] == "weight"
        made["coverage"]["weights"] = {}
        (run / "map.json").write_text(json.dumps(made))
        assert f"leaves out weight '{gone['name']}'" in bad(run)["map.json"]

    def test_a_map_of_another_model_is_found(self, run: Path) -> None:
        made = json.loads((run / "map.json").read_text())
        made["model"]["sha256"] = "0" * 64
        (run / "map.json").write_text(json.dumps(made))
        assert "of another model" in bad(run)["map.json"]

    def test_a_front_that_cannot_be_read_is_found(self, run: Path) -> None:
        (run / "pareto.json").write_text('{"schema": "onnxsens.pareto/1"}')
        assert set(bad(run)) == {"pareto.json"}

    def test_a_store_that_is_none_is_found_and_the_model_can_still_be_named(self, run: Path) -> None:
        (run / "scan.db").write_bytes(b"no database at all, by any means" * 100)
        for log in run.glob("scan.db-*"):
            log.unlink()
        assert {"scan.db", "model"} <= set(bad(run))
        assert set(bad(run, MODEL)) == {"scan.db"}

    def test_another_model_is_refused_and_a_lost_one_is_asked_for(self, run: Path, tmp_path: Path) -> None:
        assert "not the model of this run" in bad(run, ROOT / "models" / "jv_gru.onnx")["model"]
        assert "give --model FILE" in bad(run, tmp_path / "lost.onnx")["model"]

    def test_the_command_ends_with_3_and_one_line(self, run: Path) -> None:
        (run / "plan.json").write_text("{")
        done = onnxsens("check", run)
        assert done.returncode == 3 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
        assert "plan.json" in done.stderr and "bad" in done.stdout

    def test_a_folder_without_a_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no run"):
            check(tmp_path)
        with pytest.raises(InputError, match="does not exist"):
            check(tmp_path / "nowhere")
