"""Embedded scenes: real handwritten digits at many sizes on faint textures, rendered on the fly.

They make every task run offline. One scene carries a class label, boxes, instance masks and a
semantic mask. The digits are the 1,797 of the UCI set that scikit-learn bundles (8x8 pixels), split
by digit instance into train and val. The longer side of a digit is log-uniform from 1/8 (but at
least the source's 8 px) to 9/10 of the image's side, since scale variation is what multi-stage
attention is about. Digits are turned and stretched a little, else a small net soon knows them all.
Mirroring turns some into others or none: train without horizontal flips.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.data.contract import Split
from mscsa.data.seeding import derive_seed
from mscsa.errors import needs_extra

CLASS_NAMES = tuple("0123456789")
"""Class of label i; the semantic mask holds i + 1 there, and 0 on the background."""

MIN_CONTRAST = 0.3
"""Least brightness, of 1, by which each channel of a digit exceeds each pixel of the texture."""

SMALLEST_SIDE = 32
"""Least side of a scene in px."""

_SIZE_RANGE = (1 / 8, 9 / 10)
_VAL_SHARE = 0.2
_OCTAVES = (2, 4, 8, 16, 32)
# Share of each digit that stays visible, and of a new digit that may lie on earlier ones (two
# bright digits differ less from each other than from the texture).
_LEAST_VISIBLE = 0.8
_MOST_ON_OTHERS = 0.3
_PLACEMENT_TRIES = 8
_SOURCE_SIDE = 8
_MOST_TURN = math.radians(20)
_MOST_STRETCH = 0.25


@dataclass(frozen=True, eq=False)
class Scene:
    """One rendered image of side S with N >= 1 digits, each described as far as it is visible."""

    image: NDArray[np.uint8]
    """RGB, (S, S, 3)."""
    labels: NDArray[np.int64]
    """Digit of each instance, 0..9, in painting order (later ones lie on top), (N,)."""
    boxes: NDArray[np.float32]
    """Tight around the visible mask: x1, y1, x2, y2 in image px, x2 and y2 exclusive, (N, 4)."""
    masks: NDArray[np.bool_]
    """Visible pixels of each instance; no two overlap, (N, S, S)."""
    semantic: NDArray[np.uint8]
    """0 on the background, 1 + digit on visible instances, (S, S)."""


def render_scene(index: int, *, seed: int, split: Split, size: int, max_digits: int = 1) -> Scene:
    """Render scene `index`: the same for the same arguments, in any process.

    Args:
        index: Number of the scene, from 0.
        seed: Seed of the whole collection.
        split: Whose digit instances to use; the two share none.
        size: Side of the image in px, at least 32.
        max_digits: The number of digits is uniform in 1..max_digits; a digit that would hide too
            much of an earlier one wherever it is tried is left out.
    Raises:
        ValueError: If `size` or `max_digits` is too small.
        UserError: If scikit-learn, which holds the digits, is not installed.
    """
    if size < SMALLEST_SIDE or max_digits < 1:
        raise ValueError(
            f"scene of {size} px with up to {max_digits} digits: give at least {SMALLEST_SIDE} px and 1 digit"
        )
    glyphs, digits = digit_instances(split)
    rng = np.random.default_rng(derive_seed("scene", seed, split, index))
    image, brightest = _texture(rng, size)
    labels: list[int] = []
    areas: list[int] = []
    masks = np.zeros((max_digits, size, size), bool)
    for _ in range(int(rng.integers(1, max_digits + 1))):
        chosen = int(rng.integers(len(digits)))
        count = len(labels)
        placed = _place(rng, glyphs[chosen], masks[:count], areas)
        if placed is None:
            continue
        window, alpha = placed
        colour = rng.uniform(brightest + MIN_CONTRAST, 1.0).astype(np.float32)
        image[window] += alpha[:, :, None] * (colour - image[window])
        masks[:count, *window] &= alpha < 0.5
        masks[count, *window] = alpha >= 0.5
        areas.append(int(masks[count].sum()))
        labels.append(int(digits[chosen]))
    masks = masks[: len(labels)]
    semantic = np.zeros((size, size), np.uint8)
    for label, mask in zip(labels, masks, strict=True):
        semantic[mask] = label + 1
    return Scene(
        image=np.rint(image * 255).astype(np.uint8),
        labels=np.array(labels, np.int64),
        boxes=np.array([_tight_box(mask) for mask in masks], np.float32),
        masks=masks,
        semantic=semantic,
    )


@lru_cache(maxsize=2)
def digit_instances(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the source digits of a split: ink coverage (M, 8, 8) in 0..1, and labels (M,).

    Of each class, a fixed fifth is val; the split does not depend on any seed of a run.

    Raises:
        UserError: If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        what = "the scenes take their digits from scikit-learn, which is not installed"
        raise needs_extra(what, "train") from error
    bunch = load_digits()
    rng = np.random.default_rng(derive_seed("digit split"))
    is_val = np.zeros(len(bunch.target), bool)
    for digit in range(len(CLASS_NAMES)):
        members = rng.permutation(np.flatnonzero(bunch.target == digit))
        is_val[members[: round(_VAL_SHARE * len(members))]] = True
    chosen = is_val if split == "val" else ~is_val
    return (bunch.images[chosen] / 16).astype(np.float32), bunch.target[chosen].astype(np.int64)


def _texture(rng: np.random.Generator, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a faint texture (S, S, 3) in 0..1 and the brightest value of each channel, (3,)."""
    relief = np.zeros((size, size), np.float32)
    for octave, cells in enumerate(_OCTAVES):
        grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        relief += np.asarray(grid.resize((size, size), Image.Resampling.BICUBIC)) / 2**octave
    relief /= np.abs(relief).max()
    strength = rng.uniform(0.02, 0.1, 3).astype(np.float32)
    base = rng.uniform(0.1, 0.45, 3).astype(np.float32)
    return base + strength * relief[:, :, None], base + strength


