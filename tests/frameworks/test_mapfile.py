"""`map.json`: strict in and out, and what its schema cannot say is refused too."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import ROOT

from onnxsens.errors import PlanError
from onnxsens.frameworks.mapfile import Map, encode, json_schema, read_map, refuse_other_tensors, write_map
from onnxsens.handover import map_model

MODEL = ROOT / "models" / "jv_gru.onnx"


@pytest.fixture(scope="module")
def made() -> Map:
    return map_model(MODEL)


def test_it_comes_back_as_it_was_and_keeps_its_schema(made: Map, tmp_path: Path) -> None:
    write_map(made, tmp_path / "map.json")
    assert read_map(tmp_path / "map.json") == made
    assert (tmp_path / "map.json").read_bytes() == encode(made)
    schema = json.loads((ROOT / "docs" / "map.schema.json").read_text())
    assert schema == json_schema()
    jsonschema.validate(json.loads(encode(made)), schema)


MORE = ("twice", "rank", "flip", "magnitude", "factors", "offsets", "dtype", "huge")


def broken(document: dict[str, Any], how: str) -> None:  # noqa: PLR0912 -- a case each
    tensor = next(one for one in document["tensors"] if one["pieces"])
    piece = tensor["pieces"][0]
    match how:
        case "field":
            document["more"] = 1
        case "schema":
            document["schema"] = "onnxsens.map/9"
        case "outside":
            piece["stop"][0] += 1
        case "gap":
            piece["to_stop"][0] -= 1
        case "order":
            piece["order"] = [0] * len(piece["order"])
        case "unknown":
            piece["parameter"] = "nobody"
        case "negative":
            piece["start"][0] = -1
        case "twice":
            document["tensors"].append(tensor)
        case "rank":
            piece["to_start"].append(0)
        case "flip":
            piece["flip"] = [0, 0]
        case "magnitude":
            tensor["magnitude"] = "nobody"
        case "factors":
            tensor["scale_axis"], tensor["scale"] = 9, [1.0]
        case "offsets":
            tensor["offsets"] = [0.0] * 3
        case "dtype":
            document["parameters"][piece["parameter"]]["dtype"] = "nonsense"
        case "huge":
            document["parameters"][piece["parameter"]]["shape"] = [2**40, 2**40]


@pytest.mark.parametrize("how", ["field", "schema", "outside", "gap", "order", "unknown", "negative", *MORE])
def test_nonsense_is_refused_on_one_line(made: Map, tmp_path: Path, how: str) -> None:
    document = json.loads(encode(made))
    broken(document, how)
    path = tmp_path / "map.json"
    path.write_text(json.dumps(document))
    text = "has the schema" if how == "schema" else "not a valid map"
    with pytest.raises(PlanError, match=text) as caught:
        read_map(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.json"
    path.write_bytes(content)
    with pytest.raises(PlanError, match="not a valid map"):
        read_map(path)


def test_a_map_of_other_tensors_is_refused_before_anything_is_made_of_it(made: Map) -> None:
    shapes = {tensor.name: tuple(tensor.shape) for tensor in made.tensors}
    refuse_other_tensors(made, shapes)
    name = next(tensor.name for tensor in made.tensors if tensor.pieces)
    for other in ({**shapes, name: (1, 2)}, {key: shape for key, shape in shapes.items() if key != name}):
        with pytest.raises(PlanError, match="is not in the model like that"):
            refuse_other_tensors(made, other)
