"""Matrix views are exactly invertible, whatever moves make them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.model.layout import Arranged, Move, Reshape, Scattered, Transpose


@st.composite
def arrangements(draw: st.DrawFn) -> Arranged:
    """Any chain of reshapes and transposes, cut into any number of rows."""
    shape = current = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    moves: list[Move] = []
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            order = tuple(draw(st.permutations(range(len(current)))))
            moves.append(Transpose(order))
            current = tuple(current[axis] for axis in order)
        else:
            first = draw(st.sampled_from(divisors(int(np.prod(current)))))
            after = (first, int(np.prod(current)) // first)
            moves.append(Reshape(current, after))
            current = after
    return Arranged(shape, tuple(moves), draw(st.sampled_from(divisors(int(np.prod(shape))))))


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


@given(arrangements())
def test_from_matrix_undoes_to_matrix(layout: Arranged) -> None:
    weight = np.arange(np.prod(layout.shape)).reshape(layout.shape)
    matrix = layout.to_matrix(weight)
    assert matrix.shape == (layout.rows, weight.size // layout.rows)
    np.testing.assert_array_equal(layout.from_matrix(matrix), weight)


def test_a_matrix_that_numpy_made_anew_goes_back_too() -> None:
    layout = Arranged((2, 3, 4), (Transpose((0, 2, 1)),), 8)
    weight = np.arange(24).reshape(2, 3, 4)
    expected = [weight[batch, :, out] for batch in range(2) for out in range(4)]
    np.testing.assert_array_equal(layout.to_matrix(weight), expected)
    np.testing.assert_array_equal(layout.from_matrix(np.array(expected)), weight)


@given(st.data())
def test_a_scattered_layout_is_a_permutation(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    order = np.array(data.draw(st.permutations(range(rows * width)))).reshape(rows, width)
    layout = Scattered((width, rows), rows, lambda: order)
    weight = np.random.default_rng(0).permutation(rows * width).reshape(width, rows)
    np.testing.assert_array_equal(layout.to_matrix(weight), weight.reshape(-1)[order])
    np.testing.assert_array_equal(layout.from_matrix(layout.to_matrix(weight)), weight)


@pytest.mark.parametrize(("largest", "made"), [(6, 1), (5, 2)])
def test_a_large_scattered_layout_makes_its_table_anew(
    monkeypatch: pytest.MonkeyPatch, largest: int, made: int
) -> None:
    monkeypatch.setattr("onnxsens.model.layout.KEPT_TABLE", largest)
    calls = []

    def table() -> np.ndarray:
        calls.append("made")
        return np.arange(6).reshape(2, 3)

    layout = Scattered((6,), 2, table)
    layout.to_matrix(np.arange(6))
    layout.to_matrix(np.arange(6))
    assert len(calls) == made
