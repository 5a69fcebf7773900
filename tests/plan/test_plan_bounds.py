"""Bounds of a drop: published and brute-force values, coverage by simulation, and laws."""

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import norm

from onnxsens.plan import bounds
from onnxsens.plan.bounds import (
    bootstrap_bounds,
    resampled,
    samples_needed,
    smallest_limit,
    tango_interval,
    tango_upper,
)

COUNTS = [
    (1, 7, 21),
    (40, 20, 160),
    (0, 3, 30),
    (3, 0, 30),
    (9, 1, 10),
    (5, 5, 10),
    (2, 2, 500),
    (29, 0, 30),
    (0, 29, 30),
]


def upper_by_brute_force(lost: int, gained: int, samples: int, alpha: float, step: float) -> float:
    """The largest drop on a grid that the score test accepts; the likelihood is maximised on a grid as well."""
    same = samples - lost - gained
    accepted = -1.0
    for drop in np.arange(-1.0 + step, 1.0, step):
        # Cells: lost q + d, gained q, same 1 - 2 q - d; all in [0, 1]. Zoom in on the likeliest q three times.
        low, high = max(0.0, -drop), (1.0 - drop) / 2.0
        for _ in range(4):
            q = np.linspace(low, high, 101)
            cells = np.stack([q + drop, q, 1.0 - 2.0 * q - drop]).clip(0.0)
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(cells)
                terms = [
                    np.where(count, count * log, 0.0) for count, log in zip((lost, gained, same), logs, strict=True)
                ]
            best = int(np.argmax(sum(terms)))
            low, high = q[max(best - 1, 0)], q[min(best + 1, 100)]
        lost_rate, gained_rate = float(q[best] + drop), float(q[best])
        error = math.sqrt(max(lost_rate + gained_rate - drop**2, 1e-300) / samples)
        if ((lost - gained) / samples - drop) / error >= -norm.isf(alpha):
            accepted = drop
    return accepted


@pytest.mark.parametrize(("lost", "gained", "samples"), COUNTS)
def test_tango_equals_the_inversion_of_the_score_test_on_a_grid(lost: int, gained: int, samples: int) -> None:
    step = 0.01
    for alpha in (0.05, 0.3):
        brute = upper_by_brute_force(lost, gained, samples, alpha, step)
        assert brute - 1e-6 <= tango_upper(lost, gained, samples, alpha) <= brute + step + 1e-6


def test_tango_gives_the_published_interval() -> None:
    # Bentur et al. 2009: 1 and 7 discordant of 21 pairs; Tango's interval as given by Fagerland, Lydersen & Laake,
    # Statistics in Medicine 2014; 33: 2850-2875.
    assert tango_interval(1, 7, 21, 0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("samples", [1, 20, 3000])
@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.4])
def test_where_no_sample_differs_the_bound_has_a_closed_form(samples: int, alpha: float) -> None:
    z = norm.isf(alpha)
    assert tango_upper(0, 0, samples, alpha) == pytest.approx(z**2 / (samples + z**2), rel=1e-12)


@pytest.mark.parametrize("samples", [1, 20, 3000])
def test_where_every_sample_gained_the_bound_is_near_minus_one(samples: int) -> None:
    z = norm.isf(0.05)
    assert tango_upper(0, samples, samples, 0.05) == pytest.approx((z**2 - samples) / (z**2 + samples), rel=1e-12)
    assert tango_upper(samples, 0, samples, 0.05) == 1.0


def test_the_bound_has_no_jump_where_its_closed_forms_take_over() -> None:
    for samples in (50, 5_000, 500_000):
        assert tango_upper(0, samples - 1, samples, 0.05) - tango_upper(0, samples, samples, 0.05) < 4.0 / samples
        assert tango_upper(1, 0, samples, 0.05) - tango_upper(0, 0, samples, 0.05) < 4.0 / samples


def test_the_bound_lies_between_the_estimate_and_one() -> None:
    samples = 12
    for lost in range(samples + 1):
        for gained in range(samples + 1 - lost):
            for alpha in (1e-9, 0.01, 0.499):
                bound = tango_upper(lost, gained, samples, alpha)
                assert (lost - gained) / samples <= bound <= 1.0
                assert bound > (lost - gained) / samples or lost == samples


def test_more_lost_samples_raise_the_bound_and_more_gained_ones_lower_it() -> None:
    samples = 15
    for gained in range(6):
        bounds = [tango_upper(lost, gained, samples, 0.05) for lost in range(samples + 1 - gained)]
        assert all(a < b for a, b in pairwise(bounds))
    for lost in range(1, 6):
        bounds = [tango_upper(lost, gained, samples, 0.05) for gained in range(samples + 1 - lost)]
        assert all(a > b for a, b in pairwise(bounds))


