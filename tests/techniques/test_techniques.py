"""Masks and what they do to a weight."""

import hashlib
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxsens.errors import UsageError
from onnxsens.techniques import control_of, make_technique
from onnxsens.techniques.contract import CriterionContract, PatternContract, UpdateContract, moments_of
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.patterns import Pattern, make_pattern, patterns, unstructured
from onnxsens.techniques.technique import PrunedWeight
from onnxsens.techniques.updates import Update, updates

MATRICES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    # Few distinct values, so that ties are the rule; -0.0 among them.
    elements=st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, -2.0, 3.0]).map(np.float32),
)
LEVELS = st.floats(0, 1)


@given(MATRICES, LEVELS)
def test_exactly_the_stated_number_of_elements_is_zeroed_also_under_ties(weight: np.ndarray, level: float) -> None:
    technique = make_technique("magnitude")
    pruned = technique.prepare(weight).at(level)
    existing = weight.size - np.count_nonzero(weight)
    assert pruned.size - np.count_nonzero(pruned) == max(existing, round(level * weight.size))
    assert technique.steps(weight.shape, level) == round(level * weight.size)


@given(MATRICES, LEVELS, LEVELS)
def test_masks_are_nested(weight: np.ndarray, one: float, other: float) -> None:
    prepared = make_technique("magnitude").prepare(weight)
    low, high = sorted((one, other))
    assert not np.any((prepared.at(low) == 0) & (prepared.at(high) != 0))


@given(MATRICES, LEVELS)
def test_what_is_zeroed_is_never_larger_than_what_is_kept(weight: np.ndarray, level: float) -> None:
    pruned = make_technique("magnitude").prepare(weight).at(level)
    kept = pruned != 0
    if kept.any() and (~kept).any():
        assert np.abs(weight[~kept]).max() <= np.abs(weight[kept]).min()


@given(MATRICES)
def test_level_zero_changes_no_bit_and_level_one_leaves_nothing(weight: np.ndarray) -> None:
    prepared = make_technique("magnitude").prepare(weight)
    assert prepared.at(0).tobytes() == weight.tobytes()
    assert not prepared.at(1).any()


@given(MATRICES, st.floats(0.01, 1))
def test_every_zero_that_is_made_is_plus_zero(weight: np.ndarray, level: float) -> None:
    pruned = make_technique("magnitude").prepare(weight).at(level)
    changed = pruned.view(np.uint32) != weight.view(np.uint32)
    assert not np.signbit(pruned[changed]).any()


def test_nothing_that_came_in_is_changed() -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = weight.copy()
    prepared = make_technique("magnitude").prepare(weight)
    prepared.at(0.5)[:] = 7
    np.testing.assert_array_equal(weight, before)


class TestDefectsOfOthersThatWeDoNotHave:
    """Known of SparseML's analysis."""

    def test_half_of_a_hundred_is_fifty(self) -> None:
        weight = np.arange(1, 101, dtype=np.float32).reshape(10, 10)
        pruned = make_technique("magnitude").prepare(weight).at(0.5)
        assert (pruned == 0).sum() == 50
        np.testing.assert_array_equal(pruned[pruned != 0], np.arange(51, 101))

    def test_a_tensor_of_equal_values_loses_its_share_the_lower_index_first(self) -> None:
        pruned = make_technique("magnitude").prepare(np.full((3, 4), 0.25, np.float32)).at(0.5)
        assert pruned.reshape(-1).tolist() == [0.0] * 6 + [0.25] * 6

    def test_a_level_on_a_pruned_weight_means_zeros_in_all(self) -> None:
        weight = np.arange(1, 11, dtype=np.float32).reshape(2, 5)
        weight[0, :4] = 0
        prepared = make_technique("magnitude").prepare(weight)
        assert (prepared.at(0.5) == 0).sum() == 5
        assert (prepared.at(0.2) == 0).sum() == 4


