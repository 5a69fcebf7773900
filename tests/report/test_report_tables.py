"""Tables: they fit, nothing goes without being said so, and names stay different."""

import io
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from onnxsens.report.sparklines import ASCII, BLOCKS, FACTORS, LEVELS, Scale, drop_at
from onnxsens.report.tables import CURVE, FOLDED, FOLDED_RIGHT, LEFT, NAME, RIGHT, cut, shortened, table

names = st.lists(st.text("abcdefg./_0123456789", min_size=1, max_size=60), min_size=1, max_size=8, unique=True)


def shown(made: object, width: int | None, *, terminal: bool = True, encoding: str = "utf-8") -> list[str]:
    """A table as lines; without a width there is no edge."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    console = Console(file=stream, force_terminal=terminal, width=width or 100_000, color_system=None, _environ={})
    console.print(made)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


COLUMNS = [
    ("weight", NAME),
    ("operator", LEFT, 2),
    ("shape", LEFT, 3),
    ("sparsity", RIGHT),
    ("drop", FOLDED_RIGHT, 1),
    ("curve", CURVE),
    ("", FOLDED),
]


def rows_of(weights: list[str]) -> list[list[str]]:
    return [
        [name, "ConvTranspose", "64x32x3x3", f"{at}0.5 %", "0.0028 (-0.0015 to 0.0072)", BLOCKS, f"remark on {at}"]
        for at, name in enumerate(weights)
    ]


@settings(deadline=None)
@given(names, st.integers(30, 200))
def test_no_line_is_wider_than_the_terminal_and_what_goes_is_named(weights: list[str], width: int) -> None:
    lines = shown(table("the plan", COLUMNS, rows_of(weights), "curve: what it shows"), width)
    assert max(map(cell_len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    header = next(line for line in lines if line.startswith("weight"))
    for name, *_ in COLUMNS:
        assert (name or "remark on 0") in (header if name else text) or f" {name or 'remarks'}" in text.split(
            "no room"
        )[1]
    assert ("curve: what it shows" in text) == ("curve" in header)
    if "sparsity" in header:
        assert all(f"{at}0.5 %" in text for at in range(len(weights)))


@settings(deadline=None)
@given(names)
def test_without_a_terminal_every_cell_is_whole_on_one_line(weights: list[str]) -> None:
    rows = rows_of(weights)
    lines = shown(table("the plan", COLUMNS, rows), None, terminal=False)
    assert len(lines) == 2 + len(rows)
    for line, row in zip(lines[2:], rows, strict=True):
        assert all(cell in line for cell in row)


def test_without_a_terminal_and_with_columns_cells_fold_and_none_is_shortened() -> None:
    rows = rows_of(["encoder.layers.10.attention.self.query.weight"])
    text = "".join("".join(shown(table("t", COLUMNS, rows), 80, terminal=False)).split())
    assert (
        "\u2026" not in text
        and "ConvTranspose" in text
        and "no room for: curve" in " ".join(shown(table("t", COLUMNS, rows), 80, terminal=False))
    )


@given(names, st.integers(6, 60))
def test_shortened_names_are_different_where_names_are(weights: list[str], width: int) -> None:
    short = shortened(weights, width, "...")
    assert len(set(short)) == len(weights)
    assert short == weights or max(map(len, short)) <= width


def test_a_name_loses_its_middle_and_keeps_both_ends() -> None:
    assert cut("encoder.layers.0.attention.weight", 16, 7, "...") == "encoder...weight"
    assert cut("short", 16, 7, "...") == "short"
    assert shortened(["a" * 30 + "1" + "b" * 30, "a" * 30 + "2" + "b" * 30], 20, "...")[0] == "a" * 30 + "1" + "b" * 30


@pytest.mark.parametrize("name", ["\u91cd\u307f" * 30, "w\u00e9" * 40])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_wide_and_foreign_letters_are_counted_as_they_are_shown(name: str, encoding: str) -> None:
    for width in (40, 80):
        lines = shown(table("t", COLUMNS, rows_of([name])), width, encoding=encoding)
        assert max(map(cell_len, lines)) <= width
        assert encoding == "utf-8" or all(line.isascii() for line in lines)


def test_curves_are_ascii_where_the_stream_is() -> None:
    made = table("t", COLUMNS, rows_of(["w"]), f"{BLOCKS[-1]} from 3")
    text = "\n".join(shown(made, 160, encoding="ascii"))
    assert ASCII in text and "# from 3" in text and "\\u2" not in text
    assert BLOCKS in "\n".join(shown(made, 160))


def test_a_column_without_name_and_content_is_not_drawn() -> None:
    lines = shown(table("t", [("a", LEFT), ("", FOLDED)], [["x", ""]]), 40)
    assert lines == ["t", "a", "x"]


class TestScale:
    def test_signs_are_steps_of_one_factor(self) -> None:
        scale = Scale(top=8.0, factor=2.0)
        # 8 / 2**k is the lower bound of the sign k before the last.
        for drop, sign in [(100, 7), (8, 7), (7.99, 6), (4, 6), (3.99, 5), (0.125, 1), (0.1249, 0), (0, 0), (-1, 0)]:
            assert scale.sign(drop) == sign, drop

    def test_the_line_follows_measured_points_and_ends_where_they_do(self) -> None:
        scale = Scale(top=8.0, factor=2.0)
        # At 10 %: 0.8, on the line from 0 to 4 at 50 %; at 20 %: 1.6; ... 60 % and 70 %: 5 and 6; 80 %: beyond.
        assert scale.line([(0.5, 4.0), (0.7, 6.0)]) == "".join(BLOCKS[at] for at in (3, 4, 5, 5, 6, 6, 6))

    def test_a_point_that_failed_is_blank_and_bends_nothing(self) -> None:
        assert drop_at([(0.2, 2.0), (0.4, math.nan), (0.6, 6.0)], 0.3) == pytest.approx(3.0)
        assert math.isnan(drop_at([(0.2, 2.0), (0.4, math.nan), (0.6, 6.0)], 0.4))

    def test_the_factor_is_the_least_that_reaches_all(self) -> None:
        assert Scale.of([[(0.5, 1.0), (0.9, 1.1)]]) == Scale(1.1, 1.5)
        assert Scale.of([[(0.1, 1e-9), (0.9, 5.0)]]) == Scale(5.0, FACTORS[-1])
        assert Scale.of([[(0.5, 0.0)], []]) is None

    @given(
        st.lists(st.tuples(st.sampled_from(LEVELS), st.floats(1e-6, 1e6)), min_size=1, unique_by=lambda each: each[0])
    )
    def test_a_larger_drop_never_has_a_lower_sign(self, points: list[tuple[float, float]]) -> None:
        scale = Scale.of([sorted(points)])
        assert scale is not None
        signs = [scale.sign(drop) for drop in sorted(drop for _, drop in points)]
        assert signs == sorted(signs) and signs[-1] == len(BLOCKS) - 1

    def test_the_legend_says_what_the_signs_are(self) -> None:
        legend = Scale(top=8.0, factor=2.0).legend("kl")
        assert "drop in kl at 10 %, 20 %, ... 90 % sparsity" in legend
        assert f"{BLOCKS[7]} from 8" in legend and "2 times less" in legend and f"{BLOCKS[1]} from 0.12" in legend
