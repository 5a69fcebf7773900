"""Masks and what they do to a weight."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxsens.errors import UsageError
from onnxsens.techniques import make_technique
from onnxsens.techniques.contract import CriterionContract, PatternContract
from onnxsens.techniques.criteria import Criterion, criteria
from onnxsens.techniques.patterns import Pattern, patterns

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
    assert technique.steps(weight.size, level) == round(level * weight.size)


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
    [("magnitud", "did you mean 'magnitude'"), ("magnitude:2to4", "unknown pattern '2to4'")],
)
def test_an_unknown_technique_is_answered_with_what_there_is(spec: str, fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        make_technique(spec)


def test_a_name_makes_the_same_technique_again() -> None:
    assert make_technique(make_technique("magnitude").name) == make_technique("magnitude:unstructured")


class TestEveryCriterion(CriterionContract):
    @pytest.fixture(params=criteria.names())
    def criterion(self, request: pytest.FixtureRequest) -> Criterion:
        made: Criterion = criteria.get(request.param)()
        return made


class TestEveryPattern(PatternContract):
    @pytest.fixture(params=patterns.names())
    def pattern(self, request: pytest.FixtureRequest) -> Pattern:
        made: Pattern = patterns.get(request.param)()
        return made


def test_magnitude_is_the_absolute_value() -> None:
    np.testing.assert_array_equal(criteria.get("magnitude")().scores(np.array([[-2.0, 1.0]], np.float32)), [[2, 1]])
