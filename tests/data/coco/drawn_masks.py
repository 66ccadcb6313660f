"""Masks of all kinds, and their run lengths by pycocotools and counted pixel by pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask as official

SIZES = [(1, 1), (1, 40), (40, 1), (37, 53), (64, 64), (480, 640)]


def masks_of(size: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """Empty, full, single pixels, noise, blocks and discs."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    corner = np.zeros(size, bool)
    corner[0, 0] = corner[-1, -1] = True
    masks = [np.zeros(size, bool), np.ones(size, bool), corner, rng.random(size) < 0.5]
    masks += [rng.random(size) < 0.01, ~corner, (rows // 5 + columns // 7) % 2 == 0]
    masks.append((rows - height / 2) ** 2 + (columns - width / 3) ** 2 < (min(size) / 3) ** 2)
    return masks


def official_runs(mask: np.ndarray) -> dict[str, Any]:
    runs = official.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(runs["size"]), "counts": runs["counts"].decode()}


def list_runs(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths as a list, counted pixel by pixel."""
    counts, inside = [0], False
    for pixel in mask.ravel(order="F").tolist():
        if pixel != inside:
            counts.append(0)
            inside = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}
