"""Many segmentations at once: the boxes of their pixels, and what is wrong with the damaged ones."""

from __future__ import annotations

import json
from array import array
from typing import Any

import numpy as np
from pycocotools import mask as official

from mscsa.data.coco.mask_checks import compacted, mask_bounds
from tests.data.coco.drawn_masks import SIZES, list_runs, masks_of, official_runs


def test_polygons_are_put_into_arrays_and_nothing_else_is_touched() -> None:
    text = json.dumps(
        {"segmentation": [[1, 2.5, 3], [4]], "bbox": [1, 2], "runs": {"counts": [5, 6], "size": [1, 11]}}
    )
    found = json.loads(text, object_hook=compacted)
    assert found["segmentation"] == [array("d", [1, 2.5, 3]), array("d", [4])]
    assert found["bbox"] == [1, 2] and found["runs"] == {"counts": [5, 6], "size": [1, 11]}
    for weird in ([["a", 1]], [[10**400]], [None], 5, None):
        assert compacted({"segmentation": weird}) == {"segmentation": weird}


def test_boxes_around_masks_are_those_of_their_pixels() -> None:
    segmentations: list[Any] = [None, []]
    sizes: list[tuple[float, float]] = [(8, 8), (np.nan, np.nan)]
    expected: list[list[float] | None] = [None, None]
    empty = []
    for size in SIZES:
        for mask in masks_of(size, 5):
            for runs in (official_runs(mask), list_runs(mask)):
                x, y, width, height = official.toBbox(official_runs(mask)).tolist()
                if not mask.any():
                    empty.append(len(segmentations))
                expected.append([x, y, x + width, y + height] if mask.any() else None)
                segmentations.append(runs)
                sizes.append(size)
    segmentations += [[[1.5, 2, 3, 4.25, 5, 6], [0, 9, 1, 1, 2, 2]], official_runs(np.ones((8, 8)))]
    sizes += [(np.nan, np.nan), (np.nan, np.nan)]
    expected += [[0, 1, 5, 9], None]
    damaged = [[[1.0, 2.0]], {"size": [8, 8], "counts": "P"}, {"size": [8, 8], "counts": [3]}, 7]
    for extra in ([], damaged):
        given = [compacted({"segmentation": each})["segmentation"] for each in segmentations + extra]
        bounds, bad = mask_bounds(given, np.array(sizes + [(8, 8)] * len(extra), float))
        wrong = list(range(len(segmentations), len(segmentations) + len(extra)))
        assert sorted(bad) == empty + wrong
        for i, box in enumerate(expected + [None] * len(extra)):
            assert np.isnan(bounds[i]).all() if box is None else bounds[i].tolist() == box
