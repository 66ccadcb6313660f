"""What paired differences over seeds allow to say: a bootstrap interval and a test, which must agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np

from mscsa.errors import UserError

Interval = tuple[float, float]

ALPHA = 0.05
"""Largest p of a difference that is called one; the intervals are of 1 - `ALPHA`."""

MIN_SEEDS = 6
"""Fewest seeds whose sign-flip test can reach `ALPHA`: 2 / 2**6 = 0.031."""

_ENUMERATED = 10
_RESAMPLES = 99_999
# All resamples of up to 10 seeds, 92,378 of ten; of more, so many drawn at random.
_FLIPS = 99_999
# All sign patterns of up to 16 seeds; of more, so many drawn at random.
_IDENTICAL = 1e-9
# Scores in % of the same images differ by far more, or by rounding.


@dataclass(frozen=True, kw_only=True)
class PairedStatistics:
    """One arm against another over the same seeds."""

    differences: tuple[float, ...]
    """Of each seed, in points."""
    mean: float
    std: float | None
    """Sample standard deviation; None for one seed."""
    interval: Interval | None
    """95 % BCa bootstrap interval of the mean; None for one seed, and where all seeds differ by the same."""
    p: float
    """Two-sided sign-flip test of a mean of 0."""

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """Sign of a difference that both the interval and the test see; 0 where one of them does not."""
        if self.interval is None or self.p > ALPHA or includes_zero(self.interval):
            return 0
        return 1 if self.interval[0] > 0 else -1


def paired_statistics(differences: Sequence[float]) -> PairedStatistics:
    """Describe paired differences; the same differences always give the same numbers.

    Args:
        differences: In points, one for each seed.
    Raises:
        UserError: If there is none, or one is no number.
    """
    values = np.asarray(differences, np.float64)
    if not len(values):
        raise UserError("no differences given: give one for each seed")
    if not np.isfinite(values).all():
        raise UserError(
            f"differences {values.tolist()} given: a run has no score to compare by; look at its log"
        )
    return PairedStatistics(
        differences=tuple(values.tolist()),
        mean=float(values.mean()),
        std=float(values.std(ddof=1)) if len(values) > 1 else None,
        interval=_bca_interval(values),
        p=sign_flip_p(values),
    )


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Give the two-sided p of the mean under random signs: the share of sign patterns as far from 0.

    Exact up to 16 differences: with n of one sign it is 2 / 2**n, which nothing can be below.
    """
    from scipy.stats import permutation_test

    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return 1.0  # either sign is as far from 0
    found = permutation_test(
        (values,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=_FLIPS,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def smallest_p(num_seeds: int) -> float:
    """Give the smallest p that a sign-flip test on so many seeds can have."""
    return min(1.0, 2 / 2**num_seeds)


def includes_zero(interval: Interval) -> bool:
    """Say whether 0 lies in an interval, its ends included as far as rounding tells."""
    return interval[0] <= _IDENTICAL and interval[1] >= -_IDENTICAL


def _bca_interval(values: np.ndarray) -> Interval | None:
    """Bootstrap the mean, corrected for bias and skew (Efron 1987)."""
    from scipy.special import ndtr, ndtri

    count = len(values)
    if count < 2 or np.ptp(values) <= _IDENTICAL:
        return None  # no resample differs from another: the correction is 0 / 0
    drawn, chances = _resamples(count)
    from_mean = drawn @ values / count - values.mean()
    ties = np.abs(from_mean) <= _IDENTICAL
    bias = ndtri(chances[(from_mean < 0) & ~ties].sum() + chances[ties].sum() / 2)
    deviations = values - values.mean()  # of the means without one value, times n - 1, which cancels
    skew = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    ends = bias + ndtri([ALPHA / 2, 1 - ALPHA / 2])
    order = np.argsort(from_mean)
    places = np.searchsorted(chances[order].cumsum(), ndtr(bias + ends / (1 - skew * ends)))
    low, high = values.mean() + from_mean[order][np.minimum(places, len(order) - 1)]
    return float(low), float(high)


@cache
def _resamples(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Give resamples of n values: how often each value is in each, (R, n), and their chances, (R,).

    With few values these are all that there are. Random ones would do for a picture; but the mean of a few
    values moves by steps, and an end of the interval would be this or that step by chance.
    """
    from scipy.stats import multinomial

    evenly = np.full(count, 1 / count)
    if count > _ENUMERATED:
        drawn = np.random.default_rng(0).multinomial(count, evenly, size=_RESAMPLES)
        return drawn, np.full(_RESAMPLES, 1 / _RESAMPLES)
    places = np.array(list(combinations_with_replacement(range(count), count)))
    drawn = (places[:, :, None] == np.arange(count)).sum(axis=1)
    return drawn, multinomial.pmf(drawn, count, evenly)
