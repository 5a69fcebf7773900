"""Export formats: laws that all keep, refusals, and cases worked out by hand, and a plan of `auto`. One needs torch."""

import ast
import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from exporting import export_of, imported, layer, plan_of, write_masks

from onnxsens.errors import UsageError
from onnxsens.frameworks.exporters import Export, Exporter, Layer, Mode, exporters
from onnxsens.frameworks.exporters.contract import ExporterContract
from onnxsens.frameworks.exporters.header import plain
from onnxsens.frameworks.exporters.llmcompressor import character, counts, grouped
from onnxsens.frameworks.exporters.script import RANKING, READ_MASKS, layer_rows
from onnxsens.frameworks.sparse_files import read_masks
from onnxsens.handover import export as hand_over
from onnxsens.handover import map_model
from onnxsens.plan import read_plan

TORCH = (layer("stem.conv.weight", (32, 16, 3, 3), 2000), layer("blocks.0.fc.weight", (16, 32), 400))
SLASHED = (layer("net/conv_a/kernel", (3, 3, 16, 32), 2000), layer("net/fc_b/kernel", (32, 16), 400))
CHANNELS = tuple(replace(each, pattern="channel", zeros=each.size // 2, sparsity=0.5) for each in TORCH)
TWO_OF_FOUR = tuple(replace(each, pattern="2:4") for each in CHANNELS)
TAKEN = {
    "torch-pruning": CHANNELS,
    "modelopt": TWO_OF_FOUR,
    "keras": SLASHED,
    "tfmot": SLASHED,
    "jax": SLASHED,
}
CASES = [(name, mode) for name in exporters.names() for mode in exporters.get(name).modes]


def read_recipe(text: str) -> Any:
    """The little YAML that recipes have: nested keys, a flow list of double-quoted strings, numbers, words."""
    top: dict[str, Any] = {}
    stack: list[tuple[int, dict[str, Any]]] = [(-1, top)]
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        indent, key, rest = re.fullmatch(r"( *)(\w+):(?: (.*))?", line).groups()  # type: ignore[union-attr]  # or fail
        while stack[-1][0] >= len(indent):
            stack.pop()
        if rest is None:
            stack[-1][1][key] = {}
            stack.append((len(indent), stack[-1][1][key]))
        elif rest.startswith("["):
            escaped = re.sub(r"\\U(\w{8})", lambda found: chr(int(found[1], 16)), rest)
            escaped = re.sub(r"(?<!\\)((?:\\\\)*)\\x(\w\w)", r"\1\\u00\2", escaped)
            stack[-1][1][key] = json.loads(escaped, strict=True)
        else:
            stack[-1][1][key] = float(rest) if rest[0].isdigit() else rest
    return top


class TestEveryBuiltIn(ExporterContract):
    @pytest.fixture(params=CASES, ids="-".join)
    def case(self, request: pytest.FixtureRequest) -> tuple[str, Mode]:
        found: tuple[str, Mode] = request.param
        return found

    @pytest.fixture
    def exporter(self, case: tuple[str, Mode]) -> Exporter:
        return exporters.get(case[0])

    @pytest.fixture
    def export(self, case: tuple[str, Mode]) -> Export:
        return export_of(*TAKEN.get(case[0], TORCH), mode=case[1])

    @pytest.fixture
    def read_yaml(self) -> Callable[[str], Any]:
        return read_recipe


@pytest.mark.parametrize("name", exporters.names())
def test_a_format_goes_by_its_own_name_and_is_in_the_docs(name: str) -> None:
    exporter = exporters.get(name)
    assert exporter.name == name
    rows = (Path(__file__).parent.parent.parent / "docs/exports.md").read_text().splitlines()
    [row] = [row for row in rows if row.startswith(f"| `{name}` |")]
    assert (exporter.ran_with or "not run") in row
    assert row.split("|")[3].strip() == ", ".join(exporter.modes)
    for file in exporter.files(export_of(*TAKEN.get(name, TORCH), mode=exporter.modes[0])):
        assert f"`{file}`" in row


def text_of(name: str, *layers: Layer, **more: Any) -> str:
    """The one file of an export."""
    [text] = exporters.get(name).files(export_of(*layers, **more)).values()
    return text


@pytest.mark.parametrize(
    ("name", "layers", "reason"),
    [
        ("torch-pruning", TORCH, "its pattern is unstructured, and Torch-Pruning removes whole channels only"),
        ("torch-pruning", TWO_OF_FOUR, "its pattern is 2:4"),
        ("torch-pruning", (layer("gru.weight_hh_l0", (12, 4), 16, "channel"),), "it is not the weight of a module"),
        (
            "torch-pruning",
            (layer("rnn.weight", (12, 4), 16, "channel", operator="GRU"),),
            "channels of GRU cannot be removed",
        ),
        ("modelopt", TORCH, "its pattern is unstructured, and ModelOpt makes weights 2:4 sparse only"),
        ("modelopt", (layer("a.weight", (12, 16), 96, "2:4"),), "ModelOpt skips 12 x 16 channels"),
        ("modelopt", (layer("a.weight", (16, 16, 3), 384, "2:4"),), "not Conv with 3 axes"),
        ("modelopt", (layer("mix", (16, 16), 128, "2:4"),), "it is not the weight of a module"),
        ("llmcompressor", (layer("gru.weight_hh_l0", (12, 4), 16),), "prunes the parameter 'weight' of modules only"),
        ("llmcompressor", (layer("weight", (12, 4), 16),), "prunes the parameter 'weight' of modules only"),
        ("llmcompressor", TWO_OF_FOUR, "MagnitudePruningModifier has no pattern '2:4' for Conv; use --mode mask"),
        ("tfmot", (layer("net/gru/gru_cell/recurrent_kernel", (4, 12), 16),), "and this is 'recurrent_kernel'"),
        ("tfmot", (layer("net/gru/kernel", (4, 12), 16, operator="GRU"),), "both kernels of a GRU at one ratio"),
        ("tfmot", (layer("net/fc/kernel", (4, 12), 16, "row"),), "tfmot has no pattern 'row'; use --mode mask"),
        ("nncf", (layer("gru.weight_hh_l0", (12, 4), 16, operator="GRU"),), "NNCF prunes no weights of GRU"),
        ("coreml", (layer("a.weight", (12, 4), 16, "row"),), "coremltools has no pattern 'row'; use --mode mask"),
        ("coreml", (layer("a.weight", (12, 4), 16, "block2x4"),), "has no pattern 'block2x4'"),
        ("jax", (layer("a/scale", (12, 4), 16, "row"),), "not known in a tree; use --mode mask"),
        ("jax", (layer("a/kernel", (2, 2, 12, 4), 16, "row", operator="ConvTranspose"),), "not known in a tree"),
    ],
)
def test_what_a_format_cannot_express_is_refused_or_left_out_with_the_reason(
    name: str, layers: tuple[Layer, ...], reason: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(reason)) as caught:
        text_of(name, *layers)
    assert f"nothing that the format '{name}' can express ('{layers[0].parameter}': " in str(caught.value)
    fine = TAKEN.get(name, TORCH)
    text = text_of(name, *fine, *layers)
    assert f"- '{layers[0].parameter}': " in text and reason in text
    code = [line for line in text.splitlines() if not line.startswith("#")]
    assert not any(repr(layers[0].parameter) in line for line in code)


@pytest.mark.parametrize("name", ["llmcompressor", "tfmot", "coreml", "jax"])
def test_a_mask_carries_patterns_that_a_ratio_cannot(name: str) -> None:
    layers = tuple(replace(each, pattern="row") for each in TAKEN.get(name, TORCH))
    text = text_of(name, *layers, mode="mask")
    assert "Left out" not in text


def test_a_header_says_what_the_numbers_mean(tmp_path: Path) -> None:
    rescaled = replace(TORCH[0], rescaled=True, tensors=("q", "k"))
    guessed = replace(TORCH[1], confidence="guess")
    updated = msgspec.structs.replace(plan_of((rescaled, guessed)), update="obs")
    text = flat(text_of("torch", rescaled, guessed, plan=updated))
    assert "A ratio re-ranks weights in the source: magnitudes on BatchNorm-folded weights differ from unfolded" in text
    assert "rank differently here: 'stem.conv.weight'" in text
    assert "'stem.conv.weight' is several weights of the ONNX file, which are ranked together here: 'q', 'k'" in text
    assert "these names are guesses, check them: 'blocks.0.fc.weight'" in text
    assert "which they do not fit, and has none of them: use --mode mask" in text
    assert "Updated values" not in text_of("torch", *TORCH)
    assert "Parameters: 2, with 2400 zeros in 5120 elements." in text
    masked = flat(text_of("torch", rescaled, guessed, mode="mask", weights_file="weights.safetensors"))
    assert "The mask carries the tested zeros exactly" in masked and "rank differently" not in masked
    assert "The script loads them before it masks" in masked
    assert "weights.safetensors" not in text_of("torch", *TORCH, mode="mask")


@pytest.mark.parametrize("name", ["torch", "nncf", "keras", "jax", "tfmot"])
def test_a_script_has_updated_values_only_where_the_export_has(name: str) -> None:
    layers = TAKEN.get(name, TORCH)
    assert "\nVALUES = Path(__file__).with_name('w.safetensors')\n" in text_of(
        name, *layers, mode="mask", weights_file="w.safetensors"
    )
    assert "\nVALUES = None\n" in text_of(name, *layers, mode="mask")
    assert "VALUES" not in text_of(name, *layers)


@pytest.mark.parametrize("name", ["llmcompressor", "coreml"])
def test_what_cannot_load_values_says_first_that_they_have_to_be_and_how(name: str) -> None:
    text = flat("\n".join(text_of(name, *TORCH, mode="mask", weights_file="w.safetensors").splitlines()[:9]))
    assert "cannot load them: load them into the model, then mask it, then" in text
    assert "prune_torch.py of --to torch --mode mask" in text
    assert "model.load_state_dict(safetensors.torch.load_file('w.safetensors'), strict=False)" in text


def test_an_update_that_could_not_be_carried_over_is_said() -> None:
    updated = msgspec.structs.replace(plan_of(TORCH), update="obs")
    assert "The zeros alone were not tested" in flat(text_of("torch", *TORCH, plan=updated, mode="mask"))


def flat(text: str) -> str:
    """Comments without line breaks."""
    return re.sub(r"\n# +", " ", text)


def test_json_has_all_that_is_known_of_a_layer() -> None:
    document = json.loads(text_of("json", *TORCH, mode="mask", left_out=(("onnx::7", "no match"),)))
    assert document["format"] == "onnxsens.export/1" and document["masks"] == "masks.safetensors"
    assert document["layers"][1] == {
        "parameter": "blocks.0.fc.weight",
        "aliases": [],
        "shape": [16, 32],
        "dtype": "float32",
        "zeros": 400,
        "sparsity": 0.78125,
        "pattern": None,
        "operator": "Gemm",
        "tensors": ["onnx::blocks.0.fc.weight"],
        "confidence": "exact",
        "rescaled": False,
    }
    assert document["left_out"] == [{"name": "onnx::7", "reason": "no match"}]


def test_csv_has_a_row_for_every_weight() -> None:
    odd = layer('=cmd,"x"', (2, 2), 1, "row")
    rows = list(csv.DictReader(io.StringIO(text_of("csv", TORCH[1], odd, left_out=(("onnx::7", "no match"),)))))
    assert [row["parameter"] for row in rows] == ["blocks.0.fc.weight", '\'=cmd,"x"', "onnx::7"]  # no formula
    assert rows[0]["zeros"] == "400" and rows[0]["shape"] == "16x32" and rows[0]["pattern"] == "unstructured"
    assert rows[2]["left_out"] == "no match" and rows[2]["zeros"] == ""
    assert {row["mode"] for row in rows} == {"ratio"}


def test_masks_need_no_text_beside_them() -> None:
    assert exporters.get("masks").files(export_of(*TORCH, mode="mask")) == {}
    with pytest.raises(UsageError, match="format 'masks' has no mode 'ratio'; use --mode mask"):
        exporters.get("masks").files(export_of(*TORCH))


def test_recipes_have_a_stage_for_each_level_that_gives_exact_counts() -> None:
    layers = (
        layer("a.weight", (3, 5), 7),  # 7/15 to 8/15
        layer("b.weight", (10, 10), 50),  # 50/100 to 51/100
        layer("c.weight", (10, 10), 90),
        layer("d.weight", (4, 4), 16),  # all
        layer("e.weight", (8, 3, 1, 1), 9, "channel"),  # 3/8 to 4/8
    )
    stages = [(level, structure, [each.parameter for each in group]) for level, structure, group in grouped(layers)]
    assert [(structure, group) for _, structure, group in stages] == [
        ("unstructured", ["a.weight", "b.weight"]),
        ("unstructured", ["c.weight"]),
        ("unstructured", ["d.weight"]),
        ("channel", ["e.weight"]),
    ]
    for level, _, group in stages:
        for name in group:
            [each] = [found for found in layers if found.parameter == name]
            units, going = counts(each)
            assert int(level * units) == going
    recipe = read_recipe(text_of("llmcompressor", *layers))
    assert list(recipe) == ["s0_stage", "s1_stage", "s2_stage", "s3_stage"]
    first = recipe["s0_stage"]["pruning_modifiers"]["MagnitudePruningModifier"]
    assert first["targets"] == [r"re:^a$", r"re:^b$"] and first["init_sparsity"] == first["final_sparsity"]
    held = read_recipe(text_of("llmcompressor", *layers, mode="mask"))
    assert held["s0_stage"]["pruning_modifiers"]["ConstantPruningModifier"]["targets"][-1] == "re:^e$"


def test_yaml_strings_are_ascii_with_escapes() -> None:
    assert [character(each) for each in 'a"\\\n\x85☂𝒳'] == [
        "a",
        '\\"',
        "\\\\",
        "\\x0a",
        "\\x85",
        "\\u2602",
        "\\U0001d4b3",
    ]


def test_names_in_text_are_one_printable_line() -> None:
    assert plain("a\nb\u202ec\ud800") == r"a\nb\u202ec\ud800"


def part(folder: Path, source: str) -> ModuleType:
    """A part of a script that needs no framework."""
    path = folder / "part.py"
    path.write_text(f"import json\nimport math\nimport numpy as np\nfrom safetensors import safe_open\n{source}")
    return imported(path)


@pytest.mark.parametrize(
    ("pattern", "zeros", "expected"),
    [
        (None, 3, "1001 0111 1111"),  # 0, 0, then the earlier of two 1s
        ("row", 3, "1011 0111 0111"),
        ("channel", 4, "0000 1111 1111"),
        ("2:4", 6, "1001 0011 0101"),
        ("1:2", 6, "1001 0101 0101"),
        ("block1x2", 4, "1100 0011 1111"),  # 1 + 2, then the earlier of 0 + 4 and 1 + 3
        ("block3x2", 6, "0011 0011 0011"),
    ],
)
def test_patterns_by_hand(tmp_path: Path, pattern: str | None, zeros: int, expected: str) -> None:
    weight = np.array([[5, 0, 0, 4], [1, 2, 3, 9], [1, 3, 2, 9]], float)
    mask = part(tmp_path, RANKING).kept(weight, zeros, pattern)
    assert " ".join("".join(str(int(each)) for each in row) for row in mask) == expected


@pytest.mark.parametrize("packed", [False, True])
def test_masks_are_read_as_they_were_written(tmp_path: Path, packed: bool) -> None:
    layers = (layer("a", (3, 5), 7), layer("b", (2, 3, 3), 4))
    masks = write_masks(layers, tmp_path / "m.safetensors", packed=packed)
    script = part(tmp_path, f"MASKS = None\nLAYERS = {layer_rows(layers)!r}\n{READ_MASKS}")
    read = script.read_masks(tmp_path / "m.safetensors")
    assert list(read) == ["a", "b"]
    assert all(read[name].dtype == bool and (read[name] == (masks[name] == 1)).all() for name in read)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `planned_in` leaves it, of a plan that updates nothing."""
    return planned_in(tmp_path_factory.mktemp("planned"), "none")


def planned_in(folder: Path, update: str) -> Path:
    """The folder with `model.onnx`, a plan of it by the command, and maps to names of PyTorch and of Keras."""
    rng = np.random.default_rng(0)
    conv, fc = rng.standard_normal((8, 4, 3, 3)).astype("f4"), rng.standard_normal((16, 8)).astype("f4")
    nodes = [
        onnx.helper.make_node("Conv", ["x", "onnx::1"], ["a"]),
        onnx.helper.make_node("GlobalAveragePool", ["a"], ["b"]),
        onnx.helper.make_node("Flatten", ["b"], ["c"]),
        onnx.helper.make_node("Gemm", ["c", "onnx::2"], ["y"], transB=1),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 4, 6, 6])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 16])],
        [onnx.numpy_helper.from_array(conv, "onnx::1"), onnx.numpy_helper.from_array(fc, "onnx::2")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "model.onnx")
    np.savez(folder / "torch.npz", **{"conv.weight": conv, "fc.weight": fc})
    np.savez(folder / "keras.npz", **{"net/conv/kernel": conv.transpose(2, 3, 1, 0), "net/fc/kernel": fc.T})
    command = f"auto model.onnx -d random:32 --sparsity 0.5 --update {update} --confidence none -o .".split()
    command = [sys.executable, "-m", "onnxsens", *command]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for source in ("torch", "keras"):
        map_model(folder / "model.onnx", folder / f"{source}.npz", folder / f"{source}.json")
    return folder


def zeros_planned(folder: Path, source: str) -> dict[str, int]:
    """How many zeros the plan gives each parameter of a source."""
    plan = read_plan(folder / "plan.json")
    assert {weight.pattern for weight in plan.weights} == {"unstructured"}
    names = {"torch": ("conv.weight", "fc.weight"), "keras": ("net/conv/kernel", "net/fc/kernel")}[source]
    by_weight = {weight.name: weight.zeros for weight in plan.weights}
    assert all(by_weight.values())
    return dict(zip(names, (by_weight["onnx::1"], by_weight["onnx::2"]), strict=True))


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_a_real_plan_is_written_as_unstructured_in_every_format(
    planned: Path, tmp_path: Path, name: str, mode: Mode
) -> None:
    source = "keras" if name in {"keras", "tfmot", "jax"} else "torch"
    expected = zeros_planned(planned, source)
    given = (planned / "plan.json", planned / "model.onnx", planned / f"{source}.json", name, tmp_path)
    if name in {"torch-pruning", "modelopt"}:
        with pytest.raises(UsageError, match="its pattern is unstructured, and "):
            hand_over(*given, mode=mode)
        return
    exported = hand_over(*given, mode=mode)
    assert (exported.parameters, exported.zeros, exported.left_out) == (2, sum(expected.values()), ())
    masks = tmp_path / "masks.safetensors"
    assert masks.exists() == (mode == "mask") and not (tmp_path / "weights.safetensors").exists()
    if mode == "mask":
        assert {key: int((~mask).sum()) for key, mask in read_masks(masks).items()} == expected
    texts = [path.read_text() for path in exported.paths if path != masks]
    assert len(texts) == (name != "masks")
    for text in texts:
        assert "Left out" not in text
        found = rows_of(name, text)
        if name == "llmcompressor":
            assert sorted(found) == sorted(expected)
            assert all(zeros is None or zeros == expected[parameter] for parameter, (zeros, _) in found.items())
        else:
            assert found == {parameter: (zeros, None) for parameter, zeros in expected.items()}


def rows_of(name: str, text: str) -> dict[str, tuple[int | None, str | None]]:
    """Zeros and pattern of each parameter in a written file; zeros None where only masks have them."""
    if name == "json":
        return {row["parameter"]: (row["zeros"], row["pattern"]) for row in json.loads(text)["layers"]}
    if name == "csv":
        rows = csv.DictReader(io.StringIO(text))
        return {row["parameter"]: (int(row["zeros"]), {"unstructured": None}[row["pattern"]]) for row in rows}
    if name == "llmcompressor":
        sizes = {"conv.weight": 288, "fc.weight": 128}
        found: dict[str, tuple[int | None, str | None]] = {}
        for stage in read_recipe(text).values():
            for modifier in stage["pruning_modifiers"].values():
                assert modifier.get("mask_structure", "unstructured") == "unstructured"
                for target in modifier["targets"]:
                    parameter = f"{target.removeprefix('re:^').removesuffix('$')}.weight"
                    level = modifier.get("final_sparsity")
                    found[parameter] = (None if level is None else int(level * sizes[parameter]), None)
        return found
    [table] = [
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LAYERS"
    ]
    return {parameter: (row["zeros"], row["pattern"]) for parameter, row in ast.literal_eval(table).items()}


@pytest.mark.parametrize("mode", ["ratio", "mask"])
def test_a_script_of_a_real_plan_reaches_its_counts(
    planned: Path, tmp_path: Path, mode: Mode, needed: Callable[[str], ModuleType]
) -> None:
    model = source_model(needed("torch"), planned)
    given = (planned / "plan.json", planned / "model.onnx", planned / "torch.json", "torch", tmp_path)
    hand_over(*given, mode=mode)
    script = imported(tmp_path / "prune_torch.py")
    script.finish(script.prune_model(model))
    assert script.zeros_of(model) == zeros_planned(planned, "torch")
    assert_as_pruned(planned, model)  # by magnitude, so that a ratio finds the same


def test_a_script_of_a_plan_with_an_update_makes_the_model_that_was_measured(
    tmp_path: Path, needed: Callable[[str], ModuleType]
) -> None:
    torch = needed("torch")
    folder = planned_in(tmp_path, "reconstruct")
    given = (folder / "plan.json", folder / "model.onnx", folder / "torch.json", "torch", folder / "out")
    assert "weights.safetensors" in {path.name for path in hand_over(*given, mode="mask").paths}
    script = imported(folder / "out/prune_torch.py")
    assert_as_pruned(folder, script.finish(script.prune_model(source_model(torch, folder))))


def source_model(torch: Any, folder: Path) -> Any:
    """The dense model of a plan in PyTorch."""
    model = torch.nn.Module()
    model.conv, model.fc = torch.nn.Conv2d(4, 8, 3, bias=False), torch.nn.Linear(8, 16, bias=False)
    with np.load(folder / "torch.npz") as values:
        model.load_state_dict({name: torch.from_numpy(value) for name, value in values.items()})
    return model


def assert_as_pruned(folder: Path, model: Any) -> None:
    """The model's weights are those of `pruned.onnx`, bit for bit."""
    stored = onnx.load(folder / "pruned.onnx").graph.initializer
    pruned = {each.name: onnx.numpy_helper.to_array(each) for each in stored}
    for tensor, weight in (("onnx::1", model.conv.weight), ("onnx::2", model.fc.weight)):
        assert np.array_equal(weight.detach().numpy(), pruned[tensor])
