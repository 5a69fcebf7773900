"""The laws that every picker keeps, as tests for whoever writes one:

    class TestMine(PickerContract):
        @pytest.fixture
        def picker(self) -> Picker:
            return Mine()

        @pytest.fixture
        def ground(self) -> Ground:
            ...  # weights, and a scanner over an evaluator that knows its answers

Run by pytest, which this module does not import.
"""

from itertools import pairwise

import numpy as np

from onnxsens.plan.pickers.picker import Ground, Picker, total_sparsity


class PickerContract:
    """Subclass it with fixtures `picker` and `ground`."""

    def test_boldness_zero_is_the_dense_model(self, picker: Picker, ground: Ground) -> None:
        assert set(picker.family(ground).propose(0.0).values()) == {0.0}

    def test_more_boldness_never_means_less_sparsity(self, picker: Picker, ground: Ground) -> None:
        family = picker.family(ground)
        totals = [total_sparsity(ground, family.propose(family.highest * share)) for share in np.linspace(0, 1, 41)]
        assert all(later >= earlier - 1e-9 for earlier, later in pairwise(totals))
        assert totals[-1] > 0.9

    def test_every_weight_gets_a_level_in_0_1(self, picker: Picker, ground: Ground) -> None:
        family = picker.family(ground)
        for share in (0.1, 0.5, 1.0):
            levels = family.propose(family.highest * share)
            assert list(levels) == [weight.name for weight in ground.weights]
            assert all(0 <= level <= 1 for level in levels.values())

    def test_it_proposes_the_same_again(self, picker: Picker, ground: Ground) -> None:
        family = picker.family(ground)
        first = family.propose(family.start)
        assert family.propose(family.start) == first
