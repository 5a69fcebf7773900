"""The laws that every export format keeps, as tests for whoever writes one:

    class TestMine(ExporterContract):
        @pytest.fixture
        def exporter(self) -> Exporter:
            return MINE

        @pytest.fixture
        def export(self) -> Export:
            ...  # in a mode that it has, with layers that it takes, two at least

Layers are named as the format wants them, and none is named within the name of another. YAML is read by a function, the
fixture `read_yaml`, where the format writes any. Run by pytest, which this module does not import.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from onnxsens.errors import UsageError
from onnxsens.frameworks.exporters.exporter import Exporter
from onnxsens.frameworks.exporters.layer import Export, Layer, Mode

HOSTILE = (
    "a\"b'c",
    '"""',
    "'''",
    "a\nimport os  # b",
    "back\\slash\\",
    "a\\N{DIGIT ONE}\\x",
    "# no comment",
    "{{ braces }} {0} %s ${x}",
    "naïve ☂ 𝒳 \u2028 \u202e \x85 \x0c \x00",
    "=1+1",
    "-*- coding: utf-7 -*-",
    "- item: [x, {y: z}] &a *a !!b",
    "lone \ud800 surrogate",
)
MODES: tuple[Mode, ...] = ("ratio", "mask")


class ExporterContract:
    """Subclass it with fixtures `exporter` and `export`."""

    def test_it_has_a_name_a_title_and_modes(self, exporter: Exporter) -> None:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", exporter.name)
        assert exporter.title and not exporter.title.endswith(".") and "\n" not in exporter.title
        assert exporter.modes and set(exporter.modes) <= set(MODES) and len(set(exporter.modes)) == len(exporter.modes)
        assert exporter.ran_with != ""

    def test_the_same_export_gives_the_same_text_again(self, exporter: Exporter, export: Export) -> None:
        first = dict(exporter.files(export))
        assert first == dict(exporter.files(export)) == dict(exporter.files(replace(export)))

    def test_files_are_plain_names_and_readable_text(self, exporter: Exporter, export: Export) -> None:
        files = exporter.files(export)
        assert files or exporter.modes == ("mask",)  # else the masks beside are all there is
        for name, text in files.items():
            assert PurePosixPath(name).name == name and re.fullmatch(r"[a-z0-9_]+\.[a-z]+", name)
            assert name not in {export.masks_file, export.weights_file, "plan.json", "map.json"}
            assert text.encode() and text.endswith("\n") and "\r" not in text and "\t" not in text

    def test_a_file_says_its_mode_its_origin_and_what_it_was_run_with(self, exporter: Exporter, export: Export) -> None:
        for text in exporter.files(export).values():
            assert export.mode in text and export.version in text
            assert export.plan.model.sha256[:12] in text
            assert (exporter.ran_with or "not run") in text

    def test_updated_values_are_in_the_first_lines(self, exporter: Exporter, export: Export) -> None:
        """Zeros that an update was fitted to wreck a model without it."""
        if export.mode == "ratio":
            return
        for name, text in exporter.files(replace(export, weights_file="values.safetensors")).items():
            lines = text.splitlines()[:6]
            if lines[0].startswith("#"):
                assert any("'values.safetensors'" in line for line in lines), name

    def test_no_pattern_is_an_unstructured_one(self, exporter: Exporter, export: Export) -> None:
        """Every format that has masks takes it; a ratio may be refused, with the pattern's name."""
        layers = tuple(replace(layer, pattern=None) for layer in export.layers)
        try:
            files = exporter.files(replace(export, layers=layers))
        except UsageError as error:
            assert export.mode == "ratio" and "its pattern is unstructured" in str(error)
            return
        for name, text in files.items():
            assert "Left out" not in text and "'unstructured'" not in text, name
            assert all(re.findall(r"\w+", layer.parameter)[0] in text for layer in layers), name

    def test_only_layers_of_the_export_are_named(self, exporter: Exporter, export: Export) -> None:
        for missing in export.layers:
            others = tuple(layer for layer in export.layers if layer is not missing)
            for text in exporter.files(replace(export, layers=others)).values():
                assert missing.parameter not in text
                assert missing.parameter.rpartition(".")[0] not in text or "." not in missing.parameter

    def test_what_is_left_out_is_named_with_its_reason(self, exporter: Exporter, export: Export) -> None:
        left = replace(export, left_out=(("onnx::left", "no parameter has its bytes"),))
        for text in exporter.files(left).values():
            assert "onnx::left" in text and "no parameter has its bytes" in text

    def test_a_mode_that_it_has_not_is_refused(self, exporter: Exporter, export: Export) -> None:
        for mode in set(MODES) - set(exporter.modes):
            assert f"'{mode}'" in refusal(exporter, replace(export, mode=mode))

    def test_nothing_to_express_is_refused(self, exporter: Exporter, export: Export) -> None:
        assert exporter.name in refusal(exporter, replace(export, layers=()))
        none = tuple(replace(layer, zeros=0, sparsity=0.0) for layer in export.layers)
        assert "no zeros" in refusal(exporter, replace(export, layers=none))

    def test_files_are_well_formed_whatever_names_are(
        self, exporter: Exporter, export: Export, read_yaml: Callable[[str], Any]
    ) -> None:
        parsed(exporter.files(export), read_yaml)
        for hostile in HOSTILE:
            layers = tuple(renamed(layer, hostile, export) for layer in export.layers)
            model = replace_file(export, hostile)
            bad = replace(model, layers=layers, left_out=((hostile, hostile),), weights_file=export.weights_file)
            files = exporter.files(bad)
            assert all(text.encode() for text in files.values())
            for tree, content in parsed(files, read_yaml):
                if tree is not None:
                    assert code_of(tree) == code_of(ast.parse(first_script(exporter, export)))
                if content is not None and files:
                    assert hostile_is_whole(content, hostile)


