"""Other test images: the same ones for all runs, in blocks where they come from videos."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mscsa.compare.image_bootstrap import image_intervals
from mscsa.errors import UserError
from mscsa.evaluation.top1 import Hits

PAIR = [("mscsa", "baseline")]


def hits(values: np.ndarray) -> Hits:
    return Hits(np.arange(len(values)), values.astype(bool))


def test_a_gain_on_a_tenth_of_the_images() -> None:
    """Right on 100 of 1000 images more: 10 points, with the standard error of a share of 0.1."""
    gained = np.arange(1000) < 100
    counts = {"baseline": [hits(np.zeros(1000))], "mscsa": [hits(gained)]}
    ((low, high),) = image_intervals(counts, PAIR)
    half = 1.96 * 100 * math.sqrt(0.1 * 0.9 / 1000)
    assert (low, high) == pytest.approx((10 - half, 10 + half), abs=0.25)


def test_the_mean_over_seeds_is_resampled() -> None:
    """A gain of one seed on these images and of the other on those is the same gain on all."""
    first, second = np.arange(100) < 50, np.arange(100) >= 50
    counts = {"baseline": [hits(np.zeros(100))] * 2, "mscsa": [hits(first), hits(second)]}
    assert image_intervals(counts, PAIR) == [(50.0, 50.0)]


def test_both_arms_see_the_same_images() -> None:
    """Arms that are right on the same images never differ, whatever is drawn; apart they would."""
    random = np.random.default_rng(0).random(200) < 0.5
    counts = {"baseline": [hits(random)], "mscsa": [hits(random)]}
    assert image_intervals(counts, PAIR) == [(0.0, 0.0)]


def test_frames_that_resemble_each_other_say_less() -> None:
    """40 videos of 25 equal frames: drawn by video, the interval is that of 40 images."""
    gained = np.repeat(np.arange(40) < 8, 25)
    counts = {"baseline": [hits(np.zeros(1000))], "mscsa": [hits(gained)]}
    ((low, high),) = image_intervals(counts, PAIR, block=25)
    alone = {"baseline": [hits(np.zeros(40))], "mscsa": [hits(np.arange(40) < 8)]}
    assert (low, high) == image_intervals(alone, PAIR)[0]
    ((close, far),) = image_intervals(counts, PAIR)
    assert high - low > 4 * (far - close)


def test_the_last_block_may_be_shorter() -> None:
    """One of four blocks holds 1 of 10 images: a sample of these alone is 100 %."""
    gained = np.arange(10) == 9
    counts = {"baseline": [hits(np.zeros(10))], "mscsa": [hits(gained)]}
    ((low, high),) = image_intervals(counts, PAIR, block=3)
    assert low == 0.0 and 30 <= high <= 50  # two or three of four blocks: 2 / 8, 3 / 6


def test_pairs_come_in_their_order() -> None:
    counts = {"a": [hits(np.ones(20))], "b": [hits(np.zeros(20))], "c": [hits(np.zeros(20))]}
    assert image_intervals(counts, [("a", "b"), ("b", "a"), ("c", "b")]) == [
        (100.0, 100.0),
        (-100.0, -100.0),
        (0.0, 0.0),
    ]


def test_fewer_than_two_blocks_are_one_line() -> None:
    counts = {"baseline": [hits(np.zeros(9))], "mscsa": [hits(np.zeros(9))]}
    with pytest.raises(UserError, match="block=5 given: 9 test images .* give --block 4 or less"):
        image_intervals(counts, PAIR, block=5)
    assert image_intervals(counts, PAIR, block=4)
