"""Stored elements to numbers and back, over every type and extreme value."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from onnxsens.model.coding import Affine, Plain, merged

FLOAT_TYPES = [np.float32, np.float16, np.float64, ml_dtypes.bfloat16]
INTEGER_TYPES = [np.int8, np.uint8, np.int16, np.uint16, np.int32]


def bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).view(np.dtype(f"u{values.dtype.itemsize}"))


@st.composite
def stored_floats(draw: st.DrawFn) -> np.ndarray:
    """Any bit pattern of a floating-point type."""
    kind = np.dtype(draw(st.sampled_from(FLOAT_TYPES)))
    shape = draw(arrays.array_shapes(max_dims=3, max_side=4))
    return draw(arrays.arrays(np.dtype(f"u{kind.itemsize}"), shape)).view(kind)


SCALES = st.one_of(
    st.floats(2.0**-20, 2.0**20, width=32),
    st.floats(-1, -(2.0**-10), width=32),
    st.sampled_from([0.0, 2.0**-149, 2.0**127]),
)


@st.composite
def stored_integers(draw: st.DrawFn) -> tuple[np.ndarray, Affine]:
    """Elements with a scale and zero point for all, or one for each row."""
    kind = np.dtype(draw(st.sampled_from(INTEGER_TYPES)))
    stored = draw(arrays.arrays(kind, draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=4))))
    shape = draw(st.sampled_from([(), (len(stored), 1)]))
    zero_point = draw(arrays.arrays(kind, shape)) if kind != np.int32 else np.zeros(shape, kind)
    return stored, Affine(draw(arrays.arrays(np.float32, shape, elements=SCALES)), zero_point)


class TestPlain:
    @given(stored_floats())
    def test_what_did_not_change_keeps_its_bits(self, stored: np.ndarray) -> None:
        again = Plain().encode(Plain().decode(stored).copy(), stored)
        assert again.dtype == stored.dtype
        np.testing.assert_array_equal(bits(again), bits(stored))

    @given(stored_floats())
    def test_it_reads_as_zero_where_and_only_where_it_is_zero(self, stored: np.ndarray) -> None:
        dense = Plain().decode(stored)
        assert dense.dtype == np.float32
        np.testing.assert_array_equal(dense == 0, stored.astype(np.float64) == 0)
        np.testing.assert_array_equal(np.isfinite(dense), np.isfinite(stored.astype(np.float64)))

    @given(stored_floats(), st.data())
    def test_a_pruned_element_is_plus_zero_and_the_others_keep_their_bits(
        self, stored: np.ndarray, data: st.DataObject
    ) -> None:
        pruned = data.draw(arrays.arrays(np.bool_, stored.shape))
        new = Plain().encode(np.where(pruned, np.float32(0), Plain().decode(stored)), stored)
        np.testing.assert_array_equal(bits(new), np.where(pruned, 0, bits(stored)))

    @given(stored_floats())
    def test_zeros_and_broken_elements_are_counted_as_they_decode(self, stored: np.ndarray) -> None:
        dense = Plain().decode(stored)
        assert Plain().zeros(stored) == np.sum(dense == 0)
        assert Plain().broken(stored) == np.sum(~np.isfinite(dense))

    def test_minus_zero_that_is_asked_for_is_written(self) -> None:
        new = Plain().encode(np.array([-0.0, 0.0], np.float32), np.array([1, 1], np.float16))
        assert bits(new).tolist() == [0x8000, 0]

    def test_float64_beyond_float32_is_the_nearest_that_is_neither_zero_nor_infinite(self) -> None:
        stored = np.array([1e-300, -1e-300, 1e300, -1e300, np.inf, -0.0, 5e-324])
        tiny, largest = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
        expected = np.array([tiny, -tiny, largest, -largest, np.inf, -0.0, tiny], np.float32)
        np.testing.assert_array_equal(bits(Plain().decode(stored)), bits(expected))

    @pytest.mark.parametrize("kind", FLOAT_TYPES)
    def test_a_new_value_is_rounded_to_the_stored_type(self, kind: type) -> None:
        stored = np.array([1, 2, 3]).astype(kind)
        values = np.array([1, 0.1, 1 / 3], np.float32)
        new = Plain().encode(values, stored)
        np.testing.assert_array_equal(new, values.astype(kind))

    def test_what_was_given_stays_as_it_was(self) -> None:
        stored = np.array([1, -2], np.float16)
        values = np.zeros(2, np.float32)
        Plain().encode(values, stored)
        assert stored.tolist() == [1, -2] and values.tolist() == [0, 0]

    def test_float32_that_was_turned_is_written_in_order(self) -> None:
        turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
        new = Plain().encode(turned, np.ascontiguousarray(turned))
        assert new.flags.c_contiguous and new.tolist() == [[0, 3], [1, 4], [2, 5]]


class TestAffine:
    @given(stored_integers())
    def test_what_did_not_change_keeps_its_bits(self, case: tuple[np.ndarray, Affine]) -> None:
        stored, coding = case
        again = coding.encode(coding.decode(stored), stored)
        assert again.dtype == stored.dtype
        np.testing.assert_array_equal(again, stored)

    @given(stored_integers())
    def test_decoding_is_the_rule_of_the_operator(self, case: tuple[np.ndarray, Affine]) -> None:
        stored, coding = case
        exact = stored.astype(np.float64) - coding.zero_point.astype(np.float64)
        with np.errstate(over="ignore"):
            expected = (exact.astype(np.float32) * coding.scale).astype(np.float32)
        np.testing.assert_array_equal(coding.decode(stored), expected)

    @given(stored_integers(), st.data())
    def test_a_pruned_element_is_the_zero_point(self, case: tuple[np.ndarray, Affine], data: st.DataObject) -> None:
        stored, coding = case
        pruned = data.draw(arrays.arrays(np.bool_, stored.shape))
        dense = coding.decode(stored)
        new = coding.encode(np.where(pruned, np.float32(0), dense), stored)
        zero_point = np.broadcast_to(coding.zero_point, stored.shape)
        same = np.where(pruned & (bits(dense) != 0), zero_point, stored)  # what is 0 already may stay
        np.testing.assert_array_equal(new, same)
        assert not np.any(coding.decode(new)[pruned])

    @given(stored_integers(), st.data())
    def test_a_new_value_is_the_nearest_step_that_the_type_holds(
        self, case: tuple[np.ndarray, Affine], data: st.DataObject
    ) -> None:
        stored, coding = case
        values = data.draw(arrays.arrays(np.float32, stored.shape, elements=st.floats(-(2.0**90), 2.0**90, width=32)))
        new = coding.encode(values, stored)
        limits = np.iinfo(stored.dtype)
        scale, zero_point = (
            np.broadcast_to(part, stored.shape).astype(np.float64) for part in (coding.scale, coding.zero_point)
        )
        dense = coding.decode(stored)
        for place in np.ndindex(stored.shape):
            if bits(values)[place] == bits(dense)[place]:
                assert new[place] == stored[place]
            elif values[place] == 0:
                assert new[place] == zero_point[place]
            elif scale[place] != 0:
                wanted = float(values[place]) / scale[place] + zero_point[place]
                nearest = min(max(wanted, limits.min), limits.max)
                assert abs(int(new[place]) - nearest) <= 0.5 + 1e-6 * abs(nearest)

    @given(stored_integers(), st.sampled_from([1.0, np.nan, np.inf]))
    def test_zeros_and_broken_elements_are_counted_as_they_decode(
        self, case: tuple[np.ndarray, Affine], factor: float
    ) -> None:
        stored, coding = case
        with np.errstate(invalid="ignore"):
            coding = Affine(np.asarray(coding.scale * np.float32(factor)), coding.zero_point)
        dense = coding.decode(stored)
        assert coding.zeros(stored) == np.sum(dense == 0)
        assert coding.broken(stored) == np.sum(~np.isfinite(dense))

    def test_integers_that_are_one_number_in_float32_are_all_its_zeros(self) -> None:
        stored = np.array([2**24, 2**24 + 1, 2**24 + 2], np.int32)
        coding = Affine(np.float32(1), np.array(2**24, np.int32))
        assert coding.zeros(stored) == np.sum(coding.decode(stored) == 0) == 2

    def test_many_rows_are_counted_a_piece_at_a_time(self) -> None:
        stored = np.full((3, 2**20 - 1), 5, np.int8)
        scale = np.array([[0], [np.nan], [1]], np.float32)
        coding = Affine(scale, np.int8(5))
        assert coding.zeros(stored) == 2 * (2**20 - 1)
        assert coding.broken(stored) == 2**20 - 1

    def test_no_other_float_array_of_the_size_is_made(self) -> None:
        stored = np.ones((512, 1024), np.int8)
        coding = Affine(np.ones((512, 1), np.float32), np.full((512, 1024), 3, np.int8))
        tracemalloc.start()
        coding.decode(stored)
        decoding = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        coding.zeros(stored), coding.broken(stored)
        counting = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert decoding < 1.2 * 4 * stored.size
        assert counting < 1.5 * stored.size

    def test_halves_go_to_the_even_step(self) -> None:
        stored = np.full(4, 9, np.int8)
        new = Affine(np.float32(2), np.int8(1)).encode(np.array([1, 3, 5, -1], np.float32), stored)
        assert new.tolist() == [1, 3, 3, 1]

    def test_a_scale_that_is_not_finite_is_said_without_a_warning(self) -> None:
        stored = np.array([3, 9], np.int8)
        for scale in (np.inf, np.nan, 3e38):
            dense = Affine(np.array(scale, np.float32), np.array(3, np.int8)).decode(stored)
            assert not np.isfinite(dense).all()


class TestMerged:
    ONE = Affine(np.array([[0.5], [np.nan]], np.float32), np.array([[3], [0]], np.uint8))
    TWO = Affine(np.array([[np.nan], [0.25]], np.float32), np.array([[0], [7]], np.uint8))

    def test_parts_are_put_together(self) -> None:
        both = merged(self.ONE, self.TWO)
        assert isinstance(both, Affine)
        assert both.scale.tolist() == [[0.5], [0.25]]
        assert both.zero_point.tolist() == [[3], [7]] and both.zero_point.dtype == np.uint8

    def test_those_that_disagree_on_what_is_zero_have_none(self) -> None:
        all_of_it = Affine(np.float32(1), np.uint8(3))
        assert merged(all_of_it, self.TWO) is None
        assert merged(all_of_it, self.ONE) is all_of_it
        assert merged(Plain(), all_of_it) is None
        assert merged(None, Plain()) is None and merged(Plain(), None) is None

    def test_the_first_of_two_scales_counts(self) -> None:
        first, second = Affine(np.float32(1), np.uint8(3)), Affine(np.float32(2), np.uint8(3))
        assert merged(first, second) is first

    def test_plain_numbers_are_plain_numbers(self) -> None:
        assert isinstance(merged(Plain(), Plain()), Plain)
