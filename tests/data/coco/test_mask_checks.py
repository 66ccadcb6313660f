"""Many segmentations at once: the boxes of their pixels, and what is wrong with the damaged ones."""

from __future__ import annotations

import json
from array import array
from typing import Any

import numpy as np
import pytest
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


def every_form() -> list[tuple[Any, tuple[float, float], list[float] | None, bool]]:
    """Segmentations with their image's (H, W), the box around their pixels, and whether they are wrong."""
    unknown = (np.nan, np.nan)
    forms: list[tuple[Any, tuple[float, float], list[float] | None, bool]] = [
        (None, (8, 8), None, False),
        ([], unknown, None, False),
        ("", unknown, None, False),
        ({}, (8, 8), None, False),
        ([[1.5, 2, 3, 4.25, 5, 6], [0, 9, 1, 1, 2, 2]], unknown, [0, 1, 5, 9], False),
        (official_runs(np.ones((8, 8))), unknown, None, False),
    ]
    for size, mask in ((side, mask) for side in SIZES for mask in masks_of(side, 5)):
        x, y, width, height = official.toBbox(official_runs(mask)).tolist()
        box = [x, y, x + width, y + height] if mask.any() else None
        forms += [(runs, size, box, box is None) for runs in (official_runs(mask), list_runs(mask))]
    return forms


@pytest.mark.parametrize("with_damaged", [False, True])
def test_boxes_around_masks_are_those_of_their_pixels(with_damaged: bool) -> None:
    forms = every_form()
    if with_damaged:
        damaged = [[[1.0, 2.0]], {"size": [8, 8], "counts": "P"}, {"size": [8, 8], "counts": [3]}, 7]
        forms += [(each, (8, 8), None, True) for each in damaged]
    given = [compacted({"segmentation": each})["segmentation"] for each, *_ in forms]
    bounds, bad = mask_bounds(given, np.array([size for _, size, *_ in forms], float))
    assert sorted(bad) == [i for i, (*_, is_wrong) in enumerate(forms) if is_wrong]
    for found, (_, _, box, _) in zip(bounds, forms, strict=True):
        assert np.isnan(found).all() if box is None else found.tolist() == box
