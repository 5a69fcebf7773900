"""Numbers as people read them, and names that cannot do harm."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, Group

from onnxsens.report.tables import LEFT, lines, table
from onnxsens.report.text import (
    MAX_MESSAGE,
    MAX_NAME,
    count,
    duration,
    inert,
    message,
    percent,
    quality,
    rounded,
    size,
)


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


@given(st.text(), st.text())
def test_a_message_stays_on_one_line_and_keeps_what_to_do(name: str, more: str) -> None:
    shown = message(f"weight '{name * 300}' is not known; {more}")
    assert len(shown) <= MAX_MESSAGE and not set(shown) & set("\x00\x1b\x7f\x9b\r\n\t\u202e\u2028\u2029\u200b")
    if "'" not in name and more.isprintable() and len(more) < 100:
        assert shown.endswith(f"; {more}") or len(shown) == MAX_MESSAGE


def test_a_name_of_five_megabytes_is_shown_as_quickly_as_any() -> None:
    assert inert("w\x1b" * 2_500_000) == ("w\\x1b" * 50)[: MAX_NAME - 3] + "..."
    assert message(f"'{'w' * 5_000_000}' is not known; see inspect").endswith("...' is not known; see inspect")


@pytest.mark.parametrize(
    "invisible", ["\u200b", "\u200d", "\u2066", "\ufeff", "\u3164", "\u2800", "\xad", "\U000e0041"]
)
def test_two_names_do_not_look_alike(invisible: str) -> None:
    assert inert(f"we{invisible}ight") != "weight" and invisible not in inert(f"we{invisible}ight")


def test_tables_control_nothing_whatever_their_cells_are() -> None:
    text = io.StringIO()
    hostile = "a\x1b[2Jb\x07\x9b31m[red]c[/red][/x]\u202e"
    shown = Group(table(hostile, [(hostile, LEFT)], [[hostile], ["two\nlines"]]), lines(hostile, "last"))
    Console(file=text, width=200).print(shown)
    assert not set(text.getvalue()) & set("\x1b\x07\x9b\u202e")
    assert text.getvalue().count("[red]c[/red][/x]") == 4 and "two\nlines" in text.getvalue().replace(" ", "")
