"""Interval and test over seeds: by hand where that goes, and a verdict only where both agree."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import bootstrap

from mscsa.compare.statistics import (
    ALPHA,
    MIN_SEEDS,
    includes_zero,
    paired_statistics,
    sign_flip_p,
    smallest_p,
)
from mscsa.errors import UserError

SIX = (0.4, 1.1, 0.7, 2.0, 0.9, 1.5)


def test_six_of_one_sign() -> None:
    """Of 64 sign patterns only all plus and all minus are as far from 0."""
    found = paired_statistics(SIX)
    assert found.p == 2 / 64
    assert found.mean == pytest.approx(1.1) and found.std == pytest.approx(np.std(SIX, ddof=1))
    assert found.interval is not None and found.interval[0] > 0
    assert found.direction == 1
    assert paired_statistics([-each for each in SIX]).direction == -1


@pytest.mark.parametrize("seed", range(5))
def test_sign_flips_are_counted_one_by_one(seed: int) -> None:
    values = np.random.default_rng(seed).normal(0.5, 1, 7).round(1)  # with ties
    signs = np.array(np.meshgrid(*[(-1, 1)] * 7)).reshape(7, -1)
    means = np.abs(signs.T @ values)
    assert sign_flip_p(values) == pytest.approx((means >= abs(values.sum()) - 1e-9).mean())


def test_three_seeds_by_hand() -> None:
    """1, 2, -1: of the patterns' sums ±4, ±2, ±2, 0, 0 two are beyond 2 on each side, or at it: 6 of 8."""
    assert sign_flip_p((1.0, 2.0, -1.0)) == pytest.approx(6 / 8)
    assert sign_flip_p((3.0,)) == 1.0
    assert sign_flip_p((0.0, 0.0, 0.0)) == 1.0


def test_the_test_is_exact_at_sixteen_and_close_beyond() -> None:
    assert sign_flip_p(np.linspace(1, 2, 16)) == pytest.approx(2 / 2**16)
    assert 0 < sign_flip_p(np.linspace(1, 2, 20)) <= 1e-4


def test_six_is_the_fewest_that_can_reach_five_percent() -> None:
    assert smallest_p(MIN_SEEDS) <= ALPHA < smallest_p(MIN_SEEDS - 1)
    assert [smallest_p(count) for count in (1, 2, 3, 6)] == [1.0, 0.5, 0.25, 2 / 64]
    for count in (2, 3, 5):
        assert sign_flip_p(SIX[:count]) == smallest_p(count)


@pytest.mark.parametrize(
    "values", [(0.1, 0.2, 0.5, 4.0), (1.3, -1.1, 2.0, 0.4, 0.9), (0.1, 0.2, 0.3, 0.5, 0.9, 4.0)]
)
def test_the_interval_is_bca_of_all_resamples(values: tuple[float, ...]) -> None:
    """Efron's correction for bias and skew, written out, on each of the n^n resamples."""
    sample = np.array(values)
    means = np.sort(np.array(list(product(values, repeat=len(values)))).mean(axis=1))
    ties = np.isclose(means, sample.mean())
    bias = ndtri(((means < sample.mean()) & ~ties).mean() + ties.mean() / 2)
    without = (sample.sum() - sample) / (len(sample) - 1)
    deviation = without.mean() - without
    skew = (deviation**3).sum() / (6 * (deviation**2).sum() ** 1.5)
    z = np.array([ndtri(0.025), ndtri(0.975)])
    shares = ndtr(bias + (bias + z) / (1 - skew * (bias + z)))
    expected = means[np.ceil(shares * len(means)).astype(int) - 1]
    assert paired_statistics(sample).interval == pytest.approx(expected, abs=1e-9)
    assert not np.allclose(expected, np.quantile(means, (0.025, 0.975)), atol=0.05), "corrects nothing"


def test_an_end_near_zero_is_no_matter_of_chance() -> None:
    """Of these, 9,999 random resamples put the lower end at -0.003 or 0.013 to 0.16, by their seed."""
    found = paired_statistics((1.335, 1.432, 1.717, 2.968, 2.076, -1.080)).interval
    assert found == pytest.approx((0.1205, 2.1463), abs=1e-3)


@pytest.mark.parametrize("unit", [1, 10])
def test_an_end_at_zero_includes_it_in_any_unit(unit: int) -> None:
    """A tenth is not exact in binary: the end comes out as 3e-17, which is no difference."""
    found = paired_statistics(np.array([-3, 4, 4, 2, 4, 4, 4, 1]) / unit)
    assert found.p < ALPHA and found.interval == pytest.approx((0, 3.625 / unit))
    assert found.direction == 0


@pytest.mark.parametrize("count", [10, 11, 16])
def test_the_interval_is_that_of_scipy(count: int) -> None:
    """All resamples of ten, and random ones of more; to the error of SciPy's sampling."""
    values = np.random.default_rng(count).gamma(1.0, 1.0, count)
    expected = bootstrap((values,), np.mean, n_resamples=99_999, method="BCa", rng=0).confidence_interval
    assert paired_statistics(values).interval == pytest.approx(tuple(expected), abs=0.03)


def test_the_same_differences_give_the_same_numbers() -> None:
    assert paired_statistics(SIX) == paired_statistics(SIX)


@pytest.mark.parametrize("differences", [(1.0,) * 6, (0.1 + 0.2, 0.3) * 3, (0.0,) * 6, (2.0,)])
def test_where_no_resample_differs_there_is_no_interval_and_no_verdict(
    differences: tuple[float, ...],
) -> None:
    found = paired_statistics(differences)
    assert found.interval is None and found.direction == 0


def test_two_seeds_have_an_interval_that_decides_nothing() -> None:
    found = paired_statistics((1.0, 3.0))
    assert found.interval == pytest.approx((1.0, 3.0)) and found.p == 0.5 and found.direction == 0


def test_a_direction_needs_both() -> None:
    clear = paired_statistics(SIX)
    assert replace(clear, p=0.051).direction == 0
    assert replace(clear, p=0.05).direction == 1
    assert replace(clear, interval=(-0.01, 2.0)).direction == 0
    assert replace(clear, interval=(0.0, 2.0)).direction == 0
    assert replace(clear, interval=(-2.0, -0.1)).direction == -1
    assert includes_zero((-1.0, 0.0)) and not includes_zero((0.1, 0.2))


def test_real_differences_on_which_the_two_disagree() -> None:
    """One seed of six the other way: the bootstrap excludes 0, 4 of 64 sign patterns are as far."""
    found = paired_statistics((1.0, 1.2, 0.9, 1.1, 1.3, -0.1))
    assert found.interval is not None and found.interval[0] > 0
    assert found.p == pytest.approx(4 / 64) and found.direction == 0


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_a_run_without_a_score_is_no_difference(missing: float) -> None:
    with pytest.raises(UserError, match="has no score to compare by"):
        paired_statistics([*SIX, missing])


def test_without_differences_there_is_nothing_to_describe() -> None:
    with pytest.raises(UserError, match="give one for each seed"):
        paired_statistics([])
