"""What boxes of a whole file look like that are not x, y, width, height in pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BORDER_PX = 1.0
"""How far a box or polygon may reach outside its image: rounding, and pixels counted from 0 or from 1."""

SHARES = "these look like shares of the image's sides; COCO's are pixels"
CORNERS = "these look like x1, y1, x2, y2; COCO's are x, y, width, height"


def other_form(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> tuple[str, int] | None:
    """Tell the form that boxes of a file have by mistake.

    Each alone may be right: a small one in the corner of its image, a wrong one. All together are not. One
    without an area, as either form counts it, tells nothing of corners.

    Args:
        boxes: Four numbers each as the file has them, NaN or infinite for those that are damaged, (N, 4).
        sizes: (W, H) of the image of each in pixels, NaN where it is not known, (N, 2).
    Returns:
        `SHARES` or `CORNERS`, and the place of the first box that shows it; None if nothing is seen.
    """
    is_sound = np.isfinite(boxes).all(axis=1)
    is_share = is_sound & (np.abs(boxes) <= 1).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    if is_share.sum() > max(1, is_sound.sum() / 2):
        return SHARES, int(is_share.argmax())
    has_area = (boxes[:, 2:] > 0).all(axis=1) & (boxes[:, 2:] != boxes[:, :2]).all(axis=1)
    is_placed = is_sound & has_area & np.isfinite(sizes).all(axis=1)
    first, second, sides = boxes[is_placed, :2], boxes[is_placed, 2:], sizes[is_placed]
    is_outside = (first + second > sides + BORDER_PX).any(axis=1)
    fits = (first >= -BORDER_PX) & (second > first) & (second <= sides + BORDER_PX)
    if is_outside.sum() < 2 or not fits.all():
        return None
    return CORNERS, int(np.flatnonzero(is_placed)[is_outside][0])
