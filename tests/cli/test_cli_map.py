"""`onnxsens map`, `export` and `auto --checkpoint`, as a user runs them, on shipped models and bad input."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import ROOT, document, onnxsens
from onnx import numpy_helper
from safetensors.numpy import load_file, save_file

MODEL = ROOT / "models" / "jv_transformer.onnx"
DATA = ROOT / "models" / "japanese_vowels_test.npz"


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def as_source(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A source that keeps matrices the other way round, under names of its own."""
    return {
        f"net.{number}.kernel": np.ascontiguousarray(values.T)
        for number, values in enumerate(tensors.values())
        if values.dtype == np.float32
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "checkpoint.safetensors"
    save_file(as_source(initializers(MODEL)), path)
    return path


@pytest.fixture(scope="module")
def run(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    command = ("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--confidence", "none", "--checkpoint", checkpoint)
    done = onnxsens(*command, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert "have a certain parameter" in done.stderr
    for name in ("map.json", "masks.safetensors", "weights.safetensors"):
        assert f"wrote {folder / name}" in done.stderr
    return folder


class TestAuto:
    def test_masks_are_the_zeros_of_the_pruned_model(self, run: Path) -> None:
        plan = json.loads((run / "plan.json").read_text())
        masks, pruned = load_file(run / "masks.safetensors"), initializers(run / "pruned.onnx")
        planned = [weight for weight in plan["weights"] if weight["zeros"]]
        assert {name for weight in planned for name in weight["source"]["parameters"]} == set(masks)
        for weight in planned:
            (name,) = weight["source"]["parameters"]
            assert weight["source"]["confidence"] == "exact"
            assert np.array_equal(masks[name].T != 0, pruned[weight["name"]] != 0)
            assert int((masks[name] == 0).sum()) == weight["zeros"]

    def test_updated_values_are_those_of_the_pruned_model(self, run: Path) -> None:
        plan = json.loads((run / "plan.json").read_text())
        mapped = {tensor["name"]: tensor for tensor in json.loads((run / "map.json").read_text())["tensors"]}
        weights, pruned = load_file(run / "weights.safetensors"), initializers(run / "pruned.onnx")
        assert plan["update"] == "reconstruct"
        found = {}
        for name in plan["changed"]:
            (piece,) = mapped[name]["pieces"]
            found[piece["parameter"]] = pruned[name].T
        assert set(found) == set(weights)
        for name, values in found.items():
            assert np.array_equal(weights[name], values)

    def test_it_goes_on_where_it_stopped_and_gives_the_same_bytes(self, run: Path, checkpoint: Path) -> None:
        before = {name: (run / name).read_bytes() for name in ("plan.json", "map.json", "masks.safetensors")}
        command = ("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--confidence", "none", "--checkpoint", checkpoint)
        assert onnxsens(*command, "-o", run).returncode == 0
        assert {name: (run / name).read_bytes() for name in before} == before

    def test_a_checkpoint_of_another_model_is_refused_before_anything_is_measured(self, tmp_path: Path) -> None:
        other = tmp_path / "other.npz"
        np.savez(other, **as_source(initializers(ROOT / "models" / "jv_lstm.onnx")))
        done = onnxsens("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--checkpoint", other, "-o", tmp_path / "out")
        assert done.returncode == 3
        assert "is not the checkpoint of" in done.stderr
        assert not (tmp_path / "out" / "plan.json").exists()

    def copied(self, run: Path, to: Path) -> Path:
        to.mkdir()
        for path in run.iterdir():
            if path.is_file():
                (to / path.name).write_bytes(path.read_bytes())
        return to

    def test_the_next_plan_of_the_run_goes_on_with_its_map(self, run: Path, tmp_path: Path) -> None:
        copy = self.copied(run, tmp_path / "run")
        done = onnxsens("plan", copy, "--sparsity", "0.3", "--confidence", "none")
        assert done.returncode == 0, done.stderr
        plan, masks = json.loads((copy / "plan.json").read_text()), load_file(copy / "masks.safetensors")
        zeros = {weight["source"]["parameters"][0]: weight["zeros"] for weight in plan["weights"] if weight["zeros"]}
        assert {name: int((mask == 0).sum()) for name, mask in masks.items()} == zeros
        assert (copy / "map.json").read_bytes() == (run / "map.json").read_bytes()

    def test_masks_that_are_not_the_runs_own_are_left_and_said_to_be_of_another_plan(
        self, run: Path, tmp_path: Path
    ) -> None:
        copy = self.copied(run, tmp_path / "run")
        command = ("export", copy / "plan.json", "--model", MODEL, "--to", "masks", "--packed", "--force")
        assert onnxsens(*command).returncode == 0
        packed = (copy / "masks.safetensors").read_bytes()
        done = onnxsens("plan", copy, "--sparsity", "0.3", "--confidence", "none")
        assert done.returncode == 0, done.stderr
        assert "masks.safetensors, weights.safetensors in" in done.stderr
        assert "are of another plan" in done.stderr
        assert (copy / "masks.safetensors").read_bytes() == packed

    def test_nothing_is_overwritten_that_was_handed_in(self, run: Path, checkpoint: Path, tmp_path: Path) -> None:
        own = tmp_path / "own"
        own.mkdir()
        for name in ("map.json", "weights.safetensors"):
            path = own / name
            path.write_bytes(checkpoint.read_bytes())
            done = onnxsens("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--checkpoint", path, "-o", own, "--force")
            assert done.returncode == 4
            assert "would overwrite the checkpoint" in done.stderr
            done = onnxsens("map", MODEL, "--checkpoint", path, "-o", path, "--force")
            assert done.returncode == 4
            assert path.read_bytes() == checkpoint.read_bytes()

    def test_levels_that_are_no_sparsities_are_not_carried_back(self, checkpoint: Path, tmp_path: Path) -> None:
        command = ("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--technique", "bits", "--confidence", "none")
        done = onnxsens(*command, "--checkpoint", checkpoint, "-o", tmp_path / "out")
        assert done.returncode == 2
        assert "technique 'bits' sets none" in done.stderr

    @pytest.mark.parametrize("more", [["--dry-run"], ["--iterative", "2"]])
    def test_a_foreign_checkpoint_is_refused_at_once_in_every_mode(self, tmp_path: Path, more: list[str]) -> None:
        other = tmp_path / "other.npz"
        np.savez(other, **as_source(initializers(ROOT / "models" / "jv_lstm.onnx")))
        command = ("auto", MODEL, "-d", DATA, "--sparsity", "0.5", "--checkpoint", other, "-o", tmp_path / "out", *more)
        done = onnxsens(*command)
        assert done.returncode == 3
        assert "is not the checkpoint of" in done.stderr
        assert not (tmp_path / "out" / "steps").exists()


class TestMap:
    def test_every_weight_is_found_and_the_document_is_the_file(self, checkpoint: Path, tmp_path: Path) -> None:
        out = tmp_path / "map.json"
        made = document("map", MODEL, "--checkpoint", checkpoint, "-o", out)
        assert made == json.loads(out.read_text())
        assert made["schema"] == "onnxsens.map/1"
        weights = [tensor for tensor in made["tensors"] if tensor["role"] == "weight"]
        assert {tensor["confidence"] for tensor in weights} == {"exact"}
        assert made["coverage"]["weights"] == {
            "exact": {"tensors": len(weights), "elements": sum(int(np.prod(one["shape"])) for one in weights)}
        }

    def test_the_table_names_parameters_transforms_and_evidence(self, checkpoint: Path) -> None:
        done = onnxsens("map", MODEL, "--checkpoint", checkpoint, COLUMNS="200")
        assert done.returncode == 0
        assert "transposed" in done.stdout
        assert "the same numbers" in done.stdout
        assert "100.0 % of the elements" in done.stdout

    def test_a_file_is_not_overwritten_unasked(self, checkpoint: Path, tmp_path: Path) -> None:
        out = tmp_path / "map.json"
        out.write_text("mine")
        done = onnxsens("map", MODEL, "--checkpoint", checkpoint, "-o", out)
        assert (done.returncode, out.read_text()) == (4, "mine")
        assert onnxsens("map", MODEL, "--checkpoint", checkpoint, "-o", out, "--force").returncode == 0

    def test_a_later_checkpoint_of_the_same_model_is_not_taken_for_the_exported_one(self, tmp_path: Path) -> None:
        noise = np.float32(1e-4)
        trained = {name: values + noise for name, values in initializers(MODEL).items() if values.ndim == 2}
        np.savez(tmp_path / "later.npz", **trained)
        done = onnxsens("map", MODEL, "--checkpoint", tmp_path / "later.npz")
        assert done.returncode == 3
        assert "alike in name or shape only" in done.stderr


class TestBadCheckpoints:
    def refused(self, path: Path, code: int = 3, **environment: str) -> str:
        done = onnxsens("map", MODEL, "--checkpoint", path, **environment)
        assert done.returncode == code, done.stderr
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    def test_truncated(self, checkpoint: Path, tmp_path: Path) -> None:
        path = tmp_path / "cut.safetensors"
        path.write_bytes(checkpoint.read_bytes()[:5000])
        assert "cut.safetensors" in self.refused(path)

    def test_missing_empty_and_the_model_itself(self, tmp_path: Path) -> None:
        empty = tmp_path / "empty.npz"
        empty.touch()
        assert "does not exist" in self.refused(tmp_path / "nothing.pt")
        assert "empty" in self.refused(empty)
        assert "ONNX" in self.refused(MODEL)

    def test_an_unknown_format_comes_with_a_suggestion(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.safetensor"
        path.write_bytes(b"not a checkpoint of any kind")
        assert "safetensors" in self.refused(path)

    def test_a_pickle_without_torch_says_what_to_install(self, tmp_path: Path) -> None:
        path = tmp_path / "model.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", b"\x80\x02}q\x00.")
            archive.writestr("model/version", b"3\n")
        hidden = tmp_path / "hidden" / "torch"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
        assert "pip install torch" in self.refused(
            path, 4, PYTHONPATH=os.pathsep.join((str(hidden.parent), os.environ.get("PYTHONPATH", "")))
        )


class TestExport:
    @pytest.mark.parametrize("mode", ["mask", "ratio"])
    def test_each_format_is_written_or_refused_for_what_it_cannot_do(
        self, run: Path, tmp_path: Path, mode: str
    ) -> None:
        from onnxsens.frameworks.exporters import exporters

        refused = {}
        for name in exporters.names():
            folder = tmp_path / name
            command = ("export", run / "plan.json", "--model", MODEL, "--to", name, "--mode", mode, "-o", folder)
            done = onnxsens(*command)
            assert (done.returncode == 0) == folder.exists(), done.stderr
            if done.returncode:
                assert (done.returncode, done.stderr.count("\n")) == (2, 1)
                refused[name] = done.stderr
        no_mode = {name for name in exporters.names() if mode not in exporters.get(name).modes}
        assert {name for name, text in refused.items() if f"has no --mode {mode}" in text} == no_mode
        # These two address layers by names that these parameters have not; the others take other patterns.
        patterns = {"modelopt", "torch-pruning"} if mode == "ratio" else set()
        assert set(refused) - no_mode == {"tfmot", "llmcompressor"} | patterns

    def test_values_of_another_plan_do_not_stay_beside_new_masks(self, run: Path, tmp_path: Path) -> None:
        plain = tmp_path / "plain"
        command = ("auto", MODEL, "-d", DATA, "--sparsity", "0.3", "--update", "none", "--confidence", "none")
        assert onnxsens(*command, "-o", plain).returncode == 0
        shared, target = ("--model", MODEL, "--map", run / "map.json", "--to", "masks"), tmp_path / "out"
        assert onnxsens("export", run / "plan.json", *shared, "-o", target).returncode == 0
        assert (target / "weights.safetensors").exists()
        (target / "masks.safetensors").unlink()
        done = onnxsens("export", plain / "plan.json", *shared, "-o", target)
        assert done.returncode == 4
        assert "weights.safetensors" in done.stderr
        assert onnxsens("export", plain / "plan.json", *shared, "-o", target, "--force").returncode == 0
        assert sorted(path.name for path in target.iterdir()) == ["masks.safetensors"]

    def test_values_do_not_go_back_by_names_alone(self, run: Path, tmp_path: Path) -> None:
        names = tmp_path / "map.json"
        assert onnxsens("map", MODEL, "-o", names).returncode == 0
        command = (
            "export",
            run / "plan.json",
            "--model",
            MODEL,
            "--map",
            names,
            "--to",
            "masks",
            "-o",
            tmp_path / "out",
        )
        done = onnxsens(*command)
        assert done.returncode == 0, done.stderr
        assert "updated values that stay behind" in done.stdout
        assert "a map by --checkpoint shows that" in done.stdout
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["masks.safetensors"]

    def test_masks_are_those_that_auto_left_and_packed_ones_say_the_same(self, run: Path, tmp_path: Path) -> None:
        command = ("export", run / "plan.json", "--model", MODEL, "--map", run / "map.json", "--to", "masks")
        for name, more in (("plain", []), ("packed", ["--packed"])):
            assert onnxsens(*command, "-o", tmp_path / name, *more).returncode == 0
        left = (run / "masks.safetensors").read_bytes()
        assert (tmp_path / "plain" / "masks.safetensors").read_bytes() == left
        plain, packed = (load_file(tmp_path / name / "masks.safetensors") for name in ("plain", "packed"))
        assert set(plain) == set(packed)
        for name, mask in plain.items():
            assert np.array_equal(np.packbits(mask), packed[name])
        assert (tmp_path / "packed" / "masks.safetensors").stat().st_size < len(left) / 4

    def test_files_are_not_overwritten_unasked(self, run: Path) -> None:
        command = ("export", run / "plan.json", "--model", MODEL, "--to", "masks")
        done = onnxsens(*command)
        assert done.returncode == 4
        assert "exists" in done.stderr
        assert onnxsens(*command, "--force").returncode == 0

    def test_what_does_not_belong_together_is_refused(self, run: Path, tmp_path: Path) -> None:
        lstm = ROOT / "models" / "jv_lstm.onnx"
        other = tmp_path / "map.json"
        assert onnxsens("map", lstm, "-o", other).returncode == 0
        command = ("export", run / "plan.json", "--to", "json", "-o", tmp_path)
        for more, text in (
            (("--model", lstm), "the plan is for another model"),
            (("--model", MODEL, "--map", other), "the map is of another model"),
            (("--model", MODEL, "--map", run / "plan.json"), "has the schema 'onnxsens.plan/1'"),
            (("--model", MODEL, "--map", tmp_path / "none.json"), "does not exist"),
            (("--model", MODEL, "--packed", "--mode", "ratio"), "--packed is about masks"),
        ):
            done = onnxsens(*command, *more)
            assert done.returncode in (2, 3)
            assert text in done.stderr
        done = onnxsens("export", run, "--model", MODEL, "--to", "json", "-o", tmp_path)
        assert (done.returncode, "name the plan.json in it" in done.stderr) == (3, True)

    def test_an_unknown_format_or_mode_is_a_usage_error(self, run: Path, tmp_path: Path) -> None:
        command = ("export", run / "plan.json", "--model", MODEL, "-o", tmp_path)
        done = onnxsens(*command, "--to", "troch")
        assert done.returncode == 2
        assert "did you mean 'torch'" in done.stderr
        assert onnxsens(*command, "--to", "masks", "--mode", "ratio").returncode == 2
