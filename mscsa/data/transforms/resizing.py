"""The size that an image is brought to."""

from __future__ import annotations


def resized_size(
    size: tuple[int, int], short_side: int, long_side: int, factor: float = 1.0
) -> tuple[int, int]:
    """Scale (width, height) to a shorter side of `short_side`, or less for a longer one of `long_side`.

    Both limits are multiplied by `factor`.
    """
    scale = factor * min(short_side / min(size), long_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