def refusal(exporter: Exporter, export: Export) -> str:
    """The message with which an export is refused."""
    try:
        exporter.files(export)
    except UsageError as error:
        message = str(error)
        assert "\n" not in message and "; " in message
        return message
    raise AssertionError(f"{exporter.name} did not refuse")


def renamed(layer: Layer, hostile: str, export: Export) -> Layer:
    """The layer with a name that is hostile, and still one of its kind: what comes after the last separator stays."""
    kind = re.search(r"[./][^./]*$", layer.parameter)
    number = export.layers.index(layer)
    end = kind.group() if kind else ""
    return replace(layer, parameter=f"{number}{hostile}{end}", aliases=(hostile,), tensors=(hostile, "b"))


def replace_file(export: Export, hostile: str) -> Export:
    """The export of a plan whose model file has this name."""
    import msgspec

    model = msgspec.structs.replace(export.plan.model, file=hostile)
    return replace(export, plan=msgspec.structs.replace(export.plan, model=model))


def parsed(files: Mapping[str, str], read_yaml: Callable[[str], Any]) -> list[tuple[ast.Module | None, Any]]:
    """Every file as a syntax tree, or as what it holds."""
    found: list[tuple[ast.Module | None, Any]] = []
    for name, text in files.items():
        if name.endswith(".py"):
            compile(text.encode(), name, "exec")
            tree = ast.parse(text.encode())
            assert ast.get_docstring(tree)
            assert not {"onnxsens"} & imports(tree)
            found.append((tree, None))
        elif name.endswith(".json"):
            found.append((None, json.loads(text)))
        elif name.endswith((".yaml", ".yml")):
            found.append((None, read_yaml(text)))
    return found


def imports(tree: ast.Module) -> set[str]:
    """The packages that a script imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def first_script(exporter: Exporter, export: Export) -> str:
    """The text of the first Python file."""
    return next(text for name, text in exporter.files(export).items() if name.endswith(".py"))


def code_of(tree: ast.Module) -> list[str]:
    """Everything but the tables: what must not depend on any name."""
    return [ast.dump(node) for node in tree.body if not isinstance(node, ast.Assign)]


def hostile_is_whole(content: Any, hostile: str) -> bool:
    """Whether a text within has the name unchanged, or as a regular expression."""
    if isinstance(content, dict):
        return any(hostile_is_whole(value, hostile) for pair in content.items() for value in pair)
    if isinstance(content, list):
        return any(hostile_is_whole(value, hostile) for value in content)
    return isinstance(content, str) and (hostile in content or re.escape(hostile) in content)
