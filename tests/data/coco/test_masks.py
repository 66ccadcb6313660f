"""Masks as COCO writes them, against pycocotools; damaged ones end in one error and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as official

from mscsa.data.coco.masks import (
    BadMask,
    decode_counts,
    decode_segmentation,
    decompress,
    encode_masks,
    read_counts,
    read_polygons,
)
from tests.data.coco.drawn_masks import SIZES, list_runs, masks_of, official_runs

# Of pycocotools' compiled code, whose arrays numpy 2 asks for a keyword that they do not have.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.mark.parametrize("size", SIZES)
def test_run_lengths_are_those_of_pycocotools(size: tuple[int, int]) -> None:
    masks = masks_of(size)
    ours = encode_masks(np.stack(masks))
    assert json.loads(json.dumps(ours)) == [official_runs(mask) for mask in masks]
    for mask, runs in zip(masks, ours, strict=True):
        assert np.array_equal(decode_segmentation(runs, size), mask)
        assert np.array_equal(decode_segmentation(list_runs(mask), size), mask)
        assert np.array_equal(official.decode(runs), mask)
        assert np.array_equal(read_counts(runs, size), list_runs(mask)["counts"])
    assert encode_masks(np.zeros((0, 4, 4), bool)) == []


def test_many_run_lengths_are_read_as_each_alone() -> None:
    masks = [mask for size in SIZES for mask in masks_of(size)]
    texts = [official_runs(mask)["counts"].encode() for mask in masks]
    lengths, firsts = decompress(texts)
    for mask, counts in zip(masks, np.split(lengths, firsts[1:]), strict=True):
        assert np.array_equal(counts, list_runs(mask)["counts"])


@pytest.mark.parametrize("seed", range(4))
def test_polygons_are_drawn_as_by_pycocotools(seed: int) -> None:
    """Fractions, several parts, points on and slightly beyond the border, whole numbers."""
    rng = np.random.default_rng(seed)
    height, width = 48, 61
    for _ in range(20):
        parts = [
            (rng.random((rng.integers(3, 12), 2)) * (width + 4, height + 4) - 2).round(2).ravel().tolist()
            for _ in range(rng.integers(1, 4))
        ]
        expected = official.decode(official.merge(official.frPyObjects(parts, height, width)))
        assert np.array_equal(decode_segmentation(parts, (height, width)), expected)
    square = [[2, 3, 9, 3, 9, 8, 2, 8]]
    drawn = decode_segmentation(square, (height, width))
    assert drawn.sum() == 7 * 5 and drawn[3:8, 2:9].all()


def test_damaged_run_lengths_never_come_through() -> None:
    """Changed, lost and added characters: an error, or run lengths that exactly fill the image."""
    rng = np.random.default_rng(1)
    texts = [official_runs(mask)["counts"] for size in SIZES[3:5] for mask in masks_of(size, 3)]
    alphabet = [chr(code) for code in range(128)] + ["é", "\ud800", "\U0001f600"]
    refused = 0
    for _ in range(4000):
        text = list(texts[rng.integers(len(texts))])
        for _ in range(rng.integers(1, 4)):
            place = int(rng.integers(len(text) + 1))
            damage = rng.integers(3)
            new = [] if damage == 0 else [alphabet[rng.integers(len(alphabet))]]
            text[place : place + (damage < 2)] = new
        size = SIZES[3:5][rng.integers(2)]
        runs = {"size": list(size), "counts": "".join(text)}
        try:
            counts = read_counts(runs, size)
        except BadMask:
            refused += 1
            continue
        assert counts.min() >= 0 and counts.sum() == size[0] * size[1]
        assert np.array_equal(decode_counts(counts, size), official.decode(runs))
    assert refused > 3000


HUGE = 10**400
AREA = 12 * 10


@pytest.mark.parametrize(
    ("runs", "what"),
    [
        ({}, "no whole numbers"),
        ({"size": [12, 10]}, "no whole numbers"),
        ({"counts": [AREA]}, "of size None"),
        ({"size": 12, "counts": [AREA]}, "of size 12"),
        ({"size": "ab", "counts": [AREA]}, "of size 'ab'"),
        ({"size": [10, 12], "counts": [AREA]}, r"of size \[10, 12\], the image has \[12, 10\]"),
        ({"size": [12, 10], "counts": []}, "no whole numbers"),
        ({"size": [12, 10], "counts": ""}, "damaged"),
        ({"size": [12, 10], "counts": "\ud800"}, "damaged"),
        ({"size": [12, 10], "counts": "P"}, "damaged"),  # says that more follows
        ({"size": [12, 10], "counts": "hs"}, "damaged"),  # "h3", whose 3 has a bit that the code has not
        ({"size": [12, 10], "counts": "o" * 9 + "0"}, "damaged"),
        ({"size": [12, 10], "counts": [AREA - 1]}, "119 pixels, the image has 120"),
        ({"size": [12, 10], "counts": [60, 61]}, "121 pixels, the image has 120"),
        ({"size": [12, 10], "counts": [AREA + 5, -5]}, "below 0"),
        ({"size": [12, 10], "counts": [2**63, AREA]}, "no whole numbers|below 0"),
        ({"size": [12, 10], "counts": [2**62] * 4 + [AREA]}, "a run of 4611686018427387904"),
        ({"size": [12, 10], "counts": [HUGE]}, "no whole numbers"),
        ({"size": [12, 10], "counts": [60.0, 60.0]}, "no whole numbers"),
        ({"size": [12, 10], "counts": [[60], [60, 1]]}, "no whole numbers"),
        ({"size": [12, 10], "counts": [None, AREA]}, "no whole numbers"),
        ({"size": [12, 10], "counts": {"a": 1}}, "no whole numbers"),
        ({"size": [12, 10], "counts": [True]}, "no whole numbers"),
    ],
)
def test_run_lengths_that_do_not_fit_are_refused(runs: dict[str, Any], what: str) -> None:
    with pytest.raises(BadMask, match=what) as caught:
        decode_segmentation(runs, (12, 10))
    assert caught.value.remedy and "\n" not in caught.value.what


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        (None, "neither polygons nor"),
        ([], "empty"),
        ("text", "neither polygons nor"),
        (5, "neither polygons nor"),
        ([[]], "of 0 coordinates"),
        ([1, 2, 3, 4, 5, 6], "one polygon, not a list of polygons"),
        ([[1, 2, 3, 4]], "of 4 coordinates"),
        ([[1, 2, 3, 4, 5, 6, 7]], "of 7 coordinates"),
        ([[1, 2, 3, 4, 5, 6], [1, 2]], "of 2 coordinates"),
        ([[1, 2, 3, 4, 5, float("nan")]], "no finite number"),
        ([[1, 2, 3, 4, 5, float("-inf")]], "no finite number"),
        ([["1", "2", "3", "4", "5", "6"]], "no finite number"),
        ([[1, 2, None, 4, 5, 6]], "no finite number"),
        ([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 1], [2, 3]]], "each point in brackets"),
        ([[[1, 2], [3, 4], [5, 6]]], "each point in brackets"),
        ([[1, 2], [3, 4], [5, 6]], "each point in brackets"),
        ([[[1, 2], [3], 5, 6, 7, 8]], "each point in brackets"),
        ([{"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 5, "y": 6}], "each point in brackets"),
        ([[{"x": 1, "y": 2}, {"x": 3, "y": 4}, {"x": 5, "y": 6}]], "each point in brackets"),
        ([{"size": [48, 64], "counts": [3072]}], "run lengths in a list"),
        ([[1, 2, HUGE, 4, 5, 6]], "no finite number"),
        ([[1, 2, 3, 4, 5, 1e9]], "coordinate 1e.09, the image has"),
        ([[1, 2, 3, -1e300, 5, 6]], "coordinate 1e.300, the image has"),
    ],
)
def test_polygons_that_cannot_be_drawn_are_refused(segmentation: Any, what: str) -> None:
    """The last two would take the compiled reader all memory there is."""
    with pytest.raises(BadMask, match=what) as caught:
        decode_segmentation(segmentation, (48, 64))
    assert caught.value.remedy and "\n" not in caught.value.what


def test_polygons_may_leave_the_image() -> None:
    """As where it was cropped: only what cannot be meant is refused."""
    polygon = [[-100.0, -100.0, 300.0, -100.0, 300.0, 300.0, -100.0, 300.0]]
    assert read_polygons(polygon) is polygon
    assert decode_segmentation(polygon, (48, 64)).all()
