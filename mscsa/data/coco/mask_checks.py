"""Many segmentations at once: what is wrong with each, and where its pixels lie."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.coco.masks import (
    MIN_POLYGON,
    BadMask,
    check_counts,
    decompress,
    read_counts,
    read_polygons,
)

Bounds = NDArray[np.float64]
"""x1, y1, x2, y2 in pixels, (N, 4)."""


def compacted(entry: dict[str, Any]) -> dict[str, Any]:
    """Put the polygons of an annotation into arrays: a quarter of the memory of lists of floats.

    For `json.loads(..., object_hook=compacted)`; what is no polygon is left as it is.
    """
    polygons = entry.get("segmentation")
    if type(polygons) is list:
        with suppress(TypeError, OverflowError):
            entry["segmentation"] = [array("d", each) if type(each) is list else each for each in polygons]
    return entry


def mask_bounds(
    segmentations: Sequence[Any], sizes: NDArray[np.float64]
) -> tuple[Bounds, dict[int, BadMask]]:
    """Find the box around each segmentation, without drawing it.

    Args:
        segmentations: Polygons in arrays (`compacted`), run lengths, or what is empty (None, [], {}, or "",
            which tables make of null) where there is none, as for training, (N).
        sizes: (H, W) of the image of each in pixels, NaN where it is not known, (N, 2).
    Returns:
        The boxes, NaN where there is none: no segmentation, a damaged one, or run lengths for an image of
        unknown size; and what is wrong with the damaged ones, by place.
    """
    bounds = np.full((len(segmentations), 4), np.nan)
    bad: dict[int, BadMask] = {}
    polygons, runs = [], []
    for place, segmentation in enumerate(segmentations):
        if not segmentation:
            continue
        if isinstance(segmentation, dict):
            if np.isfinite(sizes[place]).all():
                runs.append(place)
        else:
            polygons.append(place)
    try:
        bounds[polygons] = _around_polygons([segmentations[place] for place in polygons])
    except (TypeError, ValueError):
        sound = [place for place in polygons if _is_sound(segmentations[place], place, bad)]
        bounds[sound] = np.array([_around_polygon(segmentations[place]) for place in sound]).reshape(-1, 4)
    image_sizes = [(int(height), int(width)) for height, width in sizes[runs].tolist()]
    around, bad_runs = _around_runs([segmentations[place] for place in runs], image_sizes)
    bounds[runs] = around
    return bounds, bad | {runs[i]: wrong for i, wrong in bad_runs.items()}


def _is_sound(segmentation: Any, place: int, bad: dict[int, BadMask]) -> bool:
    if isinstance(segmentation, list):
        segmentation = [each.tolist() if isinstance(each, array) else each for each in segmentation]
    try:
        read_polygons(segmentation)
    except BadMask as wrong:
        bad[place] = wrong
        return False
    return True


def _around_polygon(polygons: Sequence[Sequence[float]]) -> list[float]:
    points = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def _around_polygons(segmentations: Sequence[Any]) -> Bounds:
    """Find the boxes of all at once.

    Raises:
        TypeError, ValueError: If any of them is not sound.
    """
    if not segmentations:
        return np.empty((0, 4))
    if not all(type(each) is list and each for each in segmentations):
        raise TypeError  # what is empty would take the end of its neighbour for its own
    polygons = list(chain.from_iterable(segmentations))
    if not set(map(type, polygons)) <= {array}:
        raise TypeError
    lengths = np.fromiter(map(len, polygons), np.int64, len(polygons))
    if (lengths < MIN_POLYGON).any() or (lengths % 2).any():
        raise ValueError
    points = np.frombuffer(b"".join(polygons), np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError
    polygon_ends = np.cumsum([len(each) for each in segmentations])
    ends = np.cumsum(lengths // 2)[polygon_ends - 1]
    starts = np.concatenate(([0], ends[:-1]))
    return np.hstack([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)])


def _around_runs(
    segmentations: Sequence[dict[str, Any]], sizes: Sequence[tuple[int, int]]
) -> tuple[Bounds, dict[int, BadMask]]:
    """Find the boxes around the pixels of run lengths, and what is wrong with the damaged ones."""
    bounds = np.full((len(segmentations), 4), np.nan)
    bad: dict[int, BadMask] = {}
    texts = [i for i, each in enumerate(segmentations) if isinstance(each.get("counts"), str)]
    from_texts = _decompressed([segmentations[i]["counts"] for i in texts])
    decompressed = dict(zip(texts, from_texts, strict=True)) if from_texts is not None else {}
    sound: list[NDArray[np.int64]] = []
    places = []
    for i, (segmentation, size) in enumerate(zip(segmentations, sizes, strict=True)):
        try:
            if i in decompressed:
                check_counts(decompressed[i], segmentation.get("size"), size)
                sound.append(decompressed[i])
            else:
                sound.append(read_counts(segmentation, size))
            places.append(i)
        except BadMask as wrong:
            bad[i] = wrong
    bounds[places] = _around_pixels(sound, np.array([sizes[i][0] for i in places], np.int64))
    for i in places:
        if np.isnan(bounds[i, 0]):
            bad[i] = BadMask("run lengths without a pixel of the object", "draw it or remove the annotation")
    return bounds, bad


def _decompressed(texts: Sequence[str]) -> list[NDArray[np.int64]] | None:
    """Read run lengths all at once; None if any are damaged."""
    if not texts:
        return []
    try:
        lengths, firsts = decompress([text.encode(errors="surrogatepass") for text in texts])
    except BadMask:
        return None
    return np.split(lengths, firsts[1:])


def _around_pixels(counts: Sequence[NDArray[np.int64]], heights: NDArray[np.int64]) -> Bounds:
    """Find the boxes around the pixels inside; NaN for a mask without any."""
    bounds = np.full((len(counts), 4), np.nan)
    if not counts:
        return bounds
    flat = np.concatenate(counts)
    number = np.array([len(each) for each in counts])
    firsts = np.cumsum(number) - number
    owners = np.repeat(np.arange(len(counts)), number)
    pixels_before = np.cumsum(flat) - flat
    begins = pixels_before - pixels_before[firsts][owners]
    is_inside = ((np.arange(len(flat)) - firsts[owners]) % 2 == 1) & (flat > 0)
    owners, begins = owners[is_inside], begins[is_inside]
    if not len(owners):
        return bounds
    ends = begins + flat[is_inside] - 1
    height = heights[owners]
    left, right, top, bottom = begins // height, ends // height, begins % height, ends % height
    # A run that goes on in the next column fills the rows down to the last and from the first.
    top, bottom = np.where(left == right, top, 0), np.where(left == right, bottom, height - 1)
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    bounds[owners[starts]] = np.stack(
        [
            np.minimum.reduceat(left, starts),
            np.minimum.reduceat(top, starts),
            np.maximum.reduceat(right, starts) + 1,
            np.maximum.reduceat(bottom, starts) + 1,
        ],
        axis=1,
    )
    return bounds
