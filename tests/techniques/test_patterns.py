"""Patterns, against loops over their groups, on weights as operators store them."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxsens.errors import UsageError
from onnxsens.model.layout import Arranged, Transpose
from onnxsens.techniques import make_technique
from onnxsens.techniques.patterns import make_pattern
from onnxsens.techniques.patterns.block import Block
from onnxsens.techniques.patterns.channel import Channel
from onnxsens.techniques.patterns.n_of_m import NOfM
from onnxsens.techniques.patterns.row import Row

unhurried = settings(deadline=None)  # the machine may be busy
LEVELS = st.floats(0, 1)
# Few distinct values, so that ties are the rule.
FEW = st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e-40]).map(np.float32)
Group = list[tuple[int, int]]  # of places in a matrix


@dataclass(frozen=True)
class Case:
    """A weight as it is stored, and its input channels at one kernel position."""

    layout: Arranged
    channels: int

    @property
    def shape(self) -> tuple[int, int]:
        return (self.layout.rows, prod(self.layout.shape) // self.layout.rows)


CASES = {
    "Gemm": Case(Arranged((8, 16), (), 8), 16),
    "MatMul": Case(Arranged((16, 8), (Transpose((1, 0)),), 8), 16),
    "Conv": Case(Arranged((8, 16, 3, 3), (Transpose((0, 2, 3, 1)),), 8), 16),
    "Conv of one position": Case(Arranged((8, 16, 1, 1), (Transpose((0, 2, 3, 1)),), 8), 16),
    "grouped Conv": Case(Arranged((8, 8, 3, 2), (Transpose((0, 2, 3, 1)),), 8), 8),
    "depthwise Conv": Case(Arranged((8, 1, 3, 3), (Transpose((0, 2, 3, 1)),), 8), 1),
    "Conv of an image": Case(Arranged((8, 3, 3, 3), (Transpose((0, 2, 3, 1)),), 8), 3),
    "ConvTranspose": Case(Arranged((16, 8, 2, 2), (Transpose((1, 2, 3, 0)),), 8), 16),
}
SPECS = ["2:4", "1:4", "3:4", "4:8", "1:2", "5:16", "row", "channel", "block4x1", "block1x4", "block2x8", "block8x1"]
TAKEN = [
    (spec, kind)
    for spec in SPECS
    for kind, case in CASES.items()
    if make_pattern(spec).refuses(case.shape, case.channels) is None
]


@pytest.fixture(params=TAKEN, ids=" ".join)
def _taken(request: pytest.FixtureRequest) -> tuple[str, Case]:
    return request.param[0], CASES[request.param[1]]


def stored(case: Case, seed: int, *, ties: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, case.layout.shape) if ties else rng.random(case.layout.shape)
    return values.astype(np.float32)


def by_loops(spec: str, scores: np.ndarray, level: float) -> np.ndarray:
    """The definition of every pattern: units of elements compete within arenas, the lowest sums go first."""
    rows, columns = scores.shape
    kept = np.ones(scores.shape, dtype=bool)
    for arena, share in arenas(spec, rows, columns, level):
        sums = [sum(float(scores[place]) for place in unit) for unit in arena]
        ascending = sorted(range(len(arena)), key=lambda number: (sums[number], number))
        for number in ascending[: round(share * len(arena))]:
            for place in arena[number]:
                kept[place] = False
    return kept


def arenas(spec: str, rows: int, columns: int, level: float) -> Iterator[tuple[list[Group], float]]:
    """Units that compete, and the share of them that goes."""
    if ":" in spec:
        n, m = map(int, spec.split(":"))
        share = 1 - n / m if level >= 1 - n / m else 0
        for row in range(rows):
            for start in range(0, columns, m):
                yield [[(row, start + number)] for number in range(m)], share
    elif spec == "row":
        for row in range(rows):
            yield [[(row, column)] for column in range(columns)], level
    else:
        high, wide = (1, columns) if spec == "channel" else map(int, spec.removeprefix("block").split("x"))
        yield (
            [
                [(top + down, left + right) for down in range(high) for right in range(wide)]
                for top in range(0, rows, high)
                for left in range(0, columns, wide)
            ],
            level,
        )


@pytest.mark.parametrize("ties", [False, True])
def test_a_mask_is_that_of_a_loop_over_groups_on_every_layout(_taken: tuple[str, Case], ties: bool) -> None:
    spec, case = _taken
    scores = case.layout.to_matrix(stored(case, 1, ties=ties))
    ranked = make_pattern(spec).rank(scores)
    for level in (0, 0.1, 0.25, 0.49, 0.5, 0.6875, 0.75, 0.77, 1):
        mask = ranked.mask(level)
        np.testing.assert_array_equal(mask, by_loops(spec, scores, level))
        assert np.count_nonzero(~mask) == make_pattern(spec).zeros(case.shape, level)


@pytest.mark.parametrize("spec", SPECS)
@unhurried
@given(scores=hnp.arrays(np.float32, (8, 16), elements=FEW), level=LEVELS, other=LEVELS)
def test_masks_are_exact_nested_and_never_zero_more_than_they_say(
    spec: str, scores: np.ndarray, level: float, other: float
) -> None:
    pattern = make_pattern(spec)
    ranked = pattern.rank(scores)
    low, high = sorted((level, other))
    milder, bolder = ranked.mask(low), ranked.mask(high)
    np.testing.assert_array_equal(milder, by_loops(spec, scores, low))
    assert not (bolder & ~milder).any()
    assert np.count_nonzero(~milder) == pattern.zeros((8, 16), low)
    if ":" in spec:
        assert pattern.zeros((8, 16), low) <= low * scores.size + 1e-6


@pytest.mark.parametrize("spec", [spec for spec in SPECS if ":" in spec])
@pytest.mark.parametrize("kind", CASES)
def test_n_of_m_holds_in_every_group_of_channels_at_every_kernel_position(spec: str, kind: str) -> None:
    n, m = map(int, spec.split(":"))
    case = CASES[kind]
    if case.channels % m:
        assert make_pattern(spec).refuses(case.shape, case.channels)
        return
    weight = stored(case, 2, ties=False) + 1
    pruned = case.layout.from_matrix(
        make_technique(f"magnitude:{spec}").prepare(case.layout.to_matrix(weight)).at(1 - n / m)
    )
    # Looked at as stored: the axis of channels is the first of a ConvTranspose and a MatMul, else the second.
    channels_last = np.moveaxis(pruned, 0 if kind in {"MatMul", "ConvTranspose"} else 1, -1)
    groups = channels_last.reshape(-1, m)
    assert (np.count_nonzero(groups, axis=1) == n).all()


@pytest.mark.parametrize("spec", ["unstructured", *SPECS])
def test_zeros_are_counted_in_whole_numbers(spec: str) -> None:
    """Points are stored under them."""
    assert {type(make_pattern(spec).zeros((8, 16), level)) for level in (0.0, 0.5, 1.0)} == {int}


class TestRow:
    def test_every_row_loses_its_own_lowest_elements(self) -> None:
        scores = np.array([[5, 6, 7, 8], [1, 4, 2, 3], [0, 0, 0, 0]], np.float32)
        mask = Row().rank(scores).mask(0.5)
        np.testing.assert_array_equal(mask, np.array([[0, 0, 1, 1], [0, 1, 0, 1], [0, 0, 1, 1]], bool))

    def test_a_row_is_rounded_before_rows_are_counted(self) -> None:
        assert Row().zeros((100, 3), 0.1) == 0
        assert Row().zeros((100, 3), 0.2) == 100

    def test_zeros_of_both_signs_are_the_same(self) -> None:
        scores = np.array([[0.0, -0.0, 0.0, -0.0]], np.float32)
        np.testing.assert_array_equal(Row().rank(scores).mask(0.5), [[False, False, True, True]])


class TestNOfM:
    @pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 3), (2, 3), (7, 10), (1, 49), (5, 6)])
    def test_it_has_two_levels(self, n: int, m: int) -> None:
        pattern, shape = NOfM(n, m), (2, 3 * m)
        full, at = 6 * (m - n), 1 - n / m
        assert [pattern.zeros(shape, level) for level in (0, at - 1e-3, at)] == [0, 0, full]
        assert [pattern.zeros(shape, level) for level in (at - 1e-12, (m - n) / m, round(at, 10), 1)] == [full] * 4

    def test_the_lowest_of_every_group_go_the_lower_index_first(self) -> None:
        scores = np.array([[4, 3, 2, 1, 1, 1, 1, 1]], np.float32)
        mask = NOfM(2, 4).rank(scores).mask(0.5)
        np.testing.assert_array_equal(mask, np.array([[1, 1, 0, 0, 0, 0, 1, 1]], bool))

    def test_asked_for_everything_it_gives_what_it_has(self) -> None:
        pruned = make_technique("magnitude:2:4").prepare(np.ones((2, 4), np.float32)).at(1)
        np.testing.assert_array_equal(pruned, [[0, 0, 1, 1]] * 2)


class TestBlock:
    def test_the_block_with_the_lowest_sum_goes(self) -> None:
        # Sums of 2 x 2 blocks: 10, 9 and 11, 9.
        scores = np.array([[1, 2, 9, 0], [3, 4, 0, 0], [0, 0, 3, 3], [0, 11, 3, 0]], np.float32)
        ranked = Block(2, 2).rank(scores)
        np.testing.assert_array_equal(ranked.mask(0.25), np.kron([[1, 0], [1, 1]], np.ones((2, 2))))
        np.testing.assert_array_equal(ranked.mask(0.5), np.kron([[1, 0], [1, 0]], np.ones((2, 2))))
        np.testing.assert_array_equal(ranked.mask(0.75), np.kron([[0, 0], [1, 0]], np.ones((2, 2))))

    def test_sums_that_float32_cannot_hold_stay_the_highest(self) -> None:
        scores = np.array([[1, 1, 3e38, 3e38, 2, 2]], np.float32)
        np.testing.assert_array_equal(Block(1, 2).rank(scores).mask(2 / 3), [[0, 0, 1, 1, 0, 0]])

    def test_blocks_are_rounded_before_elements_are_counted(self) -> None:
        assert Block(4, 1).zeros((4, 3), 0.49) == 4
        assert Block(4, 1).zeros((4, 3), 0.51) == 8


class TestChannel:
    def test_whole_rows_go_those_with_the_lowest_sums_first(self) -> None:
        scores = np.array([[9, 0, 0], [1, 1, 1], [3, 3, 3], [1, 1, 1]], np.float32)
        ranked = Channel().rank(scores)
        assert [ranked.mask(level).all(axis=1).tolist() for level in (0.25, 0.5, 0.75)] == [
            [True, False, True, True],
            [True, False, True, False],
            [False, False, True, False],
        ]

    def test_a_row_is_never_kept_in_part(self) -> None:
        mask = Channel().rank(np.random.default_rng(0).random((10, 7), dtype=np.float32)).mask(0.33)
        assert (mask == mask[:, :1]).all()
        assert np.count_nonzero(~mask[:, 0]) == 3


@pytest.mark.parametrize(
    ("spec", "shape", "channels", "reason"),
    [
        ("2:4", (8, 27), 3, "its 3 input channels do not divide by 4"),
        ("2:4", (8, 9), 1, "its 1 input channel does not divide by 4"),
        ("1:4", (8, 36), 6, "its 6 input channels do not divide by 4"),  # though 36 columns would
        ("2:4", (7, 36), 4, None),
        ("block1x4", (8, 36), 6, "its 6 input channels do not divide by 4"),
        ("block4x1", (10, 27), 3, "its 10 output rows do not divide by 4"),
        ("block4x1", (1, 27), 3, "its 1 output row does not divide by 4"),
        ("block4x3", (8, 27), 3, None),
        ("row", (7, 9), 1, None),
        ("channel", (7, 9), 1, None),
        ("unstructured", (7, 9), 1, None),
    ],
)
def test_a_weight_that_does_not_divide_is_refused_with_the_reason(
    spec: str, shape: tuple[int, int], channels: int, reason: str | None
) -> None:
    assert make_pattern(spec).refuses(shape, channels) == reason
    assert make_technique(f"magnitude:{spec}").refuses(shape, channels) == reason


class TestSpecs:
    @pytest.mark.parametrize(
        "spec", ["magnitude:2:4", "obs:block4x1", "wanda:row", "obs:2:4+obs", "magnitude:channel", "random@3:1:4+refit"]
    )
    def test_a_name_makes_the_same_technique_again(self, spec: str) -> None:
        technique = make_technique(spec)
        assert technique.name == spec
        assert make_technique(technique.name) == technique

    @unhurried
    @given(st.integers(1, 999), st.integers(1, 999))
    def test_numbers_are_those_of_the_pattern(self, one: int, other: int) -> None:
        n, m = min(one, other), max(one, other) + 1
        assert make_pattern(f"{n}:{m}") == NOfM(n, m)
        assert make_pattern(f"block{one}x{other}") == Block(one, other)

    @pytest.mark.parametrize(
        ("spec", "problem"),
        [
            ("4:2", "keeps 4 of every 2 input channels; keep at least 1, and fewer than all, as 2:4 does"),
            ("0:4", "keeps 0 of every 4 input channels; keep at least 1, and fewer than all, as 2:4 does"),
            ("4:4", "keeps 4 of every 4 input channels; keep at least 1, and fewer than all, as 2:4 does"),
            ("block0x1", "has nothing in a block; give at least 1 row and 1 column, as block4x1 does"),
            ("block2x0", "has nothing in a block; give at least 1 row and 1 column, as block4x1 does"),
        ],
    )
    def test_numbers_that_make_no_pattern_are_refused(self, spec: str, problem: str) -> None:
        with pytest.raises(UsageError) as caught:
            make_technique(f"magnitude:{spec}")
        assert str(caught.value) == f"pattern '{spec}' {problem}"

    # Two spellings of one pattern would be two techniques in a store.
    @pytest.mark.parametrize(
        "spec",
        [
            *("2to4", "2:", ":4", "02:4", "2:4 ", "-2:4", "2:4\n", "²:4", "٢:٤", "9" * 5000 + ":4"),
            *("block4", "block4x", "block04x1", "block-1x1", "block4x1x1", "Block4x1"),
        ],
    )
    def test_what_is_no_pattern_is_answered_with_what_there_is(self, spec: str) -> None:
        with pytest.raises(UsageError) as caught:
            make_pattern(spec)
        assert str(caught.value) == (
            f"unknown pattern '{spec}'; there are: channel, row, unstructured, N:M such as 2:4, "
            "blockRxC such as block4x1"
        ).replace("\n", "\\n")  # on one line

    def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(self) -> None:
        with pytest.raises(UsageError, match="unknown pattern 'chanel'; did you mean 'channel'"):
            make_pattern("chanel")
