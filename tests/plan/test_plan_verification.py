"""Goals, bounds as they are used, and what cannot be shown."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxsens.engine import Measurement
from onnxsens.errors import GoalError, UsageError
from onnxsens.metrics import make_metric
from onnxsens.plan import Goal, bounds, parse_limits, refuse_undecidable
from onnxsens.plan.verification import bound_and_interval, discordant, judge, predicted_bound, refuse_noisy

ACCURACY, KL = make_metric("accuracy"), make_metric("kl")


def zero_one(lost: int, gained: int, samples: int) -> Measurement:
    drops = np.array([1.0] * lost + [-1.0] * gained + [0.0] * (samples - lost - gained))
    return Measurement(samples, float(lost - gained), float(lost + gained), 0.9, 0.9, binary=True, drops=drops)


def test_discordant_samples_come_back_from_the_sums() -> None:
    assert discordant(zero_one(12, 5, 100)) == (12, 5)
    assert discordant(Measurement(100, 7.0, 17.0, 0.0, 0.0)) is None


def test_a_zero_one_metric_gets_the_score_bound_also_where_nothing_differs() -> None:
    assert bound_and_interval(zero_one(0, 0, 185), 0.025)[0] == pytest.approx(bounds.smallest_limit(185, 0.025))
    assert bound_and_interval(zero_one(30, 20, 1000), 0.025)[0] == bounds.tango_upper(30, 20, 1000, 0.025)
    assert bound_and_interval(zero_one(30, 20, 1000), 0.025)[1:] == bounds.tango_interval(30, 20, 1000, 0.95)


def test_other_metrics_get_the_bootstrap_and_the_same_bound_every_time() -> None:
    drops = np.random.default_rng(0).exponential(0.02, 400)
    measured = Measurement(400, float(drops.sum()), float((drops**2).sum()), 0.0, float(drops.mean()), drops=drops)
    bound = bound_and_interval(measured, 0.025)[0]
    assert bound == bound_and_interval(measured, 0.025)[0]
    normal = measured.drop + 1.96 * measured.standard_error
    assert bound == pytest.approx(normal, rel=0.05)


def test_without_confidence_the_estimate_is_the_bound() -> None:
    assert bound_and_interval(zero_one(12, 5, 100), None)[0] == pytest.approx(0.07)
    assert predicted_bound(zero_one(12, 5, 100), 50, None) == pytest.approx(0.07)


def test_a_plan_at_its_predicted_bound_passes_four_looks_of_five() -> None:
    """Simulated: hold-out sets drawn like the search split."""
    rng = np.random.default_rng(1)
    searched = zero_one(80, 60, 4000)
    limit = predicted_bound(searched, 4000, 0.025)
    passed = []
    for _ in range(600):
        lost, gained, _ = rng.multinomial(4000, [0.02, 0.015, 0.965])
        passed.append(bounds.tango_upper(int(lost), int(gained), 4000, 0.025) <= limit)
    assert 0.75 <= np.mean(passed) <= 0.85


def test_samples_that_are_looked_at_once_may_spend_the_whole_error_rate() -> None:
    assert Goal({"accuracy": 0.01}).alpha(0) == pytest.approx(0.05)


def test_a_whole_set_metric_that_no_resample_moves_still_has_a_width() -> None:
    still = Measurement(100, 0.0, 0.0, 0.8, 0.8, extendable=False, drops=np.zeros(1000))
    assert bound_and_interval(still, 0.025)[0] == pytest.approx(bounds.smallest_limit(100, 0.025))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(1, 300))
def test_counts_carried_to_other_sample_sizes_stay_counts(lost: int, gained: int, same: int, samples: int) -> None:
    if lost + gained + same:
        assert -1 <= predicted_bound(zero_one(lost, gained, lost + gained + same), samples, 0.025) <= 1


def test_looks_spend_ever_less_of_the_error_rate_and_together_no_more_than_all() -> None:
    goal = Goal({"accuracy": 0.01})
    alphas = [goal.alpha(look) for look in (1, 2, 3)]
    assert alphas == [pytest.approx(0.025), pytest.approx(0.0125), pytest.approx(0.00625)]
    assert sum(alpha for alpha in alphas if alpha) < 0.05


def test_a_verdict_holds_where_the_bound_is_within_the_limit() -> None:
    measured = {"accuracy": zero_one(30, 20, 1000), "kl": zero_one(1, 0, 1000)}
    for limit, holds in ((0.01, False), (0.03, True)):
        verdicts = judge(measured, Goal({"accuracy": limit}), 1)
        assert verdicts["accuracy"].holds is holds
        assert verdicts["kl"].holds and verdicts["kl"].limit is None


class TestWhatCannotBeShown:
    def test_too_few_samples_are_refused_with_what_would_do(self) -> None:
        with pytest.raises(GoalError) as caught:
            refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.01}), 185, 0.5)
        message = str(caught.value)
        assert "0.01 in accuracy cannot be shown with 185 hold-out samples at 95% confidence" in message
        assert "--max-drop accuracy=0.021 or more" in message
        needed = int(message.split("give ")[1].split(" samples", maxsplit=1)[0])
        refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.01}), needed // 2, 0.5)
        refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.021}), 185, 0.5)
        with pytest.raises(GoalError):
            refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.01}), needed // 2 - 1, 0.5)

    def test_no_drop_at_all_can_never_be_shown(self) -> None:
        with pytest.raises(GoalError, match=r"drop of 0 in accuracy .* dense model; --max-drop accuracy="):
            refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.0}), 100_000, 0.5)

    def test_point_estimates_and_other_metrics_are_let_through(self) -> None:
        refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 0.01}, confidence=None), 5, 0.5)
        refuse_undecidable({"kl": KL}, (), Goal({"kl": 0.001}), 30, 0.5)

    def test_a_bootstrap_of_a_few_samples_is_refused(self) -> None:
        with pytest.raises(
            GoalError, match="29 hold-out samples are too few for a bound on kl; give 60 samples in all"
        ):
            refuse_undecidable({"kl": KL}, (), Goal({"kl": 0.1}), 29, 0.5)

    def test_a_limit_that_allows_to_lose_everything_is_a_mistake(self) -> None:
        with pytest.raises(UsageError, match=r"0\.05 is five points"):
            refuse_undecidable({"accuracy": ACCURACY}, {"accuracy"}, Goal({"accuracy": 5}), 5000, 0.5)

    def test_a_limit_below_the_noise_is_refused(self) -> None:
        with pytest.raises(GoalError, match="cannot be told from noise"):
            refuse_noisy({"kl": 0.02}, Goal({"kl": 0.01}))
        refuse_noisy({"kl": 0.0}, Goal({"kl": 0.0}))


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"max_drop": {"accuracy": 0.01}, "sparsity": 0.5}, "exclude each other"),
        ({"max_drop": {"accuracy": -0.01}}, "is not a drop"),
        ({"max_drop": {"accuracy": math.inf}}, "is not a drop"),
        ({"sparsity": 1.0}, "is not in"),
        ({"sparsity": 0.0}, "is not in"),
        ({"confidence": 1.0}, "--confidence 1.0"),
        ({"confidence": 0.2}, "--confidence 0.2"),
    ],
)
def test_goals_that_make_no_sense_are_refused(arguments: dict[str, object], fragment: str) -> None:
    with pytest.raises(UsageError, match=fragment):
        Goal(**arguments)


def test_limits_are_read_from_the_right_so_that_a_path_may_hold_an_equals_sign() -> None:
    assert parse_limits(["accuracy=0.01", "a=b.py:f=2"]) == {"accuracy": 0.01, "a=b.py:f": 2.0}


@pytest.mark.parametrize("text", ["accuracy", "=0.1", "accuracy=much", "accuracy=nan", ""])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not METRIC=X"):
        parse_limits([text])


def test_a_metric_may_have_one_limit() -> None:
    with pytest.raises(UsageError, match="twice"):
        parse_limits(["kl=1", "kl=2"])