@pytest.mark.parametrize(
    ("spec", "fragment"),
    [
        ("magnitud", "did you mean 'magnitude'"),
        ("magnitude:2to4", "unknown pattern '2to4'"),
        ("magnitude@1", "magnitude draws no lots"),
        ("random@-1", "has the seed '-1'"),
        ("random@", "has the seed ''"),
        ("random@²", "has the seed '²'"),
    ],
)
def test_an_unknown_technique_is_answered_with_what_there_is(spec: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        make_technique(spec)


def test_a_name_makes_the_same_technique_again() -> None:
    assert make_technique(make_technique("magnitude").name) == make_technique("magnitude:unstructured")
    assert make_technique("random").name == "random@0"
    assert make_technique(make_technique("random@7").name) == make_technique("random@7:unstructured")


class TestEveryCriterion(CriterionContract):
    @pytest.fixture(params=criteria.names())
    def criterion(self, request: pytest.FixtureRequest) -> Criterion:
        made: Criterion = criteria.get(request.param)()
        return made


class TestEveryPattern(PatternContract):
    @pytest.fixture(
        params=[*patterns.names(), "2:4", "1:4", "3:4", "4:8", "1:2", "block1x4", "block4x1", "block2x2", "block1x1"]
    )
    def pattern(self, request: pytest.FixtureRequest) -> Pattern:
        return make_pattern(request.param)


class TestEveryUpdate(UpdateContract):
    @pytest.fixture(params=updates.names())
    def update(self, request: pytest.FixtureRequest) -> Update:
        made: Update = updates.get(request.param)()
        return made


def test_magnitude_is_the_absolute_value() -> None:
    np.testing.assert_array_equal(criteria.get("magnitude")().scores(np.array([[-2.0, 1.0]], np.float32)), [[2, 1]])


class TestRandom:
    def test_scores_are_those_of_numpys_generator_for_seed_and_weight(self) -> None:
        weight = np.array([[1.0, 0.0, -3.0]], np.float32)
        content = hashlib.sha256(b"(1, 3)" + struct.pack("<3f", 1.0, 0.0, -3.0)).digest()
        drawn = np.random.default_rng([5, *struct.unpack("<Q", content[:8])]).random((1, 3), dtype=np.float32)
        expected = [[1 - drawn[0, 0], 0, 1 - drawn[0, 2]]]
        np.testing.assert_array_equal(criteria.get("random")(seed=5).scores(weight), expected)

    def test_another_seed_or_weight_draws_other_lots(self) -> None:
        weight = np.random.default_rng(0).standard_normal((8, 8), dtype=np.float32)
        first = make_technique("random@1").prepare(weight).at(0.5) == 0
        assert np.array_equal(first, make_technique("random@1").prepare(weight.copy()).at(0.5) == 0)
        assert not np.array_equal(first, make_technique("random@2").prepare(weight).at(0.5) == 0)
        assert not np.array_equal(first, make_technique("random@1").prepare(weight * 2).at(0.5) == 0)

    @given(MATRICES, LEVELS, LEVELS)
    def test_a_level_means_zeros_in_all_and_masks_are_nested(
        self, weight: np.ndarray, one: float, other: float
    ) -> None:
        low, high = sorted((one, other))
        prepared = make_technique("random@3").prepare(weight)
        milder, bolder = prepared.at(low), prepared.at(high)
        assert (milder == 0).sum() == max((weight == 0).sum(), round(low * weight.size))
        assert not ((milder == 0) & (bolder != 0)).any()

    def test_it_is_the_control_of_every_technique_but_itself(self) -> None:
        assert control_of(make_technique("magnitude"), 4).name == "random@4"
        assert control_of(make_technique("obs:2:4+refit"), 3).name == "random@3:2:4+refit"
        for spec, problem in (
            (
                "random@4",
                "the technique is random already, so there is nothing to compare it with; leave --control out",
            ),
            ("bits", "technique 'bits' zeroes nothing, so random pruning is no match for it"),
        ):
            with pytest.raises(UsageError) as caught:
                control_of(make_technique(spec), 4)
            assert str(caught.value) == problem


@pytest.fixture(params=[1, 3, 1024])
def _strides(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pieces so short that small matrices have many; bins that are kept, and that are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unstructured, "PIECE", request.param)
        patch.setattr(unstructured, "KEPT_BINS", 0 if request.param == 3 else 10**6)
        yield


def by_sorting(scores: np.ndarray, sparsity: float) -> np.ndarray:
    """The definition: the first of a stable sort are zeroed."""
    kept = np.ones(scores.size, dtype=bool)
    kept[np.argsort(scores, axis=None, kind="stable")[: round(sparsity * scores.size)]] = False
    return kept.reshape(scores.shape)


@pytest.mark.usefixtures("_strides")
class TestUnstructured:
    @given(MATRICES, LEVELS)
    def test_a_mask_is_that_of_a_stable_sort(self, scores: np.ndarray, level: float) -> None:
        np.testing.assert_array_equal(unstructured.Unstructured().rank(scores).mask(level), by_sorting(scores, level))

    def test_also_on_a_large_matrix_at_many_ranks(self) -> None:
        rng = np.random.default_rng(0)
        spread = rng.random((50, 100), dtype=np.float32)
        few = rng.integers(0, 9, (50, 100)).astype(np.float32)
        for scores in (spread, few, 1 + spread / 256):  # the last ones are all in one bin
            ranked = unstructured.Unstructured().rank(scores)
            for zeros in (0, 1, 2, 3, 4, 1023, 1024, 1025, 1026, 2048, 2049, 4096, 4097, 4998, 4999, 5000):
                np.testing.assert_array_equal(ranked.mask(zeros / 5000), by_sorting(scores, zeros / 5000))


def test_masks_take_little_memory_beside_the_scores() -> None:
    scores = np.random.default_rng(0).random((2000, 2000), dtype=np.float32)
    tracemalloc.start()
    try:
        unstructured.Unstructured().rank(scores).mask(0.5)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * scores.nbytes


@pytest.mark.parametrize("spec", ["magnitude", "wanda", "obs:2:4", "lamp:block4x1", "wanda:row+refit", "random@3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_once_is_what_preparing_first_gives_and_both_lie_in_memory_as_the_weight_does(
    spec: str, order: Literal["C", "F"]
) -> None:
    weight = np.random.default_rng(0).standard_normal((8, 12), dtype=np.float32).copy(order=order)
    moments, technique = moments_of(weight), make_technique(spec)
    for level in (0.0, 0.3, 0.5, 0.8):
        prepared, once = technique.prepare(weight, moments).at(level), technique.once(weight, level, moments)
        assert prepared.tobytes() == once.tobytes()
        for found in (prepared, once):
            assert not np.shares_memory(found, weight)
            assert found.flags.c_contiguous == weight.flags.c_contiguous
            assert found.flags.f_contiguous == weight.flags.f_contiguous


class Vanishing:
    """An update that leaves values that no float32 holds."""

    def fit(self, mask: np.ndarray) -> np.ndarray:
        return np.where(mask, -1e-60, 0.0)


def test_a_value_that_becomes_too_small_is_plus_zero() -> None:
    dense = np.array([[1.0, -2.0], [3.0, -4.0]], np.float32)
    ranked = make_pattern("unstructured").rank(np.abs(dense))
    found = PrunedWeight(dense, ranked, Vanishing()).at(0.5)
    assert found.tobytes() == bytes(16)


def test_an_update_without_moments_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match=r"^magnitude\+refit needs moments of the weight's inputs$"):
        make_technique("magnitude+refit").prepare(np.ones((2, 2), np.float32))