def _place(
    rng: np.random.Generator,
    glyph: NDArray[np.float32],
    masks: NDArray[np.bool_],
    areas: list[int],
) -> tuple[tuple[slice, slice], NDArray[np.float32]] | None:
    """Scale a glyph and find it a place that leaves enough of the earlier digits visible.

    Args:
        masks: Visible pixels of the earlier digits, (n, S, S).
        areas: Their numbers of pixels before any was covered.
    Returns:
        Window of the image (rows, columns) and the digit's opacity there, or None where no place
        was found.
    """
    size = masks.shape[-1]
    smallest = max(_SIZE_RANGE[0] * size, _SOURCE_SIDE)
    length = float(np.exp(rng.uniform(np.log(smallest), np.log(_SIZE_RANGE[1] * size))))
    tile, margin = _warp_glyph(rng, glyph, length)
    height, width = np.array(tile.shape) - 2 * margin
    for _ in range(_PLACEMENT_TRIES):
        # The soft margin around the glyph is cut where it would leave the image.
        y = int(rng.integers(0, size - height + 1)) - margin
        x = int(rng.integers(0, size - width + 1)) - margin
        window = slice(max(0, y), y + tile.shape[0]), slice(max(0, x), x + tile.shape[1])
        alpha = tile[max(0, -y) : size - y, max(0, -x) : size - x]
        covered = alpha >= 0.5
        lost = np.count_nonzero(masks[:, *window] & covered, axis=(1, 2))
        left = np.count_nonzero(masks, axis=(1, 2)) - lost
        enough_left = np.all(left >= _LEAST_VISIBLE * np.array(areas))
        if enough_left and lost.sum() <= _MOST_ON_OTHERS * np.count_nonzero(covered):
            return window, alpha
    return None


def _warp_glyph(
    rng: np.random.Generator, glyph: NDArray[np.float32], length: float
) -> tuple[NDArray[np.float32], int]:
    """Turn, stretch and scale ink coverage (8, 8) smoothly.

    Args:
        length: Longer side of the result's ink in px, at least 8.
    Returns:
        Opacity (h + 2m, w + 2m) of ink of h x w px, and the margin m.
    """
    angle = rng.uniform(-_MOST_TURN, _MOST_TURN)
    stretch = np.exp(rng.uniform(-_MOST_STRETCH, _MOST_STRETCH))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    warp = turn * [stretch, 1.0]
    # Cells are measured from the glyph's centre, (x, y).
    inked = np.argwhere(glyph > 0.25)[:, ::-1] + 0.5 - _SOURCE_SIDE / 2
    warped = inked @ warp.T
    low, high = warped.min(0) - 0.5, warped.max(0) + 0.5
    px_per_cell = length / (high - low).max()
    margin = math.ceil(px_per_cell / 2)
    width, height = np.maximum(np.floor((high - low) * px_per_cell).astype(int), 1) + 2 * margin
    # Pillow asks for each pixel's source: its place in cells, unwarped, in the padded glyph.
    unwarp = np.linalg.inv(warp)
    start = unwarp @ (low - margin / px_per_cell) + _SOURCE_SIDE / 2 + 2
    (a, b), (c, d) = unwarp / px_per_cell
    source = Image.fromarray(np.pad(glyph, 2))
    ink = np.asarray(
        source.transform(
            (int(width), int(height)),
            Image.Transform.AFFINE,
            (a, b, start[0], c, d, start[1]),
            Image.Resampling.BICUBIC,
        )
    )
    # The outline lies near half coverage; this keeps its edge about a pixel wide at any size.
    return np.clip((ink / ink.max() - 0.45) * max(px_per_cell, 1.0) + 0.5, 0, 1), margin


def _tight_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
