"""How large a drop may really be: bounds on what was measured, and what a check of so many samples can show at all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxsens.engine.questions import Measurement
from onnxsens.errors import GoalError
from onnxsens.metrics import Metric
from onnxsens.plan import bounds
from onnxsens.plan.goal import Goal

BOOTSTRAP_SEED = 20260102
INTERVAL = 0.95
POWER = 0.8  # of a look: the usual choice in planning a trial


@dataclass(frozen=True)
class Verdict:
    """One metric of a plan on samples it was not chosen on.

    Attributes:
        bound: what the drop does not exceed, at the confidence asked for; the drop itself without one.
        low, high: two-sided 95 % interval.
        limit: None where the goal says nothing of this metric.
    """

    metric: str
    measurement: Measurement
    bound: float
    low: float
    high: float
    limit: float | None

    @property
    def holds(self) -> bool:
        """Whether the limit, if any, is kept."""
        return self.limit is None or self.bound <= self.limit + 1e-12


def discordant(metric: Metric, measured: Measurement) -> tuple[int, int] | None:
    """Samples lost (right before, wrong now) and gained, for a 0/1 metric; None for any other.

    Per-sample drops are then -1, 0 or 1, so their sum is lost - gained and their squares are lost + gained.
    """
    whole = float(measured.total).is_integer() and float(measured.squares).is_integer()
    if not (metric.binary and whole and measured.extendable):
        return None
    return round((measured.squares + measured.total) / 2), round((measured.squares - measured.total) / 2)


def upper_bound(metric: Metric, measured: Measurement, alpha: float | None) -> float:
    """What the drop does not exceed but with probability `alpha`; the drop itself where `alpha` is None.

    Tango's score bound for 0/1 metrics, which has width even where no sample differs; else the paired bootstrap.
    """
    if alpha is None:
        return measured.drop
    counts = discordant(metric, measured)
    if counts:
        return bounds.tango_upper(*counts, measured.samples, alpha)
    if measured.drops is None:
        return measured.drop + normal_quantile(alpha) * measured.standard_error
    if not measured.extendable:
        return float(np.quantile(measured.drops, 1 - alpha))
    return bounds.bootstrap_upper(measured.drops, alpha, np.random.default_rng(BOOTSTRAP_SEED))


def interval(metric: Metric, measured: Measurement) -> tuple[float, float]:
    """Two-sided interval of the drop."""
    counts = discordant(metric, measured)
    if counts:
        return bounds.tango_interval(*counts, measured.samples, INTERVAL)
    if measured.drops is None:
        margin = normal_quantile((1 - INTERVAL) / 2) * measured.standard_error
        return measured.drop - margin, measured.drop + margin
    if not measured.extendable:
        low, high = np.quantile(measured.drops, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
        return float(low), float(high)
    return bounds.bootstrap_interval(measured.drops, INTERVAL, np.random.default_rng(BOOTSTRAP_SEED))


def predicted_bound(metric: Metric, measured: Measurement, samples: int, alpha: float | None) -> float:
    """The bound that a check on `samples` others will stay under with probability `POWER`, were they like these.

    Without that margin half of all plans chosen at the limit would fail their check, and more than half of those
    chosen as the best of many.
    """
    if alpha is None:
        return measured.drop
    reach = normal_quantile(alpha) + normal_quantile(1 - POWER)
    counts = discordant(metric, measured)
    if counts:
        share = samples / measured.samples
        lost, gained = (round(count * share) for count in counts)
        return bounds.tango_upper(lost, gained, samples, normal_tail(reach))
    spread = measured.standard_error * math.sqrt(measured.samples / samples)
    return measured.drop + reach * spread


def judge(
    metrics: Mapping[str, Metric], measurements: Mapping[str, Measurement], goal: Goal, look: int
) -> dict[str, Verdict]:
    """A verdict for every metric that was measured."""
    alpha = goal.alpha(look)
    verdicts = {}
    for name, measured in measurements.items():
        metric = metrics[name]
        limit = goal.max_drop.get(name)
        low, high = interval(metric, measured)
        verdicts[name] = Verdict(name, measured, upper_bound(metric, measured, alpha), low, high, limit)
    return verdicts


def refuse_undecidable(metrics: Mapping[str, Metric], goal: Goal, samples: int, holdout: float) -> None:
    """Say before the scan that a limit cannot be shown with so few samples, however good the plan.

    Args:
        samples: of the hold-out split.
        holdout: its share of all samples.

    Raises:
        GoalError: only a plan that beats the dense model could pass; the message has the number of samples that
            would do, and the limit that could be decided.
    """
    alpha = goal.alpha(1)
    if alpha is None:
        return
    for name, limit in goal.max_drop.items():
        if not metrics[name].binary:
            continue
        smallest = bounds.smallest_limit(samples, alpha)
        if limit < smallest:
            raise GoalError(
                f"a drop of {limit:g} in {name} cannot be shown with {samples} hold-out samples at "
                f"{goal.confidence:.0%} confidence, unless the plan beats the dense model; "
                + (f"give {math.ceil(bounds.samples_needed(limit, alpha) / holdout)} samples in all, " if limit else "")
                + f"--max-drop {name}={math.ceil(smallest * 1000) / 1000:g} or more, or --confidence none"
            )


def normal_quantile(alpha: float) -> float:
    """z with a share `alpha` of the normal distribution above it."""
    return bounds.normal_quantile(alpha)


def normal_tail(z: float) -> float:
    """The share of the normal distribution above z."""
    return math.erfc(z / math.sqrt(2)) / 2


def refuse_noisy(noise: Mapping[str, float], goal: Goal) -> None:
    """A limit below what two runs of the dense model differ by cannot be judged.

    Raises:
        GoalError: there is such a limit.
    """
    for name, limit in goal.max_drop.items():
        if noise.get(name, 0.0) > limit:
            raise GoalError(
                f"a drop of {limit:g} in {name} cannot be told from noise: two runs of the dense model differ by "
                f"{noise[name]:.2g}; allow a larger drop, or make the model deterministic"
            )
