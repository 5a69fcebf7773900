"""Whether two measured drops differ by more than noise. Numbers in, p-values out.

The test is that of the normal distribution, two-sided: z = (b - a) / sqrt(ea^2 + eb^2), with the standard errors ea, eb
of means over samples. It takes the two measurements for independent.

- Other samples in each run, as with other data: they are.
- The same samples, as with two checkpoints on one data set: they are not. A sample that is hard for one is mostly hard
  for the other, so their errors move together, and the difference has less noise than is reckoned here:
  Var(b - a) = ea^2 + eb^2 - 2 Cov(a, b). The test then finds less than a paired one would, and says noise where there
  is more. A paired one needs the drop of each sample, which a run does not keep.
- Were they to move against each other, the test would be too bold; nothing known makes the drops of two models on the
  same samples do that.

A mean over few samples is not normal, and the normal distribution is too bold then: below 30 samples nothing is told.
That holds for rare events too: where less than about five samples of either run have changed at all, an accuracy's
p-values are rough. Where neither has an error, equal drops are equal and of others nothing is told.

A point that was stopped early, because its search's question was answered, stopped where chance had taken it, and its
error tells a little less than all of it; runs with `--exact` have no such points.

Several tests: each weight counts once, by the smallest p-value of its points times their number (Bonferroni), and
weights and metrics are corrected together by Holm's step-down method (Scand. J. Statist. 6, 1979). Both hold whatever
the dependence between points, so the chance of one false alarm or more among everything is at most alpha.
"""

from collections.abc import Sequence
from math import erfc, isfinite, sqrt

ALPHA = 0.05
FEWEST_SAMPLES = 30
BOUND95 = 1.959963984540054  # of the normal distribution; a 95 % interval is twice as many standard errors wide


def p_value(difference: float, a_error: float, b_error: float, samples: int) -> float | None:
    """Of no difference.

    Args:
        samples: of the run with fewer.
    Returns:
        In [0, 1]; None where nothing can be told.
    """
    if difference == 0:
        return 1.0
    error = sqrt(a_error**2 + b_error**2)
    if samples < FEWEST_SAMPLES or error == 0 or not isfinite(error) or not isfinite(difference):
        return None
    return erfc(abs(difference) / error / sqrt(2))


def beyond(value: float, one: float, other: float) -> float:
    """How far a value lies outside of what two others span; 0 inside, negative below.

    A curve that does not fall passes, between two points, through nothing but what they span.
    """
    low, high = sorted((one, other))
    return value - high if value > high else min(0.0, value - low)


def of_any(found: Sequence[float | None]) -> float | None:
    """Of no difference at any of several points, dependent as they may be."""
    told = [p for p in found if p is not None]
    return min(1.0, len(told) * min(told)) if told else None


def holm(found: Sequence[float | None]) -> list[float | None]:
    """The same p-values, corrected for their number; those that are None do not count."""
    told = sorted((p, place) for place, p in enumerate(found) if p is not None)
    corrected: list[float | None] = [None] * len(found)
    most = 0.0
    for rank, (p, place) in enumerate(told):
        most = max(most, min(1.0, (len(told) - rank) * p))
        corrected[place] = most
    return corrected
