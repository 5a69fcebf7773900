"""The laws that every target keeps, as tests for whoever writes one:

    class TestMine(TargetContract):
        @pytest.fixture
        def target(self) -> Target:
            return MINE

        @pytest.fixture
        def weights(self) -> Sequence[Weight]:
            ...  # of some model: take_inventory(load_model(path)).weights

Run by pytest, which this module does not import.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from onnxsens.model import Weight
from onnxsens.targets.assessment import assess
from onnxsens.targets.profile import Target
from onnxsens.techniques.patterns import make_pattern


class TargetContract:
    """Subclass it with fixtures `target` and `weights`."""

    def test_it_says_the_truth_in_one_sentence_and_where_that_is_from(self, target: Target) -> None:
        assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", target.name)
        assert target.title
        assert target.line.endswith(".") and ". " not in target.line and "\n" not in target.line
        assert target.sources and all(target.sources)

    def test_levels_ascend_and_none_is_too_low_to_gain_anything(self, target: Target) -> None:
        levels = target.levels if target.levels is not None else (0.99,)
        assert levels and all(low < high for low, high in pairwise(levels))
        assert target.least is None or target.least <= levels[0]

    def test_a_level_is_one_that_the_pattern_reaches(self, target: Target) -> None:
        if target.technique_pattern is None:
            return
        pattern = make_pattern(target.technique_pattern)
        for level in target.levels or ():
            assert pattern.zeros((240, 240), level) == round(240 * 240 * level)

    def test_what_the_pattern_refuses_stays_dense(self, target: Target, weights: Sequence[Weight]) -> None:
        if target.technique_pattern is None:
            return
        pattern = make_pattern(target.technique_pattern)
        for weight in weights:
            if pattern.refuses(weight.matrix_shape, weight.channels):
                assert target.refuses(weight)

    def test_reasons_are_one_line_and_the_same_again(self, target: Target, weights: Sequence[Weight]) -> None:
        judged = assess(target, weights)
        assert assess(target, weights) == judged
        for judgement in judged:
            for reason in (judgement.refusal, judgement.doubt):
                assert reason is None or (reason and "\n" not in reason)
