"""Bilinear resizing of maps and masks in numpy, as torch's with `align_corners=False`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BAND_VALUES = 1 << 23
# Of all maps of a band: 32 MiB in float32.


def largest_resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize maps (K, h, w) to (K, H, W), some rows at a time, and say which is the largest, (H, W)."""
    largest = np.empty(size, np.uint8)
    step = max(1, _BAND_VALUES // (len(maps) * size[1]))
    for start in range(0, size[0], step):
        rows = slice(start, start + step)
        largest[rows] = resize_bilinear(maps, size, rows).argmax(axis=0)
    return largest


def resize_bilinear(
    maps: NDArray[np.float32], size: tuple[int, int], rows: slice = slice(None)
) -> NDArray[np.float32]:
    """Resize maps (..., h, w) to (..., H, W), or to some rows of that."""
    if maps.shape[-2:] == size:
        return maps[..., rows, :]
    low, high, share = (each[rows] for each in _neighbours(maps.shape[-2], size[0]))
    found: NDArray[np.float32] = (
        maps[..., low, :] * (1 - share[:, None]) + maps[..., high, :] * share[:, None]
    )
    low, high, share = _neighbours(maps.shape[-1], size[1])
    return found[..., low] * (1 - share) + found[..., high] * share


def _neighbours(length: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Give the two pixels that each new one lies between, and its share of the second."""
    places = np.maximum((np.arange(wanted) + 0.5) * (length / wanted) - 0.5, 0)
    low = np.minimum(places.astype(np.intp), length - 1)
    return low, np.minimum(low + 1, length - 1), (places - low).astype(np.float32)


def paste_mask(
    cells: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Paste a mask into an image without rounding its box to pixels.

    Args:
        cells: Probabilities inside the box, (m, m).
        box: x1, y1, x2, y2 in pixels of the image.
        size: (H, W) of the image in pixels.
    Returns:
        Probability at the centre of each pixel, (H, W): interpolated between the centres of the cells, 0
        beyond the box.
    """
    x1, y1, x2, y2 = (float(each) for each in box)
    pasted = np.zeros(size, np.float32)
    rows, by_row = _interpolation(y1, y2, size[0], cells.shape[0])
    columns, by_column = _interpolation(x1, x2, size[1], cells.shape[1])
    pasted[rows, columns] = by_row @ cells @ by_column.T
    return pasted


def _interpolation(start: float, end: float, length: int, side: int) -> tuple[slice, NDArray[np.float32]]:
    """Give the pixels near a box along one axis, and the weight of each cell in each of them, (n, m)."""
    cell = max(end - start, 1e-3) / side
    # Half a cell beyond the box the mask has faded to 0.
    first = min(max(int(start - cell), 0), length)
    last = min(max(int(end + cell) + 1, first), length)
    places = (np.arange(first, last) + 0.5 - start) / cell - 0.5
    weights = 1 - np.abs(places[:, None] - np.arange(side))
    return slice(first, last), np.maximum(weights, 0).astype(np.float32)
