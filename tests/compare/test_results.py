"""What the numbers of a comparison allow to say."""

from __future__ import annotations

import pytest

from mscsa.compare.results import verdict
from tests.compare.made import result


def test_interval_of_paired_differences() -> None:
    """Differences 1, 2, 3: mean 2, std 1, and 4.303 / sqrt(3) = 2.484 on both sides."""
    compared = result((70.0, 72.0, 74.0), (71.0, 74.0, 77.0))
    assert compared.differences == (1.0, 2.0, 3.0)
    assert compared.interval == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert "within the spread of the seeds" in verdict(compared)


def test_verdict_names_gain_and_loss_only_beyond_the_spread() -> None:
    assert "is better than" in verdict(result((70.0, 72.0, 74.0), (72.0, 74.1, 75.9)))
    assert "is worse than" in verdict(result((72.0, 74.1, 75.9), (70.0, 72.0, 74.0)))
    assert "within the spread" in verdict(result((70.0, 72.0, 74.0), (74.0, 72.0, 71.0)))
    assert "says nothing" in verdict(result((70.0,), (80.0,)))


def test_many_seeds_take_the_widest_quantile_left() -> None:
    values = tuple(70.0 + 0.1 * (i % 2) for i in range(14))
    low, high = result((70.0,) * 14, values).interval or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 2.262 * 0.05188 / 14**0.5, rel=1e-3)
