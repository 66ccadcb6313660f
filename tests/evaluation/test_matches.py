"""Matches by image: the AP of any sample of images is that of pycocotools on these images."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from mscsa.evaluation.coco_ap import score_results
from mscsa.evaluation.matches import Matches, match_objects
from tests.evaluation.test_coco_ap import Truth, by_pycocotools, make_case


def matches_of(truth: dict[str, Any], results: list[Any], limit: int = 100) -> tuple[float, Matches]:
    """The data set has the images in the opposite order of their ids."""
    image_ids = [each["id"] for each in truth["images"]]
    places = {image_id: place for place, image_id in enumerate(reversed(image_ids))}
    scores = score_results(truth, results, Truth(truth), image_ids, limit, False, places)  # type: ignore[arg-type]
    assert scores.images is not None
    return scores.ap, scores.images


def resampled(
    truth: dict[str, Any], results: list[Any], counts: list[int]
) -> tuple[dict[str, Any], list[Any]]:
    """Repeat the images, each time under an id of its own; `counts` is in the order of the ids."""
    images: list[Any] = []
    annotations: list[Any] = []
    found: list[Any] = []
    for image, count in zip(truth["images"], counts, strict=True):
        for _ in range(count):
            new = len(images) + 1
            images.append({**image, "id": new})
            own = [copy.deepcopy(a) for a in truth["annotations"] if a["image_id"] == image["id"]]
            annotations += [{**a, "image_id": new, "id": len(annotations) + i + 1} for i, a in enumerate(own)]
            found += [{**r, "image_id": new} for r in results if r["image_id"] == image["id"]]
    return {**truth, "images": images, "annotations": annotations}, found


@pytest.mark.parametrize("seed", range(6))
def test_all_images_once_is_the_ap_of_pycocotools(seed: int) -> None:
    truth, results = make_case(seed)
    ap, images = matches_of(truth, results)
    (found,) = images.scores(np.ones((1, 12), np.int64))
    assert found == pytest.approx(100 * by_pycocotools(truth, results, "bbox")[0], abs=1e-6)
    assert found == pytest.approx(ap, abs=1e-6)
    assert images.index.tolist() == list(range(12))


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_is_the_ap_of_pycocotools_on_repeated_images(seed: int) -> None:
    truth, results = make_case(seed, ties=False)
    _, images = matches_of(truth, results)
    weights = np.random.default_rng(seed).multinomial(12, [1 / 12] * 12, 5)
    found = images.scores(weights)
    for row, each in zip(weights, found, strict=True):
        # Copies have equal scores, which cannot be told apart but for their order: that of the images.
        expected = by_pycocotools(*resampled(truth, results, row[::-1].tolist()), "bbox")[0]
        assert each == pytest.approx(100 * expected, abs=1e-6)
    assert len(set(found.tolist())) > 1


def test_the_limit_on_detections_holds_by_image() -> None:
    truth, results = make_case(1)
    _, images = matches_of(truth, results, limit=100)
    few = [each for each in results if each["category_id"] == 3]
    crowded = results + [{**each, "score": each["score"] / 1000} for each in few * 60]
    _, limited = matches_of(truth, crowded, limit=100)
    per_image = np.bincount(limited.image[limited.label == 0], minlength=12)
    assert per_image.max() == 100 and len(limited.score) > len(images.score)
    (found,) = limited.scores(np.ones((1, 12), np.int64))
    assert found == pytest.approx(100 * by_pycocotools(truth, crowded, "bbox")[0], abs=1e-6)


def test_samples_without_objects_have_no_score() -> None:
    truth, results = make_case(0)
    _, images = matches_of(truth, results)
    empty = images.objects.sum(axis=1) == 0
    assert empty.any()
    assert np.isnan(images.scores(empty[None].astype(np.int64))).all()


def test_matching_worked_out_by_hand() -> None:
    """Objects 0 and 1, and a crowd 2. The second detection finds its best object taken; the last two find
    the crowd, which takes both."""
    ious = np.array([[0.9, 0.6, 0.0], [0.8, 0.55, 0.3], [0.0, 0.0, 0.7], [0.1, 0.1, 0.95]])
    is_match, is_ignored = match_objects(ious, np.array([False, False, True]), np.array([0.5, 0.75]))
    assert is_match.tolist() == [[True, True], [True, False], [True, False], [True, True]]
    assert is_ignored.tolist() == [[False, False], [False, False], [True, False], [True, True]]


def test_of_equal_ious_the_last_is_taken() -> None:
    """As in pycocotools: then the second detection still finds the first object."""
    is_match, _ = match_objects(np.array([[0.8, 0.8], [0.8, 0.0]]), np.zeros(2, bool), np.array([0.5]))
    assert is_match.tolist() == [[True], [True]]
