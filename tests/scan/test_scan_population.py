"""Bounds on a finite population: against enumeration of every possible sample, and formulas worked out by hand."""

from itertools import combinations, product
from math import comb, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import hypergeom, t

from onnxsens.scan.population import BETS as ALL_BETS
from onnxsens.scan.population import (
    at_most,
    bet_costs,
    bounded_reach,
    deviation_factor,
    fewest_marked,
    mean_reach,
    most_marked,
)

VALUES = (-1.0, -1.0, -0.3, 0.0, 0.0, 0.0, 0.2, 0.7, 1.0)
POPULATIONS = [VALUES, (1.0,) + (0.0,) * 8, (-1.0,) * 4 + (1.0,) * 5, (0.9, 0.8) + (-0.1,) * 7]


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_the_hypergeometric_sum_is_scipys(population: int, drawn: int, marked: int, seen: int) -> None:
    drawn, marked = min(drawn, population), min(marked, population)
    expected = hypergeom(population, marked, drawn).cdf(seen)
    assert at_most(min(seen, drawn), drawn, marked, population) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("population", "drawn"), [(2000, 250), (40, 13), (7, 6)])
def test_the_most_that_may_be_marked_is_the_last_that_is_not_unlikely(population: int, drawn: int) -> None:
    for seen in sorted({0, 1, drawn // 3, drawn}):
        marked = np.arange(seen, population - drawn + seen + 1)
        expected = marked[hypergeom.cdf(seen, population, marked, drawn) > 0.003].max()
        assert most_marked(seen, drawn, population, 0.003) == expected
        likely = marked[hypergeom.sf(seen - 1, population, marked, drawn) > 0.003]
        assert fewest_marked(seen, drawn, population, 0.003) == likely.min()


def test_none_seen_is_a_product_worked_out_by_hand() -> None:
    """P(none of 2 marked among 5 of 10) = (5/10) (4/9) = 0.222; of 3: times 3/8, 0.083."""
    assert most_marked(0, 5, 10, 0.2) == 2
    assert most_marked(0, 5, 10, 0.08) == 3
    assert fewest_marked(0, 5, 10, 0.2) == 0


@pytest.mark.parametrize("values", POPULATIONS)
@pytest.mark.parametrize("drawn", [1, 4, 8])
def test_every_bet_is_fair_over_all_samples(values: tuple[float, ...], drawn: int) -> None:
    mean, chances = sum(values) / len(values), comb(len(values), drawn)
    for bet, cost in zip(ALL_BETS, bet_costs(drawn, len(values)), strict=True):
        for sign in (1, -1):
            won = sum(
                exp(bet * sign * (sum(taken) - drawn * mean) - cost * sum(value**2 for value in taken))
                for taken in combinations(values, drawn)
            )
            assert won / chances <= 1 + 1e-12


@pytest.mark.parametrize("values", POPULATIONS)
@pytest.mark.parametrize("alpha", [0.02, 0.2])
def test_sums_of_bounded_values_keep_within_reach(values: tuple[float, ...], alpha: float) -> None:
    mean = sum(values) / len(values)
    for drawn in range(1, len(values)):
        beyond = [
            drawn * mean - sum(taken) > bounded_reach(sum(value**2 for value in taken), drawn, len(values), alpha)
            for taken in combinations(values, drawn)
        ]
        assert np.mean(beyond) <= alpha


def test_the_reach_without_any_difference_is_that_of_the_mixture() -> None:
    """With no squares: mean over L of exp(L y) = 1 / alpha."""
    reach = bounded_reach(0.0, 10, 100, 0.01)
    assert np.mean(np.exp(ALL_BETS * reach)) == pytest.approx(100)


def test_bounded_reach_is_narrower_than_bernstein_serfling() -> None:
    """Theorem 4.3 of Bardenet & Maillard, range 2, one-sided."""
    alpha = 0.0015
    for (population, drawn), share in product([(2000, 250), (2000, 1000), (5000, 2000)], [0.0, 0.01, 0.3]):
        rho = 1 - (drawn - 1) / population
        theirs = sqrt(2 * rho * share * log(5 / alpha) / drawn)
        theirs += (7 / 3 + 3 / sqrt(2)) * 2 * log(5 / alpha) / drawn
        assert bounded_reach(share * drawn, drawn, population, alpha) / drawn < 0.6 * theirs


def test_the_skewness_correction_is_halls_where_the_population_is_endless() -> None:
    z = t(99).ppf(0.99)
    hall = (z + 2.0 * (2 * z**2 + 1) / (6 * 10)) * 3.0 / 10
    assert mean_reach(3.0, 2.0, 100, 10**12, 0.01) == pytest.approx(hall)


def test_half_of_a_population_has_half_the_variance() -> None:
    assert mean_reach(1.0, 0.0, 100, 200, 0.01) == pytest.approx(t(99).ppf(0.99) / 10 / sqrt(2))


def test_a_spread_is_known_the_better_the_more_is_seen() -> None:
    """Kurtosis 3: sqrt(2 / 200) / 2 is the standard error of a logarithm of a deviation."""
    assert deviation_factor(0.0, 200, 10**12, 0.025) == pytest.approx(exp(1.959964 * sqrt(2 / 200) / 2))
    assert deviation_factor(3.0, 199, 200, 0.025) < deviation_factor(3.0, 100, 200, 0.025)
