"""The plan file: strict in, strict out, the same bytes."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from commands import document
from networks import convolutional, samples_file, saved

from onnxsens.errors import PlanError
from onnxsens.plan.planfile import json_schema, read_plan, write_plan

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real plan."""
    folder = tmp_path_factory.mktemp("plan")
    model = saved(convolutional(), folder / "m.onnx")
    data = samples_file(folder / "d.npz", (2, 8, 8), 5)
    document("auto", model, "-d", data, "--sparsity", "0.3", "-o", folder / "run")
    return folder / "run" / "plan.json"


def test_reading_and_writing_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    write_plan(read_plan(made), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == made.read_bytes()


def test_keys_are_sorted_and_there_is_no_nan_and_a_newline_at_the_end(made: Path) -> None:
    text = made.read_text()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the plan"))
    assert text == json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def test_nothing_in_it_names_this_machine_or_moment(made: Path, tmp_path: Path) -> None:
    text = made.read_text()
    assert str(made.parent) not in text
    assert "seconds" not in text and "/tmp" not in text


def test_it_fits_its_json_schema_and_the_schema_is_strict(made: Path) -> None:
    plan = json.loads(made.read_text())
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(plan, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plan | {"surprise": 1}, schema)


EDITS: list[tuple[str, Edit, str]] = [
    ("another schema", lambda plan: plan.update(schema="onnxsens.plan/2"), "reads 'onnxsens.plan/1'"),
    ("no schema", lambda plan: plan.pop("schema"), "has the schema 'None'"),
    ("an unknown field", lambda plan: plan.update(surprise=1), "unknown field `surprise`"),
    ("a missing field", lambda plan: plan.pop("totals"), "missing required field `totals`"),
    ("a wrong type", lambda plan: plan.update(technique=3), "Expected `str`"),
    ("a level above 1", lambda plan: plan["weights"][0].update(level=1.5), "<= 1"),
    ("a weight twice", lambda plan: plan["weights"].append(plan["weights"][0]), "plans a weight twice"),
    (
        "more zeros than elements",
        lambda plan: plan["weights"][0].update(zeros=10**6),
        "more elements than a weight has",
    ),
    ("zeros that do not add up", lambda plan: plan["totals"].update(zeros=1), "zeros do not add up"),
    ("parameters that do not add up", lambda plan: plan["model"].update(parameters=7), "parameters do not add up"),
    ("a broken digest", lambda plan: plan["model"].update(sha256="abc"), "matching regex"),
]


@pytest.mark.parametrize(("edit", "fragment"), [case[1:] for case in EDITS], ids=[case[0] for case in EDITS])
def test_what_the_schema_does_not_know_is_refused(made: Path, tmp_path: Path, edit: Edit, fragment: str) -> None:
    plan = copy.deepcopy(json.loads(made.read_text()))
    edit(plan)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b'{"schema": NaN}', b"[" * 100_000, b'"text"'])
def test_what_is_no_plan_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert "\n" not in str(caught.value)
