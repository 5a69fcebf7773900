"""The plug-ins of the docs, installed as a package, are found by name, keep their contracts, and do their work."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import ROOT
from onnx import numpy_helper

PAGE = (ROOT / "docs" / "how-to" / "write-a-plug-in.md").read_text(encoding="utf-8")
[TOML] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
POINTS = {
    group.removeprefix("onnxsens."): points for group, points in tomllib.loads(TOML)["project"]["entry-points"].items()
}
MODULES = {point.partition(":")[0].rpartition(".")[2] for points in POINTS.values() for point in points.values()}
SECTIONS = {
    title.lower().replace("data source", "source").partition(" ")[0]: code
    for title, code in re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
}
NAMES = {"export": "exporter"}
CODE = {NAMES.get(name, name): code for name, code in SECTIONS.items()}
SAMPLES = "models/japanese_vowels_test.npz"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip would leave it, beside the models."""
    folder = tmp_path_factory.mktemp("plug-ins")
    package, about = folder / "yourpackage", folder / "yourpackage-1.0.dist-info"
    package.mkdir()
    about.mkdir()
    (folder / "models").symlink_to(ROOT / "models")
    (package / "__init__.py").touch()
    for name, code in CODE.items():
        (package / f"{name}.py").write_text(code, encoding="utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: yourpackage\nVersion: 1.0\n")
    lines = []
    for kind, points in POINTS.items():
        lines += [f"[onnxsens.{kind}]", *(f"{name} = {target}" for name, target in points.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the package installed, in its folder."""
    found = os.pathsep.join(filter(None, (str(folder), str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": found},
        capture_output=True,
        text=True,
        check=False,
    )


def onnxsens(folder: Path, *arguments: str) -> str:
    """What a command says that has to end well."""
    done = python(folder, "-m", "onnxsens", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_module_for_every_entry_point_and_a_row_for_every_group() -> None:
    assert set(CODE) == MODULES
    groups = set(re.findall(r"^\| [^|]+ \| `onnxsens\.(\w+)` \|", PAGE, re.MULTILINE))
    assert groups == set(POINTS)


def test_every_group_that_the_code_looks_into_has_a_plug_in_on_the_page() -> None:
    kinds = set()
    for path in (ROOT / "onnxsens").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        kinds |= set(re.findall(r"Registry\(\s*(?:kind=)?\"(\w+)\"", text))
    assert kinds == set(POINTS)


@pytest.mark.parametrize("name", sorted(CODE))
def test_a_plug_in_of_the_docs_keeps_its_contract(installed: Path, name: str) -> None:
    if "Contract" not in CODE[name]:
        assert name == "technique"  # the page says that it has none
        return
    done = python(installed, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", f"yourpackage/{name}.py")
    assert done.returncode == 0, done.stdout
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) >= 3
    assert "skipped" not in done.stdout


def test_names_are_found_by_every_registry_and_loaded_from_the_package(installed: Path) -> None:
    found = {
        point.group.removeprefix("onnxsens."): point.name
        for point in importlib.metadata.Distribution.at(installed / "yourpackage-1.0.dist-info").entry_points
    }
    assert found.keys() == POINTS.keys()
    code = """
from onnxsens.data.opening import sources
from onnxsens.frameworks.checkpoints import checkpoints
from onnxsens.frameworks.exporters import exporters
from onnxsens.metrics import metrics
from onnxsens.plan.pickers import pickers
from onnxsens.report.formats import formats
from onnxsens.scan.searches import searches
from onnxsens.targets import targets
from onnxsens.techniques import kinds
from onnxsens.techniques.criteria import criteria
from onnxsens.techniques.patterns import patterns
from onnxsens.techniques.updates import updates
every = [sources, checkpoints, exporters, metrics, pickers, formats, searches, targets, kinds]
for registry in [*every, criteria, patterns, updates]:
    for name in set(registry.names()) - set(registry.table):
        home = registry.get(name)
        print(registry.kind, name, getattr(home, "__module__", type(home).__module__).partition(".")[0])
"""
    lines = python(installed, "-c", code).stdout.split("\n")
    for kind, name in found.items():
        assert any(line.split()[:2] == [kind, name] for line in lines if line), (kind, lines)


@pytest.mark.slow
class TestTheyDoTheirWork:
    """On a shipped model, through the command line."""

    MODEL = "models/jv_gru1.onnx"

    def test_criterion_pattern_update_metric_and_search_in_a_scan(self, installed: Path) -> None:
        for technique in ("column-share", "magnitude:columns", "magnitude+scaled"):
            said = onnxsens(
                installed, "scan", self.MODEL, "-d", SAMPLES, "--technique", technique, "--search", "halves",
                "--metric", "largest-change", "--tolerance", "largest-change=5", "--search-metric", "largest-change",
                "--json", "-o", f"run-{technique.replace(':', '-')}",
            )  # fmt: skip
            read = json.loads(said)
            assert "halves" in json.dumps(read)

    def test_a_whole_pattern_in_a_plan(self, installed: Path) -> None:
        onnxsens(
            installed, "auto", self.MODEL, "-d", SAMPLES, "--technique", "magnitude:columns", "--update", "none",
            "--sparsity", "0.3", "-o", "out",
        )  # fmt: skip
        plan = json.loads((installed / "out" / "plan.json").read_text())
        tensors = {
            one.name: numpy_helper.to_array(one) for one in onnx.load(installed / "out/pruned.onnx").graph.initializer
        }
        planned = {weight["name"]: weight for weight in plan["weights"] if weight["zeros"]}
        assert planned
        for name, weight in planned.items():
            assert weight["pattern"] == "columns"
            gone = (tensors[name].reshape(-1, tensors[name].shape[-1]) == 0).all(axis=0)
            assert gone.sum() * tensors[name].size // tensors[name].shape[-1] == weight["zeros"]

    def test_a_picker_competes_where_it_is_named(self, installed: Path) -> None:
        for folder, more in (("out-usual", []), ("out-more", ["--picker", "large-first"])):
            options = ["--update", "none", "--sparsity", "0.3", *more, "-o", folder]
            onnxsens(installed, "auto", self.MODEL, "-d", SAMPLES, *options)
        usual, plan = (json.loads((installed / name / "plan.json").read_text()) for name in ("out-usual", "out-more"))
        proposed = {one["picker"]: one for one in plan["choice"]["proposals"]}
        before = {one["picker"] for one in usual["choice"]["proposals"]}
        assert proposed.keys() == before | {"large-first"} and "large-first" not in before
        assert proposed["large-first"]["sparsity"] == pytest.approx(0.3, abs=0.01)
        assert proposed["large-first"]["baseline"]
        assert plan["objective"]["limits"] == ["--picker", "large-first"] and not usual["objective"]["limits"]
        page = (installed / "out-more" / "report.html").read_text()
        assert "large-first" in page and "--picker large-first" in page

    def test_formats_of_files_after_that(self, installed: Path) -> None:
        onnxsens(installed, "export", "out/plan.json", "--model", self.MODEL, "--to", "outline", "-o", "out")
        assert "f.weight" in (installed / "out" / "outline.txt").read_text()
        onnxsens(installed, "report", "out", "-o", "out/report.txt")
        lines = (installed / "out" / "report.txt").read_text().splitlines()
        assert len(lines) == 1 + 3
        assert all("drop" in line for line in lines[1:])

    def test_another_kind_of_level(self, installed: Path) -> None:
        onnxsens(
            installed,
            "scan",
            self.MODEL,
            "-d",
            SAMPLES,
            "--technique",
            "float16",
            "--levels",
            "0.5",
            "-o",
            "run-float16",
        )

    def test_samples_of_another_kind(self, installed: Path) -> None:
        import gzip

        with gzip.open(installed / "x.npy.gz", "wb") as file:
            np.save(file, np.load(ROOT / SAMPLES)["x"])
        onnxsens(installed, "scan", self.MODEL, "-d", "x.npy.gz", "--levels", "0.5", "-o", "run-gz")

    def test_a_target_is_listed_and_keeps_what_it_refuses_dense(self, installed: Path) -> None:
        assert "my-board" in onnxsens(installed, "targets")
        onnxsens(
            installed, "auto", "models/jv_lstm.onnx", "-d", SAMPLES, "--target", "my-board",
            "--technique", "magnitude:block4x1", "--update", "none", "--sparsity", "0.02", "-o", "out-board",
        )  # fmt: skip
        plan = json.loads((installed / "out-board" / "plan.json").read_text())
        assert plan["objective"]["target"] == "my-board"
        zeros = {weight["name"]: weight["zeros"] for weight in plan["weights"] if weight["zeros"]}
        assert set(zeros) == {"f1.weight"}  # of 64 outputs; the others are of LSTMs, or of 9 outputs
        assert zeros["f1.weight"] == 3072  # half of 64 x 96, the least that the target takes

    def test_a_checkpoint_of_another_kind(self, installed: Path) -> None:
        weights = {one.name: numpy_helper.to_array(one) for one in onnx.load(ROOT / self.MODEL).graph.initializer}
        own = {"head": "f.weight", "inputs": "onnx::GRU_105", "states": "onnx::GRU_106"}
        lines = "".join(f"{name} {' '.join(map(str, weights[other].shape))}\n" for name, other in own.items())
        values = b"".join(weights[other].tobytes() for other in own.values())
        (installed / "weights.flat").write_bytes(b"FLAT1\n" + lines.encode() + b"\n" + values)
        onnxsens(installed, "map", self.MODEL, "--checkpoint", "weights.flat", "-o", "map.json")
        read = json.loads((installed / "map.json").read_text())
        assert read["checkpoint"]["format"] == "flat"
        found = {one["name"]: one for one in read["tensors"] if one["role"] == "weight"}
        assert {one["confidence"] for one in found.values()} == {"exact"}
        assert {one["pieces"][0]["parameter"]: name for name, one in found.items()} == own
