"""JSON that two readers may understand differently is refused, by one reader for all files."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from damaging import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxsens.strict_json import StrictJSONError, read_json, read_json_file, read_json_object, write_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Half a surrogate pair is no character of a file.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)

REFUSED: dict[str, tuple[bytes | str, str]] = {
    "nothing": (b"", "Expecting value"),
    "cut off": (b'{"a": [1, 2', "Expecting ',' delimiter"),
    "something behind it": (b"{} {}", "Extra data"),
    "a name twice": (b'{"a": 1, "b": {"c": 1, "c": 1}}', "it has 'c' twice in one object"),
    "a long name twice": (b'{"%b": 1, "%b": 2}' % (b"n" * 999, b"n" * 999), f"it has '{'n' * 80}' twice"),
    "a name twice by an escape": (rb'{"a": 1, "\u0061": 2}', "it has 'a' twice"),
    "NaN": (b'{"a": NaN}', "it has NaN, which is no JSON"),
    "infinity": (b"[-Infinity]", "it has -Infinity, which is no JSON"),
    "a number out of range": (b"[1e999]", "the number 1e999, which is out of range"),
    "a whole number of 5000 digits": (b"9" * 5000, "a number of 5000 digits"),
    "a lone surrogate": (rb'{"a": "\udc80"}', "half of a surrogate pair"),
    "a lone surrogate in a name": (rb'[{"\ud83d": 1}]', "half of a surrogate pair"),
    "a lone surrogate in a text": ('"\ud83d"', "half of a surrogate pair"),
    "101 deep": (b"[" * 101 + b"]" * 101, "nested more than 100 deep"),
    "objects 101 deep": (b'{"a":' * 101 + b"1" + b"}" * 101, "nested more than 100 deep"),
    "no end of depth": (b"[" * 10**6, "nested more than 100 deep"),
    "not UTF-8": (b'"\xff"', "byte 1 is not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "byte 0 is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "BOM"),
    "control characters in a text": (b'"a\nb"', "Invalid control character"),
    "single quotes": (b"{'a': 1}", "Expecting property name"),
    "a comma too many": (b"[1,]", "line 1 column"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_means_two_things_or_nothing_is_refused_on_one_line(case: str) -> None:
    content, fragment = REFUSED[case]
    with pytest.raises(StrictJSONError) as caught:
        read_json(content)
    assert fragment in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_what_is_within_the_limits_is_read() -> None:
    assert read_json(b"[" * 100 + b"]" * 100) is not None
    assert read_json(rb'"\ud83d\ude00"') == "😀"
    assert read_json(b'{"a": 1, "b": [{"a": 1}, {"a": 1.5e300}]}') == {"a": 1, "b": [{"a": 1}, {"a": 1.5e300}]}
    assert read_json(b"12345678901234567890123456789012") == 12345678901234567890123456789012


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_back_as_it_was(value: Any) -> None:
    text = write_json(value)
    assert read_json(text) == read_json(text.encode()) == value
    assert write_json(read_json(text)) == text


def test_the_same_content_is_the_same_text_whatever_its_order() -> None:
    assert write_json({"b": 1, "a": {"d": 2, "c": 3}}) == write_json({"a": {"c": 3, "d": 2}, "b": 1})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": -float("inf")}]])
def test_numbers_that_json_does_not_have_are_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(value)


def test_a_file_name_that_is_no_text_can_be_written_and_read() -> None:
    """Python has lone surrogates for bytes of file names that are not UTF-8."""
    text = write_json({"file": b"m\xff.onnx".decode("utf-8", "surrogateescape")})
    assert read_json(text.encode()) == {"file": "m\\udcff.onnx"}


def test_an_object_is_asked_for_where_a_file_has_to_hold_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(StrictJSONError, match="it is no object"):
        read_json_object("[1]")
    with pytest.raises(StrictJSONError, match="it is no object"):
        read_json_file(tmp_path / "a.json")


def test_a_file_that_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("wb") as file:
        file.write(b"{}")
        file.truncate(1 << 40)  # a hole
    with pytest.raises(StrictJSONError, match="it is larger than 64 MiB"):
        read_json_file(path)
    with pytest.raises(StrictJSONError, match="it has 11 bytes, and at most 10 are read"):
        read_json(b'{"a": 1234}', most_bytes=10)


def test_many_names_of_which_one_is_there_twice_take_no_square_of_time() -> None:
    names = ",".join(f'"n{number}":0' for number in range(200_000))
    started = time.process_time()
    with pytest.raises(StrictJSONError, match="'n0' twice"):
        read_json("{" + names + ',"n0":1}')
    assert time.process_time() - started < 20  # it takes a fifth of a second; a square of it hours


def test_damage_is_an_error_or_another_document_never_anything_else() -> None:
    content = write_json(
        {"name": "wé\u2028", "shape": [3, 4, 1e-5], "in": {"a": None, "b": [True, "x\\u0041"]}}
    ).encode()
    read = refused = 0
    for case in cases(content, seed=1, number=3000):
        try:
            value = read_json(case)
        except StrictJSONError as error:
            assert str(error).isprintable()
            refused += 1
        else:
            assert value == json.loads(case)
            read += 1
    assert read > 100
    assert refused > 1000


def test_a_text_of_more_values_than_are_ever_meant_is_refused_before_it_is_read() -> None:
    with pytest.raises(StrictJSONError, match="at most"):
        read_json("[" + "[]," * 5_000_000 + "[]]")