def test_a_smaller_error_rate_raises_the_bound_and_more_samples_lower_it() -> None:
    for lost, gained, samples in [*COUNTS, (0, 0, 30)]:
        bounds = [tango_upper(lost, gained, samples, alpha) for alpha in (0.3, 0.1, 0.01, 1e-6)]
        assert all(a < b for a, b in pairwise(bounds))
    bounds = [tango_upper(lost, 0, 100 * lost, 0.05) for lost in (1, 10, 100, 10_000)]
    assert all(a > b for a, b in pairwise(bounds))
    assert bounds[-1] == pytest.approx(0.01, abs=2e-4)


def test_a_large_sample_gives_the_normal_interval() -> None:
    lost, gained, samples = 30_000, 20_000, 1_000_000
    error = math.sqrt((0.05 - 0.01**2) / samples)
    assert tango_upper(lost, gained, samples, 0.05) == pytest.approx(0.01 + norm.isf(0.05) * error, abs=1e-6)


def test_exchanging_both_models_mirrors_the_interval() -> None:
    for lost, gained, samples in COUNTS:
        low, high = tango_interval(lost, gained, samples, 0.95)
        assert tango_interval(gained, lost, samples, 0.95) == (-high, -low)
        assert low <= (lost - gained) / samples <= high
        assert high == tango_upper(lost, gained, samples, (1 - 0.95) / 2)


@pytest.mark.parametrize(("lost_rate", "gained_rate", "samples"), [(0.05, 0.03, 200), (0.02, 0.0, 150), (0.2, 0.2, 40)])
def test_the_bound_covers_the_true_drop_as_often_as_it_says(lost_rate: float, gained_rate: float, samples: int) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(samples, [lost_rate, gained_rate, 1 - lost_rate - gained_rate], size=1000)
    bounds = [tango_upper(int(lost), int(gained), samples, 0.1) for lost, gained, _ in drawn]
    # Counts are discrete: 3 lost samples expected, and one is enough to cover, which it is in 95 % of the trials.
    assert 0.86 <= np.mean(np.array(bounds) >= lost_rate - gained_rate) <= 0.97


