"""Documents are read strictly: what another reader may understand differently is no document of ours."""

from pathlib import Path

import pytest
from damaging import cases

from onnxsens.errors import PlanError
from onnxsens.plan.front import SCHEMA, Front, FrontPoint, read_front, write_front
from onnxsens.plan.records import MAX_BYTES

FRONT = Front(
    schema=SCHEMA,
    metric="kl",
    points=[
        FrontPoint(picker="lamp", sparsity=0.5, samples=10, drops={"kl": 0.25}, on_front=True, levels={"fc": 0.5}),
        FrontPoint(picker="é", sparsity=1, samples=0, drops={"kl": -1e-300}, on_front=False, levels={}),
    ],
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_front(FRONT, tmp_path / "pareto.json")
    return tmp_path / "pareto.json"


def test_what_was_written_is_read(path: Path) -> None:
    assert read_front(path) == FRONT


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        (b'"metric"', b'"metric": "top1", "metric"', "it has 'metric' twice in one object"),
        (b'"fc": 0.5', b'"fc": 0.5, "fc": 0.9', "it has 'fc' twice in one object"),
        (b'"fc": 0.5', b'"fc": NaN', "it has NaN, which is no JSON"),
        (b'"fc": 0.5', b'"fc": 1e999', "the number 1e999, which is out of range"),
        (b'"fc": 0.5', b'"fc": "0.5"', "Expected `float`, got `str`"),
        (b'"samples": 10', b'"samples": 10.5', "Expected `int`, got `float`"),
        (b'"samples": 10', b'"samples": true', "Expected `int`, got `bool`"),
        (b'"samples": 10', b'"samples": ' + b"9" * 5000, "a number of 5000 digits"),
        (b'"samples": 10', b'"samples": -1', "Expected `int` >= 0"),
        (b'"on_front": true', b'"on_front": 1', "Expected `bool`, got `int`"),
        (b'"kl"', rb'"\udcff"', "half of a surrogate pair"),
        (b'"kl"', b'"\xff"', "is not UTF-8"),
        (b'"picker": "lamp"', b'"picker": ' + b"[" * 101 + b"]" * 101, "nested more than 100 deep"),
        (b'"picker"', rb'"new\nline\u202e": 1, "picker"', "unknown field `new?line?`"),
        (SCHEMA.encode(), b"onnxsens.pareto/2", "has the schema 'onnxsens.pareto/2', and this onnxsens reads"),
        (SCHEMA.encode(), rb"\u001b[31m" + b"x" * 999, r"has the schema '\x1b[31mx"),
    ],
)
def test_a_document_that_two_readers_may_take_for_two_is_refused(
    path: Path, old: bytes, new: bytes, fragment: str
) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    with pytest.raises(PlanError) as caught:
        read_front(path)
    assert fragment in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 400


def test_a_file_that_is_too_large_is_not_read(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(PlanError, match=f"it is larger than {MAX_BYTES >> 20} MiB; make it again"):
        read_front(path)


def test_damage_is_refused_on_one_line_or_is_another_document(path: Path) -> None:
    content = path.read_bytes()
    refused = 0
    for case in cases(content, seed=3, number=1000):
        path.write_bytes(case)
        try:
            read = read_front(path)
        except PlanError as error:
            assert str(error).isprintable()
            refused += 1
        else:
            write_front(read, path)
            assert read_front(path) == read
    assert refused > 500
