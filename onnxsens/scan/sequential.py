"""Predicts from the first samples the answer that all scan samples would give. Knows no engine and no store.

Samples come in random order and in growing blocks. After each block there is a best and a worst measurement that all
samples together may still turn out to give. A rule that never turns from no to yes as a drop or its spread grows is
asked about both: where the answers are the same, that is the answer; else the next block is measured.

The error rate is that of one question, over all its looks together: with probability 1 - alpha at least, what all
samples give lies between the two at every look. It is shared out evenly over the looks (Bonferroni): of the few looks
that a question has, that is tighter than a bound for any number of them, such as the asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (Ann. Statist. 52, 2024, arXiv:2103.06476), whose 1 % bound is at best 3.4
standard errors wide, where four looks take 3.0.

It is exact for values of 0 and 1 and for those between -1 and 1, where wrong answers are in fact far rarer. For others
it is asymptotic, and assumes skewness in proportion to the coefficient of variation, or bounded for drops of both
signs, and that the first block holds some of the samples that matter. In 500 random orders of 2,000 samples with each
of 78 KL curves of `fashion_cnn`, what all gave lay outside at some look in 0.5 % of cases, for the worst curve in 3 %;
at one fixed limit at most 1.8 % of answers were wrong. What is not assumed is not covered: where one sample in a
hundred loses a hundred times what others do, a fifth of the answers near the limit are wrong with a first block of 250.
"""

import math

from onnxsens.engine.questions import Measurement
from onnxsens.scan import population as bounds

ALPHA = 0.01  # of one question
FIRST = 250
SHARE = 0.6  # of all samples: a look past it saves too little

# Of the error rate, for the mean; the rest is for the spread, which matters less.
MEAN_SHARE = 0.9
FEWEST = 100  # unbounded values, before their sum is taken to be nearly normal
# Assumed skewness of drops of one sign over their coefficient of variation: 2 is that of a gamma law, 1 of values that
# are 0 but for a few; KL drops of `fashion_cnn` have up to 3.5. With 3 the most skewed miss three times as often as
# stated: in samples that miss, the coefficient of variation is too low as well.
SKEWNESS = 5.0
ONE_SIDED = 1e-3  # of the mean drop: no sample can be better by more than a dense value of so little
SIGNED_SKEWNESS = 5.0  # assumed of drops of both signs, where there is no such relation; cross-entropy has up to 3


def schedule(samples: int, first: int = FIRST) -> tuple[int, ...]:
    """Where blocks end: `first`, doubled each time while that is well short of all samples; then all of them."""
    ends = []
    end = first
    while end <= SHARE * samples:
        ends.append(end)
        end *= 2
    return (*ends, samples)


def extremes(
    measured: Measurement, population: int, *, alpha: float, looks: int, bounded: bool
) -> tuple[Measurement, Measurement]:
    """The best and the worst that all samples may turn out to give.

    Args:
        measured: over the first samples, in random order.
        population: all samples.
        alpha: error rate of the question, over all its looks together.
        looks: how often one may look before all samples are there, this time included; 1 or more.
        bounded: whether every drop is in [-1, 1].
    Returns:
        (best, worst), of `population` samples each; what the metric itself may be is not known (NaN), only its drop.
        Both are the measurement itself where it has all samples. Without any knowledge the drops are infinite.
    Raises:
        ValueError: more samples than the population has, or a metric that is no mean of per-sample values.
    """
    if not measured.extendable:
        raise ValueError("a metric of the whole set cannot be predicted from a part of it; measure all samples")
    if measured.samples > population:
        raise ValueError(f"{measured.samples} samples are more than the population of {population}")
    if measured.samples == population:
        return measured, measured
    share = alpha / looks / 2  # one side
    if measured.binary:
        return binary_extremes(measured, population, share)
    if bounded:
        return bounded_extremes(measured, population, share)
    return unbounded_extremes(measured, population, share)


def binary_extremes(measured: Measurement, population: int, alpha: float) -> tuple[Measurement, Measurement]:
    """Fewest lost and most gained, and the other way round, each count with half of `alpha`."""
    drawn = measured.samples
    lost, gained = round((measured.squares + measured.total) / 2), round((measured.squares - measured.total) / 2)

    def worst(lost: int, gained: int) -> tuple[int, int]:
        most = bounds.most_marked(lost, drawn, population, alpha / 2)
        fewest = bounds.fewest_marked(gained, drawn, population, alpha / 2)
        return most, fewest

    most_lost, fewest_gained = worst(lost, gained)
    most_gained, fewest_lost = worst(gained, lost)
    return (
        of_counts(fewest_lost, min(most_gained, population - fewest_lost), population),
        of_counts(min(most_lost, population - fewest_gained), fewest_gained, population),
    )


def of_counts(lost: int, gained: int, samples: int) -> Measurement:
    """A measurement of values that are 0 or 1."""
    return Measurement(samples, float(lost - gained), float(lost + gained), math.nan, math.nan, binary=True)


def bounded_extremes(measured: Measurement, population: int, alpha: float) -> tuple[Measurement, Measurement]:
    """Sums of drops and of their squares, both of bounded values: a fourth power is at most a square."""
    drawn, rest = measured.samples, population - measured.samples
    scale = population / drawn

    def between(total: float, least: float, share: float) -> tuple[float, float]:
        reach = bounds.bounded_reach(measured.squares, drawn, population, alpha * share)
        return max((total - reach) * scale, total + least * rest), min((total + reach) * scale, total + rest)

    low, high = between(measured.total, -1.0, MEAN_SHARE)
    few, many = between(measured.squares, 0.0, 1 - MEAN_SHARE)
    smallest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    largest = max(abs(low), abs(high))
    return (
        of_moments(population, low, few / population - (largest / population) ** 2),
        of_moments(population, high, many / population - (smallest / population) ** 2),
    )


def unbounded_extremes(measured: Measurement, population: int, alpha: float) -> tuple[Measurement, Measurement]:
    """Mean and spread by their asymptotic distributions, with assumed skewness.

    Drops of a distance from the dense model, which is 0 for the dense model itself but for rounding, are of one sign.
    """
    drawn, mean = measured.samples, measured.drop
    deviation = measured.standard_error * math.sqrt(drawn)
    if drawn < FEWEST or not deviation > 0:  # equal drops do not say how others might differ
        return of_moments(population, -math.inf, 0.0), of_moments(population, math.inf, 0.0)
    one_sided = abs(measured.dense) <= ONE_SIDED * mean
    skewness = SKEWNESS * deviation / mean if one_sided else SIGNED_SKEWNESS
    share = alpha * MEAN_SHARE
    above = bounds.mean_reach(deviation, skewness, drawn, population, share)
    below = bounds.mean_reach(deviation, 0.0, drawn, population, share) if one_sided else above
    factor = bounds.deviation_factor(skewness, drawn, population, alpha * (1 - MEAN_SHARE))
    return (
        of_moments(population, (mean - below) * population, (deviation / factor) ** 2),
        of_moments(population, (mean + above) * population, (deviation * factor) ** 2),
    )


def of_moments(samples: int, total: float, variance: float) -> Measurement:
    """A measurement with this sum and this variance of its drops."""
    squares = max(variance, 0.0) * samples + total**2 / samples
    return Measurement(samples, total, squares, math.nan, math.nan)
