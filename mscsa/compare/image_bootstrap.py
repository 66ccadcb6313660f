"""What a difference would be on other test images: the images are drawn again, the same for all runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mscsa.compare.statistics import ALPHA, Interval
from mscsa.errors import UserError
from mscsa.evaluation.image_counts import ImageCounts

_RESAMPLES = 2_000
_WEIGHTS_AT_ONCE = 4_000_000


def image_intervals(
    counts: Mapping[str, Sequence[ImageCounts]], pairs: Sequence[tuple[str, str]], *, block: int = 1
) -> list[Interval]:
    """Bootstrap the mean over seeds of the difference of two arms, over the test images.

    Each resample is scored anew from its images' counts, in every arm and seed the same ones.

    Args:
        counts: Arm -> counts of each seed, all of the same images.
        pairs: Arms (a, b), of which a - b is taken.
        block: Images that are drawn together, consecutive in the data set: frames of one video resemble each
            other, and say less than as many single images.
    Returns:
        95 % percentile interval in points of each pair.
    Raises:
        UserError: If the images make fewer than two blocks.
    """
    num_images = len(next(iter(counts.values()))[0].index)
    if 2 * block > num_images:
        raise UserError(
            f"block={block} given: {num_images} test images make fewer than 2 such blocks; give --block "
            f"{max(1, num_images // 2)} or less (the runs are kept)"
        )
    parts: dict[str, list[NDArray[np.float64]]] = {arm: [] for arm in counts}
    for weights in _resamples(num_images, block):
        for arm, seeds in counts.items():
            parts[arm].append(np.mean([each.scores(weights) for each in seeds], axis=0))
    means = {arm: np.concatenate(each) for arm, each in parts.items()}
    ends = (100 * ALPHA / 2, 100 * (1 - ALPHA / 2))
    intervals = [np.nanpercentile(means[a] - means[b], ends) for a, b in pairs]
    return [(float(low), float(high)) for low, high in intervals]


def _resamples(num_images: int, block: int) -> Iterator[NDArray[np.int64]]:
    """Say how often each image is in each resample, (R, N), some resamples at a time."""
    generator = np.random.default_rng(0)
    num_blocks = -(-num_images // block)
    at_once = max(1, _WEIGHTS_AT_ONCE // num_images)
    for first in range(0, _RESAMPLES, at_once):
        count = min(at_once, _RESAMPLES - first)
        drawn = generator.multinomial(num_blocks, np.full(num_blocks, 1 / num_blocks), size=count)
        yield drawn.repeat(block, axis=1)[:, :num_images]
