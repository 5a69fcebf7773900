"""What a finite population may come to, given sums over a random part of it. Knows nothing of models or metrics.

Samples come in random order, so the first n of N are drawn without replacement. Three kinds of values, three bounds,
each of them one-sided, each with its own error rate `alpha` and for one look; several looks share an error rate.

Counts: exact. K of N are marked and k of n are seen, k is hypergeometric, and the upper bound is the largest K with
P(at most k seen) > alpha (Clopper & Pearson, Biometrika 26, 1934, for a finite population).

Bounded: values x in [-1, 1] with mean m. The sum S of the first t, centred and over the N - t that are left, is a
martingale (Serfling, Ann. Statist. 2, 1974). exp(l x - psi(l) x^2) <= 1 + l x for x >= -1 and 0 <= l < 1, with psi(l) =
-ln(1 - l) - l (Fan, Grama & Liu, Electron. J. Probab. 20, 2015), makes of it the empirical Bernstein supermartingale
of Waudby-Smith & Ramdas (NeurIPS 2020, arXiv:2006.04347, section 4). With their free weights set to l_t = L (N - n) /
(N - t) the sums telescope:

    E exp(L (S - n m) - P Q) <= 1,    P = mean_t psi(l_t),  Q = sum of squares

P is a mean, so that S and Q are all it takes: the average over all orders of the n values has the same expectation, and
is by Jensen's inequality at least the left side. A mixture over several L keeps it too. Against the empirical
Bernstein-Serfling bound (Bardenet & Maillard, Bernoulli 21, 2015, arXiv:1309.4029, theorem 4.3) nothing is spent on
estimating the variance: with n = 500 of N = 2,000 and alpha = 0.0015 it is a sixth as wide where one sample in a
hundred differs, and less than half where thirty do.

Unbounded: asymptotic only, see `mean_reach`.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp, ndtri, stdtrit

from onnxsens.arrays import Float64Array

BETS = 0.95 * 0.7 ** np.arange(9)  # the L of the mixture: from a handful of differing samples to thousands


@lru_cache(maxsize=4096)
def most_marked(seen: int, drawn: int, population: int, alpha: float) -> int:
    """The most that may be marked in all, when `seen` of `drawn` are; exact."""
    low, high = seen, population - drawn + seen
    while low < high:
        middle = (low + high + 1) // 2
        if at_most(seen, drawn, middle, population) > alpha:
            low = middle
        else:
            high = middle - 1
    return low


def fewest_marked(seen: int, drawn: int, population: int, alpha: float) -> int:
    """The fewest that may be marked in all: the others are the most that may be unmarked."""
    return population - most_marked(drawn - seen, drawn, population, alpha)


def at_most(seen: int, drawn: int, marked: int, population: int) -> float:
    """P(at most `seen` marked among `drawn`), hypergeometric."""
    counts = np.arange(max(0, drawn + marked - population), min(seen, drawn, marked) + 1)
    logs = log_choose(marked, counts) + log_choose(population - marked, drawn - counts)
    return float(np.exp(logs - log_choose(population, np.array(drawn))).sum())


def log_choose(items: int, chosen: np.typing.NDArray[np.int64]) -> Float64Array:
    """Logarithm of the binomial coefficient."""
    logs: Float64Array = gammaln(items + 1) - gammaln(chosen + 1) - gammaln(items - chosen + 1)
    return logs


@lru_cache(maxsize=64)
def bet_costs(drawn: int, population: int) -> Float64Array:
    """P of the module's docstring for every L."""
    left = (population - drawn) / (population - np.arange(1, drawn + 1))
    bets = BETS[:, None] * left
    costs: Float64Array = (-np.log1p(-bets) - bets).mean(axis=1)
    return costs


def bounded_reach(squares: float, drawn: int, population: int, alpha: float) -> float:
    """How far the sum of `drawn` values in [-1, 1] may lie from `drawn` times the population's mean, to one side."""
    costs = bet_costs(drawn, population) * squares
    wanted = math.log(len(BETS) / alpha)

    def excess(reach: float) -> float:
        return float(logsumexp(BETS * reach - costs)) - wanted

    # The best single bet of the mixture is enough alone, so the root is not beyond.
    return float(brentq(excess, 0.0, float(np.min((wanted + costs) / BETS)) + 1e-9))


def mean_reach(deviation: float, skewness: float, drawn: int, population: int, alpha: float) -> float:
    """How far below the population's mean the mean of `drawn` unbounded values may lie; asymptotic.

    The mean is nearly normal (Hájek, Publ. Math. Inst. Hung. Acad. Sci. 5, 1960), its variance smaller by the share of
    the population that is seen. Where values are right-skewed, such as KL, a mean that is too low comes with a standard
    error that is too low. With skewness g and a share f = n/N seen, the first term of the Edgeworth expansion moves
    the quantile z of (m - mean) / standard error by

        g / sqrt(n (1 - f)) ((1 - f) / 2 + (2 - f) (z^2 - 1) / 6)

    (Hall, J. R. Stat. Soc. B 54, 1992, has f = 0: g (2 z^2 + 1) / (6 sqrt(n)); the rest is our derivation from the
    moments of samples without replacement, and is tested by simulation.)

    Args:
        deviation: sample standard deviation.
        skewness: of the population, assumed; 0 or more.
    """
    unseen = 1 - drawn / population
    z = float(stdtrit(drawn - 1, 1 - alpha))
    shift = skewness / math.sqrt(drawn * unseen) * (unseen / 2 + (1 + unseen) * (z * z - 1) / 6)
    return (z + shift) * deviation * math.sqrt(unseen / drawn)


def deviation_factor(skewness: float, drawn: int, population: int, alpha: float) -> float:
    """By how much the population's standard deviation may be larger or smaller than the sample's; asymptotic.

    The logarithm of the variance has variance (kurtosis - 1) (1 - f) / n, kurtosis being 3 + 1.5 skewness^2 as of a
    gamma law.
    """
    kurtosis = 3 + 1.5 * skewness**2
    return math.exp(normal_quantile(alpha) / 2 * math.sqrt((kurtosis - 1) * (1 - drawn / population) / drawn))


def normal_quantile(alpha: float) -> float:
    """z with P(Z > z) = alpha."""
    return -float(ndtri(alpha))
