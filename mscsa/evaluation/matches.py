"""Which detections match an object, image by image, and the AP of any sample of the images.

The rules are COCO's, as pycocotools has them, for objects of all sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.evaluation.image_counts import ImageCounts

_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True, eq=False)
class Matches(ImageCounts):
    """What average precision is made of: detections with their matches, and numbers of objects."""

    image: NDArray[np.int64]
    """Which image a detection is of, a place in `index`, (D,)."""
    label: NDArray[np.int64]
    """Its class, 0..K-1, (D,)."""
    score: NDArray[np.float64]
    """(D,)."""
    is_match: NDArray[np.bool_]
    """Whether it matches an object, at each threshold of the IoU, (D, T)."""
    is_ignored: NDArray[np.bool_]
    """Whether that object is a crowd, so that it counts neither way, (D, T)."""
    objects: NDArray[np.int64]
    """Objects of each image by class, without crowds, (N, K)."""

    def scores(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Take the AP of samples (R, N) of the images, mean over classes and thresholds, in %, (R,)."""
        totals = weights @ self.objects
        sums = np.zeros(len(weights))
        for label in range(self.objects.shape[1]):
            own = np.flatnonzero(self.label == label)
            order = own[np.argsort(-self.score[own], kind="stable")]
            sums += self._class_ap(order, weights[:, self.image[order]], totals[:, label])
        with np.errstate(invalid="ignore"):
            return 100 * sums / (totals > 0).sum(axis=1)

    def truth(self) -> NDArray[np.int64]:
        """Give the objects of each class in each image, (N, K)."""
        return self.objects

    def _class_ap(
        self, order: NDArray[np.int64], weights: NDArray[np.int64], totals: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Take the AP of a class, 0..1, (R,); 0 where a sample has no object of it.

        Args:
            order: Its detections, the surest first, (d,).
            weights: How often each is in each sample, (R, d).
            totals: Objects in each sample, (R,).
        """
        num_thresholds = self.is_match.shape[1]
        sums = np.zeros(len(weights))
        for threshold in range(num_thresholds):
            counts = ~self.is_ignored[order, threshold]
            is_true = self.is_match[order, threshold] & counts
            is_false = ~self.is_match[order, threshold] & counts
            sums += _interpolated(weights, is_true, is_false, totals)
        return sums / num_thresholds


def _interpolated(
    weights: NDArray[np.int64],
    is_true: NDArray[np.bool_],
    is_false: NDArray[np.bool_],
    totals: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Average the best precision from each of COCO's 101 recalls on, (R,).

    Recall rises at true detections alone, so precision is looked at there alone. One that is in a sample
    twice counts twice at once: between the two the precision is lower, and never the best.
    """
    values = np.zeros(len(weights))
    if not is_true.any():
        return values
    true = weights[:, is_true].cumsum(axis=1)
    false_before = np.pad(weights[:, is_false].cumsum(axis=1), ((0, 0), (1, 0)))
    false = false_before[:, is_false.cumsum()[is_true]]
    precision = true / (true + false + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for sample in np.flatnonzero(totals):
        first = np.searchsorted(true[sample] / totals[sample], _RECALLS, side="left")
        values[sample] = best[sample, first[first < best.shape[1]]].sum() / len(_RECALLS)
    return values


def find_matches(evaluation: Any, places: Mapping[int, int], category_ids: Sequence[int]) -> Matches:
    """Match the detections of an evaluation to its objects.

    Args:
        evaluation: faster-coco-eval's `COCOeval_faster` after `evaluate()`, which has the IoUs.
        places: Image id -> place in the data set, of all images that were looked at.
        category_ids: COCO's id of each class, in the order of the labels.
    """
    rows = {image_id: row for row, image_id in enumerate(sorted(places, key=places.__getitem__))}
    thresholds = np.asarray(evaluation.params.iouThrs)
    objects = np.zeros((len(rows), len(category_ids)), np.int64)
    nothing = np.zeros((0, len(thresholds)), bool)
    parts: list[tuple[Any, ...]] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0), nothing, nothing)]
    # In the order of the image ids, by which COCO sorts detections of equal scores.
    for image_id in sorted(rows):
        for label, category_id in enumerate(category_ids):
            found = evaluation.dt_dataset.get(image_id, category_id)
            truth = evaluation.gt_dataset.get(image_id, category_id)
            is_crowd = np.array([bool(each["ignore"]) for each in truth], bool)
            objects[rows[image_id], label] = (~is_crowd).sum()
            scores = np.sort([each["score"] for each in found])[::-1][: evaluation.params.maxDets[-1]]
            shape = (len(scores), len(is_crowd))
            ious = (
                np.reshape(evaluation.ious[image_id, category_id], shape) if all(shape) else np.zeros(shape)
            )
            place = (np.full(len(scores), rows[image_id]), np.full(len(scores), label))
            parts.append((*place, scores, *match_objects(ious, is_crowd, thresholds)))
    image, labels, score, is_match, is_ignored = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Matches(
        index=np.array([places[image_id] for image_id in rows], np.int64),
        image=image,
        label=labels,
        score=score,
        is_match=is_match,
        is_ignored=is_ignored,
        objects=objects,
    )


def match_objects(
    ious: NDArray[np.float64], is_crowd: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give each detection of an image and class, the surest first, the free object of the largest IoU.

    A crowd takes any number of detections, but only those that no object takes.

    Args:
        ious: Of detections and objects, (d, g).
        is_crowd: (g,).
        thresholds: Least IoU of a match, (T,).
    Returns:
        Whether a detection has a match, and whether that is a crowd, (d, T) each.
    """
    taken, is_ignored = take_objects(ious, is_crowd, thresholds)
    return (taken >= 0) | is_ignored, is_ignored


def take_objects(
    ious: NDArray[np.float64], is_crowd: NDArray[np.bool_], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Say which object each detection takes; arguments as of `match_objects`.

    Returns:
        Place of the object, -1 for none, and whether a detection has a crowd alone, (d, T) each.
    """
    taken = np.full((len(ious), len(thresholds)), -1, np.int64)
    is_ignored = np.zeros(taken.shape, bool)
    if not ious.size:
        return taken, is_ignored
    is_free = np.ones((len(thresholds), len(is_crowd)), bool)
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    for detection, row in enumerate(ious):
        reaches = row >= least
        objects = reaches & is_free & ~is_crowd
        has_object = objects.any(axis=1)
        # Of equal IoUs COCO takes the last.
        best = len(row) - 1 - np.where(objects, row, -1.0)[:, ::-1].argmax(axis=1)
        is_free[has_object, best[has_object]] = False
        taken[detection, has_object] = best[has_object]
        is_ignored[detection] = ~has_object & (reaches & is_crowd).any(axis=1)
    return taken, is_ignored
