"""Intervals: known values, coverage, and what is refused."""

import numpy as np
import pytest

from pipeline.intervals import around, bootstrap_mean, paired_difference, proportion


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (50, 100, 0.4038, 0.5962),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I
        (15, 148, 0.0624, 0.1605),  # the same
    ],
)
def test_proportion_is_wilsons(successes, n, low, high):
    assert proportion(successes, n) == pytest.approx((low, high), abs=1e-4)


def test_proportion_refuses_more_successes_than_trials():
    with pytest.raises(ValueError, match="11 successes of 10"):
        proportion(11, 10)


def test_bootstrap_covers_the_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        _, low, high = bootstrap_mean(generator.normal(1.0, 1.0, 60), seed)
        hits += low <= 1.0 <= high
    assert 88 <= hits <= 99


def test_bootstrap_is_repeatable_and_holds_its_mean():
    values = [0.1, 0.5, 0.9, 0.4]
    assert bootstrap_mean(values, 7) == bootstrap_mean(values, 7)
    mean, low, high = bootstrap_mean(values, 7)
    assert mean == pytest.approx(0.475)
    assert low < mean < high
    assert bootstrap_mean([2.0], 0) == (2.0, 2.0, 2.0)


def test_bootstrap_refuses_an_empty_list():
    with pytest.raises(ValueError, match="at least one number"):
        bootstrap_mean([], 0)


def test_paired_difference_is_narrower_than_the_spread_of_items():
    generator = np.random.default_rng(1)
    base = generator.normal(0, 10, 200)
    mean, low, high = paired_difference(base + 1 + generator.normal(0, 0.1, 200), base, 0)
    assert low < 1 < high
    assert high - low < 0.1
    assert mean == pytest.approx(1, abs=0.05)


def test_paired_difference_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="2 values against 1"):
        paired_difference([1, 2], [1], 0)


def test_a_distances_interval_holds_it_though_every_resample_is_larger():
    assert around(0.04, np.linspace(0.05, 0.11, 1001)) == pytest.approx((0.0115, 0.0685), abs=1e-4)
    assert around(0.01, np.linspace(0.0, 0.2, 1001))[0] == 0.0, "no distance is below 0"
