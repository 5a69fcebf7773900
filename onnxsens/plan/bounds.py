"""How large a drop may really be, given the samples: bounds and intervals. Knows nothing of models or metrics.

A drop is a mean of paired differences, positive where quality was lost. For values that are 0 or 1 it is
(lost - gained) / samples, and Tango's score bound holds its level in small samples and has width even where no
sample differs. For others there is the bootstrap of the paired differences.

The score bound (Tango, Statistics in Medicine 1998; 17: 891-908). With b lost, c gained of n and a
difference d, the statistic and the most likely probability q of a gain under that d are

    T(d) = (b - c - n d) / sqrt(n (2 q + d (1 - d)))
    q    = (sqrt(B^2 - 4 A C) - B) / (2 A),   A = 2 n,   B = (2 n - b + c) d - b - c,   C = -c d (1 - d)

and the upper bound of level 1 - alpha is the d above the estimate at which T(d) = -z.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from onnxsens.arrays import Float64Array

RESAMPLED_AT_ONCE = 2_000_000  # indices, their values, and one copy: 48 MB
SMALLEST_SPREAD = 0.1  # of a resample, as a share of the sample's own


def tango_upper(lost: int, gained: int, samples: int, alpha: float) -> float:
    """The largest drop that the counts do not contradict at level `alpha`, one-sided.

    Args:
        lost: samples that were right before and are wrong now.
        gained: samples that were wrong before and are right now.
        samples: all samples, at least 1.
        alpha: error rate, in (0, 0.5).
    Returns:
        In [-1, 1], above the estimate (lost - gained) / samples, unless that is 1.
    Raises:
        ValueError: impossible counts or alpha.
    """
    if not (lost >= 0 and gained >= 0 and samples >= 1 and lost + gained <= samples):
        raise ValueError(f"{lost} lost and {gained} gained of {samples} samples cannot be; count pairs")
    z = normal_quantile(alpha)
    # Where every sample agrees, or every sample moved the same way, the variance at the estimate is 0, and the
    # equation has a second, trivial root there. The other one:
    if lost == gained == 0:
        return z**2 / (samples + z**2)
    if gained == samples:
        return (z**2 - samples) / (z**2 + samples)
    if lost == samples:
        return 1.0

    def excess(drop: float) -> float:
        """Positive while `drop` is not contradicted."""
        return lost - gained - samples * drop + z * math.sqrt(samples * variance(drop, lost, gained, samples))

    return float(brentq(excess, (lost - gained) / samples, 1.0, xtol=1e-14))


def tango_interval(lost: int, gained: int, samples: int, confidence: float) -> tuple[float, float]:
    """Two-sided score interval of the drop; each end is a one-sided bound at half of the error rate.

    Raises:
        ValueError: impossible counts or confidence.
    """
    alpha = (1.0 - confidence) / 2.0
    return -tango_upper(gained, lost, samples, alpha), tango_upper(lost, gained, samples, alpha)


def variance(drop: float, lost: int, gained: int, samples: int) -> float:
    """Of one paired difference, were the true drop `drop` and the rest as likely as can be; at least 0."""
    a = 2.0 * samples
    b = (2.0 * samples - lost + gained) * drop - lost - gained
    c = -gained * drop * (1.0 - drop)
    gain = (math.sqrt(max(b * b - 4.0 * a * c, 0.0)) - b) / (2.0 * a)  # below 0 by rounding only
    return max(2.0 * gain + drop * (1.0 - drop), 0.0)


def smallest_limit(samples: int, alpha: float) -> float:
    """The smallest drop that can be excluded with so many samples: `tango_upper` of no difference at all."""
    return tango_upper(0, 0, samples, alpha)


def samples_needed(limit: float, alpha: float) -> int:
    """The fewest samples with which a drop above `limit` can be excluded, where none of them differs.

    Args:
        limit: in (0, 1].
        alpha: error rate, in (0, 0.5).
    Raises:
        ValueError: no number of samples is enough for a limit of 0 or less.
    """
    if not 0.0 < limit <= 1.0:
        raise ValueError(f"a limit of {limit:g} needs no finite number of samples; it lies in (0, 1]")
    z = normal_quantile(alpha)
    samples = max(1, math.ceil(z**2 * (1.0 - limit) / limit))  # z^2 / (n + z^2) <= limit, solved for n
    while smallest_limit(samples, alpha) > limit:  # rounding of the line above
        samples += 1
    while samples > 1 and smallest_limit(samples - 1, alpha) <= limit:
        samples -= 1
    return samples


def bootstrap_bounds(
    drops: Float64Array, levels: Sequence[float], rng: np.random.Generator, resamples: int = 10_000
) -> list[float]:
    """Bootstrap-t bounds of the mean drop: at level 0.975, what it does not exceed but with probability 0.025.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5. Of skewed drops, such as KL, the
    plain percentile bound is exceeded two to three times as often as it says with few samples; this one less than
    half of that. It has no width where all drops are equal. NaN where a drop is NaN.

    Args:
        drops: `[samples]`, paired differences; not empty.
        levels: each in (0, 1); below one half they are lower bounds.
        rng: draws the resamples, the same ones for all levels.
        resamples: how many.
    """
    if not all(0.0 < level < 1.0 for level in levels):
        raise ValueError(f"levels {list(levels)} are not in (0, 1)")
    means, deviations = resampled(drops, rng, resamples)
    mean, deviation = float(drops.mean()), float(drops.std())
    if not deviation > 0:
        return [mean if deviation == 0 else float("nan")] * len(levels)
    # A resample of nearly equal drops would blow the quotient up, and says nothing.
    quotients = (means - mean) / np.maximum(deviations, SMALLEST_SPREAD * deviation)
    return [mean - float(np.quantile(quotients, 1.0 - level)) * deviation for level in levels]


def resampled(drops: Float64Array, rng: np.random.Generator, resamples: int) -> tuple[Float64Array, Float64Array]:
    """`[resamples]` each: means and standard deviations of as many drops, drawn with replacement."""
    if drops.size == 0:
        raise ValueError("there are no drops to resample; give at least one sample")
    means, deviations = np.empty(resamples), np.empty(resamples)
    rows = max(1, RESAMPLED_AT_ONCE // drops.size)
    for start in range(0, resamples, rows):
        drawn = drops[rng.integers(drops.size, size=(min(rows, resamples - start), drops.size))]
        means[start : start + rows] = drawn.mean(axis=1)
        deviations[start : start + rows] = drawn.std(axis=1)
    return means, deviations


def normal_quantile(alpha: float) -> float:
    """z with P(Z > z) = alpha.

    Raises:
        ValueError: alpha outside (0, 0.5), where z would not be above 0.
    """
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"an error rate of {alpha:g} bounds nothing; it lies in (0, 0.5)")
    return -float(ndtri(alpha))
