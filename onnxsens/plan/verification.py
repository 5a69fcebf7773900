"""How large a drop may really be: bounds on what was measured, and what a check of so many samples can show at all."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from onnxsens.engine.questions import Measurement
from onnxsens.errors import GoalError, UsageError
from onnxsens.metrics import Declaring
from onnxsens.plan import bounds
from onnxsens.plan.goal import Goal

BOOTSTRAP_SEED = 20260102
INTERVAL = 0.95
FEWEST = 30  # samples of a bootstrap; skewed drops of fewer are bounded far too low
POWER = 0.8  # of a look: the usual choice in planning a trial


@dataclass(frozen=True)
class Verdict:
    """One metric of a plan on samples it was not chosen on.

    Attributes:
        bound: what the drop does not exceed, at the confidence asked for; the drop itself without one.
        low, high: two-sided 95 % interval; None where there are too few samples for one.
        limit: None where the goal says nothing of this metric.
    """

    metric: str
    measurement: Measurement
    bound: float
    low: float | None
    high: float | None
    limit: float | None

    @property
    def holds(self) -> bool:
        """Whether the limit, if any, is kept."""
        return self.limit is None or self.bound <= self.limit + 1e-12


def discordant(measured: Measurement) -> tuple[int, int] | None:
    """Samples lost (1 before, 0 now) and gained, where every value was 0 or 1; None otherwise.

    Per-sample drops are then -1, 0 or 1, so their sum is lost - gained and their squares are lost + gained; a metric
    that is better when lower counts the other way round, and so do its drops.
    """
    if not measured.binary:
        return None
    return round((measured.squares + measured.total) / 2), round((measured.squares - measured.total) / 2)


def bound_and_interval(measured: Measurement, alpha: float | None) -> tuple[float, float | None, float | None]:
    """What the drop does not exceed but with probability `alpha`, and its two-sided 95 % interval.

    The bound is the drop itself where `alpha` is None. Tango's score bound where values are 0 and 1, which has width
    even where no sample differs; else the paired bootstrap, which has no interval of fewer than `FEWEST` samples.
    """
    counts = discordant(measured)
    if counts:
        bound = measured.drop if alpha is None else bounds.tango_upper(*counts, measured.samples, alpha)
        return bound, *bounds.tango_interval(*counts, measured.samples, INTERVAL)
    if measured.drops is None:
        raise ValueError("a bound needs the drop of every sample; ask for values")
    levels = [1 - (alpha or 0.5), (1 - INTERVAL) / 2, (1 + INTERVAL) / 2]
    if measured.extendable:
        found = bounds.bootstrap_bounds(measured.drops, levels, np.random.default_rng(BOOTSTRAP_SEED))
    else:
        found = [float(value) for value in np.quantile(measured.drops, levels)]
        if np.ptp(measured.drops) == 0:
            # No resample differs, so no sample does; what is left is any share of the set that was not looked at.
            found[0] += bounds.smallest_limit(measured.samples, alpha) if alpha else 0.0
    bound = measured.drop if alpha is None else found[0]
    return (bound, found[1], found[2]) if measured.samples >= FEWEST else (bound, None, None)


def predicted_bound(measured: Measurement, samples: int, alpha: float | None) -> float:
    """The bound that a check on `samples` others will stay under with probability `POWER`, were they like these.

    Without that margin half of all plans chosen at the limit would fail their check, and more than half of those
    chosen as the best of many.
    """
    if alpha is None:
        return measured.drop
    reach = bounds.normal_quantile(alpha) + bounds.normal_quantile(1 - POWER)
    counts = discordant(measured)
    if counts:
        share = samples / measured.samples
        lost, gained = (math.floor(count * share + 0.5) for count in counts)
        gained = min(gained, samples - min(lost, samples))
        lost = min(lost, samples)
        return bounds.tango_upper(lost, gained, samples, normal_tail(reach))
    spread = measured.standard_error * math.sqrt(measured.samples / samples)
    return measured.drop + reach * spread


def judge(measurements: Mapping[str, Measurement], goal: Goal, look: int) -> dict[str, Verdict]:
    """A verdict for every metric that was measured.

    Args:
        look: which look at these samples it is; 0 for samples that are looked at just once.
    """
    alpha = goal.alpha(look)
    verdicts = {}
    for name, measured in measurements.items():
        bound, low, high = bound_and_interval(measured, alpha)
        verdicts[name] = Verdict(name, measured, bound, low, high, goal.max_drop.get(name))
    return verdicts


def normal_tail(z: float) -> float:
    """The share of the normal distribution above z."""
    return math.erfc(z / math.sqrt(2)) / 2


def refuse_undecidable(
    metrics: Mapping[str, Declaring], binary: Collection[str], goal: Goal, samples: int, holdout: float
) -> None:
    """Say before the scan that a limit cannot be shown with these samples, however good the plan.

    Args:
        metrics: by spec.
        binary: those whose per-sample values are 0 or 1.
        samples: of the hold-out split.
        holdout: its share of all samples.

    Raises:
        UsageError: a limit is all of the metric's range, or more.
        GoalError: only a plan that beats the dense model could pass; the message has the number of samples that
            would do, and the limit that could be decided. Or a bootstrap of so few samples is worth nothing.
    """
    for name, limit in goal.max_drop.items():
        if metrics[name].unit == "fraction" and limit >= 1:
            raise UsageError(
                f"--max-drop {name}={limit:g} allows to lose everything; a drop is absolute, so 0.05 is five points"
            )
    alpha = goal.alpha(1)
    if alpha is None:
        return
    for name, limit in goal.max_drop.items():
        if name not in binary:
            if samples < FEWEST:
                raise GoalError(
                    f"{samples} hold-out samples are too few for a bound on {name}; give "
                    f"{math.ceil(FEWEST / holdout)} samples in all, or --confidence none"
                )
            continue
        smallest = bounds.smallest_limit(samples, alpha)
        if limit < smallest:
            enough = (
                f"give {math.ceil(bounds.samples_needed(limit, alpha) / holdout)} samples in all, " if limit else ""
            )
            raise GoalError(
                f"a drop of {limit:g} in {name} cannot be shown with {samples} hold-out samples at "
                f"{goal.confidence:.0%} confidence, unless the plan beats the dense model; {enough}"
                f"--max-drop {name}={math.ceil(smallest * 1000) / 1000:g} or more, or --confidence none"
            )


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