@pytest.mark.parametrize(("lost", "gained", "samples"), [(-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(lost: int, gained: int, samples: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        tango_upper(lost, gained, samples, 0.05)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, -0.1, math.nan])
def test_an_error_rate_that_bounds_nothing_is_refused(alpha: float) -> None:
    for call in (lambda: tango_upper(1, 1, 10, alpha), lambda: samples_needed(0.01, alpha)):
        with pytest.raises(ValueError, match="bounds nothing"):
            call()


@pytest.mark.parametrize("limit", [1e-4, 0.005, 0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("alpha", [0.0125, 0.05, 0.3])
def test_the_samples_needed_are_the_fewest(limit: float, alpha: float) -> None:
    samples = samples_needed(limit, alpha)
    assert smallest_limit(samples, alpha) <= limit
    assert samples == 1 or smallest_limit(samples - 1, alpha) > limit
    assert samples_needed(smallest_limit(samples, alpha), alpha) == samples


@pytest.mark.parametrize("alpha", [0.0125, 0.3])
def test_a_limit_that_is_missed_by_a_rounding_needs_one_sample_more(alpha: float) -> None:
    for samples in range(1, 60):
        limit = math.nextafter(smallest_limit(samples, alpha), 0.0)
        assert samples_needed(limit, alpha) == samples + 1


def test_samples_needed_by_hand() -> None:
    # z = 1.6449: n >= 2.7055 * 0.99 / 0.01 = 267.8.
    assert samples_needed(0.01, 0.05) == 268


@pytest.mark.parametrize("limit", [0.0, -0.01, 1.01, math.nan])
def test_no_number_of_samples_excludes_every_drop(limit: float) -> None:
    with pytest.raises(ValueError, match=r"it lies in \(0, 1\]"):
        samples_needed(limit, 0.05)


def test_the_bootstrap_bound_is_that_of_the_normal_law_for_many_samples() -> None:
    rng = np.random.default_rng(1)
    drops = rng.normal(0.3, 2.0, size=2000)
    error = drops.std() / math.sqrt(2000)
    low, high = bootstrap_interval(drops, 0.9, np.random.default_rng(2), 4000)
    assert bootstrap_upper(drops, 0.05, np.random.default_rng(2), 4000) == high
    assert high == pytest.approx(drops.mean() + norm.isf(0.05) * error, abs=0.1 * error)
    assert low == pytest.approx(drops.mean() - norm.isf(0.05) * error, abs=0.1 * error)


def test_the_bootstrap_of_two_samples_has_three_quotients() -> None:
    # (0, 1) drawn twice: means 0, 1/2, 1 with probability 1/4, 1/2, 1/4; the spread of equal ones counts as a tenth
    # of 1/2, so quotients are -10, 0, 10, and the bound of alpha below 1/4 is 1/2 + 10 * 1/2.
    drops = np.array([0.0, 1.0])
    bounds = [bootstrap_upper(drops, alpha, np.random.default_rng(0)) for alpha in (0.2, 0.3)]
    assert bounds == [5.5, 0.5]


def test_the_bootstrap_covers_the_true_drop_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    covered = [bootstrap_upper(rng.exponential(size=150) - 1.0, 0.1, rng, 400) >= 0.0 for _ in range(300)]
    assert np.mean(covered) == pytest.approx(0.88, abs=0.06)  # the percentile bound of a skewed mean is a little low


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="are not in"):
        bootstrap_bounds(np.zeros(3), [0.5, level], np.random.default_rng(0), 10)


def bootstrap_upper(drops: "np.ndarray", alpha: float, rng: np.random.Generator, resamples: int = 10_000) -> float:
    return bootstrap_bounds(drops, [1 - alpha], rng, resamples)[0]


def bootstrap_interval(
    drops: "np.ndarray", confidence: float, rng: np.random.Generator, resamples: int = 10_000
) -> tuple[float, float]:
    low, high = bootstrap_bounds(drops, [(1 - confidence) / 2, (1 + confidence) / 2], rng, resamples)
    return low, high


@pytest.mark.parametrize(("samples", "most"), [(30, 0.06), (100, 0.05), (400, 0.045)])
def test_the_bootstrap_of_skewed_drops_is_exceeded_about_as_often_as_it_says(samples: int, most: float) -> None:
    rng = np.random.default_rng(4)
    missed = [bootstrap_upper(rng.exponential(size=samples), 0.025, rng, 400) < 1.0 for _ in range(600)]
    assert np.mean(missed) <= most


def test_the_bootstrap_is_a_function_of_its_generator() -> None:
    drops = np.random.default_rng(0).normal(size=50)
    first, again, other = (bootstrap_upper(drops, 0.05, np.random.default_rng(seed), 100) for seed in (5, 5, 6))
    assert first == again != other


def test_ten_thousand_resamples_are_drawn_unless_others_are_asked_for() -> None:
    drops = np.random.default_rng(0).normal(size=20)
    assert bootstrap_bounds(drops, [0.9], np.random.default_rng(5)) == bootstrap_bounds(
        drops, [0.9], np.random.default_rng(5), 10_000
    )


@pytest.mark.parametrize("at_once", [1, 8, 12, 10**6])
def test_every_resample_is_drawn_however_many_are_drawn_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(bounds, "RESAMPLED_AT_ONCE", at_once)
    for value in (3.25, -7.5):
        means, deviations = resampled(np.full(4, value), np.random.default_rng(0), 5)
        assert means.tolist() == [value] * 5
        assert deviations.tolist() == [0.0] * 5
    drops = np.array([0.0, 1.0, 2.0, 4.0])
    drawn = np.random.default_rng(1).integers(4, size=(5, 4))
    means, deviations = resampled(drops, np.random.default_rng(1), 5)
    np.testing.assert_array_equal(means, drops[drawn].mean(axis=1))
    np.testing.assert_array_equal(deviations, drops[drawn].std(axis=1))


def test_the_bootstrap_has_no_width_where_all_drops_are_equal_and_is_nan_where_one_is() -> None:
    rng = np.random.default_rng(0)
    assert bootstrap_interval(np.full(9, 0.5), 0.95, rng, 50) == (0.5, 0.5)
    assert math.isnan(bootstrap_upper(np.array([math.nan] * 9), 0.05, rng, 50))
    assert math.isnan(bootstrap_upper(np.array([0.0] * 9 + [math.nan]), 0.05, rng, 50))
    with pytest.raises(ValueError, match=r"^there are no drops to resample; give at least one sample$"):
        bootstrap_upper(np.array([]), 0.05, rng)


def test_the_bootstrap_of_many_samples_stays_below_100_mb() -> None:
    drops = np.zeros(1_000_000)
    tracemalloc.start()
    try:
        bootstrap_upper(drops, 0.05, np.random.default_rng(0), 10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
