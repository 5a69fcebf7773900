"""Numbers as people read them, and names that cannot do harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.report.text import MAX_NAME, count, duration, inert, percent, quality, rounded, size


@given(st.text())
def test_a_name_stays_on_one_line_and_controls_nothing(name: str) -> None:
    shown = inert(name)
    assert len(shown) <= MAX_NAME
    assert shown.isprintable() or all(
        character == "\xa0" or character.isspace() for character in shown if not character.isprintable()
    )
    assert not set(shown) & set("\x00\x1b\r\n\t\u202e\u2028\u2029")


def test_a_plain_name_is_left_as_it_is() -> None:
    assert inert("onnx::Conv_110/größe") == "onnx::Conv_110/größe"
    assert inert("a\nb\x1b[2J") == "a\\nb\\x1b[2J"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (percent(0.5078), "50.8 %"),
        (count(103984), "103,984"),
        (rounded(847), "847"),
        (rounded(999.6), "1 k"),
        (rounded(12_345), "12.3 k"),
        (rounded(999_499), "999 k"),
        (rounded(4_718_592), "4.72 M"),
        (rounded(3e13), "30 T"),
        (quality(0.90941), "0.9094"),
        (quality(None), "-"),
        (size(999), "999 B"),
        (size(386_425), "386.4 kB"),
        (size(3_000_000_000), "3.00 GB"),
        (duration(0.2), "under a second"),
        (duration(99), "99 s"),
        (duration(150), "2 min"),
        (duration(9000), "2.5 h"),
    ],
)
def test_numbers_are_as_long_as_needed(text: str, shown: str) -> None:
    assert text == shown
