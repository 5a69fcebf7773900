"""Every command of the README runs, in order, and its first one does what the README says."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from commands import ROOT, onnxsens
from onnx import numpy_helper

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.rpartition("&& ")[2].replace(".venv/bin/", "")
    for block in BLOCKS
    for line in block.strip().splitlines()
    if "onnxsens " in line.rpartition("&& ")[2]
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder beside the shipped models, where the README's commands leave what they make."""
    made = tmp_path_factory.mktemp("readme")
    (made / "models").symlink_to(ROOT / "models")
    return made


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_readme_run_in_order(folder: Path, command: str) -> None:
    program, *arguments = shlex.split(command)
    assert program == "onnxsens"
    done = onnxsens(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_lines_of_python_run(folder: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)
    zeros = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in onnx.load(folder / "out-py/pruned.onnx").graph.initializer
    }
    plan = json.loads((folder / "out-py" / "plan.json").read_text())
    assert plan["totals"]["sparsity"] == pytest.approx(0.5, abs=0.01)
    assert sum(int((zeros[weight["name"]] == 0).sum()) for weight in plan["weights"]) == plan["totals"]["zeros"]


@pytest.mark.slow
class TestTheFirstCommand:
    """Runs after the commands above: what they left is judged by plain onnx and onnxruntime."""

    @pytest.fixture
    def made(self, folder: Path) -> dict[str, object]:
        plan: dict[str, object] = json.loads((folder / "out" / "plan.json").read_text())
        return plan

    def test_the_plan_is_verified_where_known_rules_lose_everything(self, made: dict) -> None:
        assert made["quality"]["verified"] is True
        assert made["totals"]["sparsity"] >= 0.78
        drops = {item["name"]: item["metrics"]["accuracy"]["drop"] for item in made["baselines"]}
        assert set(drops) == {"uniform", "erk", "lamp"}
        assert min(drops.values()) > 0.2
        updates = {item["name"]: item["metrics"]["kl"]["drop"] for item in made["updates"]}
        assert updates["reconstruct"] < updates["refit"] / 5 < updates["none"] / 25

    def test_sparsity_is_real_to_the_element(self, folder: Path, made: dict) -> None:
        dense, pruned = (
            {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}
            for path in (folder / "models" / "fashion_cnn.onnx", folder / "out" / "pruned.onnx")
        )
        for weight in made["weights"]:
            values = pruned[weight["name"]]
            assert int((values == 0).sum()) == weight["zeros"]
            assert not np.signbit(values[values == 0]).any()
        assert {name for name in dense if dense[name].tobytes() != pruned[name].tobytes()} == set(made["changed"])

    def test_accuracy_is_the_stated_one_in_a_plain_session(self, folder: Path, made: dict) -> None:
        data = np.load(folder / "models" / "fashion_mnist_test.npz")
        image = ((data["image"] / 255 - 0.2860) / 0.3530).astype(np.float32)
        session = onnxruntime.InferenceSession(str(folder / "out" / "pruned.onnx"), providers=["CPUExecutionProvider"])
        right = session.run(None, {"image": image})[0].argmax(1) == data["labels"]
        order = np.random.default_rng(made["data"]["seed"]).permutation(10_000)
        stated = made["quality"]["metrics"]["accuracy"]
        assert right[order[:5000]].mean() == pytest.approx(stated["pruned"], abs=1e-9)
        chosen = next(item for item in made["choice"]["proposals"] if item["picker"] == made["choice"]["picker"])
        searched = 0.9106 - right[order[5000:]].mean()
        assert searched == pytest.approx(chosen["drops"]["accuracy"], abs=1e-9)


def test_the_second_command_is_what_ci_runs() -> None:
    assert "'.[test]'" in BLOCKS[1] and "pytest" in BLOCKS[1]
    assert "README.md" in (ROOT / ".ci" / "run").read_text()


def test_every_file_that_the_readme_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_schema_in_the_docs_is_the_codes_and_a_plan_fits_it(folder: Path) -> None:
    import jsonschema

    from onnxsens.plan.planfile import json_schema

    schema = json.loads((ROOT / "docs" / "plan.schema.json").read_text())
    assert schema == json_schema()
    if (folder / "out" / "plan.json").exists():
        jsonschema.validate(json.loads((folder / "out" / "plan.json").read_text()), schema)


def test_the_plug_in_of_the_docs_works() -> None:
    from onnxsens.techniques import Sparsity
    from onnxsens.techniques.patterns.unstructured import Unstructured

    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "plug-ins.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    criterion = names["RowShare"]()
    weight = np.array([[1.0, 3.0], [10.0, 30.0]], np.float32)
    np.testing.assert_allclose(criterion.scores(weight), [[0.25, 0.75], [0.25, 0.75]])
    pruned = Sparsity("row-share", "unstructured", criterion, Unstructured()).prepare(weight).at(0.5)
    np.testing.assert_array_equal(pruned, [[0, 3], [0, 30]])


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]])
def test_linters_have_nothing_to_say(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_has_help_with_an_example() -> None:
    from onnxsens.cli import COMMANDS as ALL

    for name in ALL:
        done = onnxsens(name, "--help")
        assert done.returncode == 0
        assert f"Example: onnxsens {name} " in " ".join(done.stdout.split())
