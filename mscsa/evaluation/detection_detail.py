"""A detector's scores in depth: COCO's twelve lines, curves, thresholds, and what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from mscsa.evaluation.matches import Matches, take_objects

LEAST_IOU = 0.5
"""Of curves, thresholds and confusions."""

_RANGES = ("all", "small", "medium", "large")
"""COCO's ranges of an object's area, in its order."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A least score, and what a detector comes to with the objects above it, at IoU 0.50."""

    threshold: float
    precision: float
    """Share of the detections that are an object, 0..1."""
    recall: float
    """Share of the objects that are found, 0..1."""
    f1: float
    """Harmonic mean of the two."""
    found: int
    """Objects with a detection of their own."""
    missed: int
    """Objects without."""
    invented: int
    """Detections without an object of their own."""


@dataclass(frozen=True, kw_only=True)
class OverlapDetail:
    """What COCO's evaluation by one kind of overlap says, in %; None where there is no object."""

    summary: tuple[tuple[str, float | None], ...]
    """Its twelve lines: name and value."""
    class_ap50: tuple[float | None, ...]
    """AP at IoU 0.50 by class."""
    class_ar: tuple[float | None, ...]
    """Average recall by class, mean over IoU 0.50, 0.55, ..., 0.95."""
    class_precision: tuple[tuple[float, ...] | None, ...]
    """The precision-recall curve of each class at IoU 0.50: precision at the recalls 0, 1, ..., 100 %."""


@dataclass(frozen=True, kw_only=True)
class DetectionDetail:
    """What a detector's scores are made of."""

    boxes: OverlapDetail
    masks: OverlapDetail | None
    """None of detectors of boxes."""
    best: Operation | None
    """The least score of the best F1, one for all classes; None if nothing is found. By boxes."""
    class_best: tuple[Operation | None, ...]
    """The same of each class by itself."""
    confusion: tuple[tuple[int, ...], ...]
    """Objects by class (rows) and the class they are found as (columns), (K + 1, K + 1), of detections above
    `best`'s threshold: the last column is what is missed, the last row what is invented. By boxes."""


def overlap_detail(evaluation: Any, category_ids: Sequence[int]) -> OverlapDetail:
    """Read off what faster-coco-eval's `COCOeval_faster` has accumulated.

    Args:
        evaluation: After `accumulate()`, with COCO's ranges of areas and three limits on detections.
        category_ids: COCO's id of each class, in the order of the labels.
    """
    # IoU thresholds x recalls x categories x areas x limits; without recalls. -1 where there is no object.
    precision = np.asarray(evaluation.eval["precision"])
    recall = np.asarray(evaluation.eval["recall"])
    limits = evaluation.params.maxDets
    at = {iou: np.isclose(evaluation.params.iouThrs, iou) for iou in (0.5, 0.75)}
    lines = [
        ("AP", mean_of(precision[..., 0, -1])),
        ("AP50", mean_of(precision[at[0.5]][..., 0, -1])),
        ("AP75", mean_of(precision[at[0.75]][..., 0, -1])),
        *((f"AP {name}", mean_of(precision[..., i, -1])) for i, name in enumerate(_RANGES) if i),
        *((f"AR, {limit} detections", mean_of(recall[..., 0, i])) for i, limit in enumerate(limits)),
        *((f"AR {name}", mean_of(recall[..., i, -1])) for i, name in enumerate(_RANGES) if i),
    ]
    order = {category_id: i for i, category_id in enumerate(evaluation.params.catIds)}
    places = [order[each] for each in category_ids]
    curves = [precision[at[0.5]][0, :, place, 0, -1] for place in places]
    return OverlapDetail(
        summary=tuple(lines),
        class_ap50=tuple(mean_of(curve) for curve in curves),
        class_ar=tuple(mean_of(recall[:, place, 0, -1]) for place in places),
        class_precision=tuple(
            tuple((100 * curve).tolist()) if curve.max() > -1 else None for curve in curves
        ),
    )


def mean_of(values: NDArray[Any]) -> float | None:
    """Give the mean in % of what is known; None if nothing is."""
    known = values[values > -1]
    return 100 * float(known.mean()) if known.size else None


def best_operations(matches: Matches) -> tuple[Operation | None, tuple[Operation | None, ...]]:
    """Find the least score of the best F1, for all classes together and for each by itself.

    Args:
        matches: At COCO's thresholds of the IoU, of which the first is 0.50.
    """
    totals = matches.objects.sum(axis=0)
    counts = ~matches.is_ignored[:, 0]
    is_true = matches.is_match[:, 0]
    classes = [
        _best(matches.score[own], is_true[own], int(total))
        for label, total in enumerate(totals.tolist())
        for own in [counts & (matches.label == label)]
    ]
    return _best(matches.score[counts], is_true[counts], int(totals.sum())), tuple(classes)


def _best(scores: NDArray[np.float64], is_true: NDArray[np.bool_], total: int) -> Operation | None:
    """Choose among the scores of detections; of equal F1 the highest."""
    if not total or not is_true.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores, found = scores[order], is_true[order].cumsum()
    given = np.arange(1, len(scores) + 1)
    f1 = 2 * found / (given + total)
    # Detections of one score come and go together.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    place = int(f1.argmax())
    true = int(found[place])
    return Operation(
        threshold=float(scores[place]),
        precision=true / (place + 1),
        recall=true / total,
        f1=float(f1[place]),
        found=true,
        missed=total - true,
        invented=place + 1 - true,
    )


def confusion_of(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    threshold: float,
) -> NDArray[np.int64]:
    """Count objects by their class and the class that they are found as, at IoU 0.50 of boxes.

    First come detections of an object's own class, as COCO matches them; then what is left of both, the
    surest first, each with the free object of the largest IoU, whatever its class. What lies on a crowd of
    its class counts nowhere.

    Args:
        truth: As of `score_results`.
        results: Detections in COCO's format of results.
        image_ids: Images that were looked at.
        category_ids: COCO's id of each class, in the order of the labels.
        threshold: Least score of a detection that counts.
    Returns:
        (K + 1, K + 1), as `DetectionDetail.confusion`.
    """
    label_of = {category_id: label for label, category_id in enumerate(category_ids)}
    objects: dict[int, list[Any]] = {image_id: [] for image_id in image_ids}
    found: dict[int, list[Any]] = {image_id: [] for image_id in image_ids}
    for each in truth["annotations"]:
        if each["image_id"] in objects:
            objects[each["image_id"]].append(each)
    for each in results:
        if each["score"] >= threshold:
            found[each["image_id"]].append(each)
    counts = np.zeros((len(category_ids) + 1,) * 2, np.int64)
    for image_id in image_ids:
        surest_first = sorted(found[image_id], key=lambda each: -each["score"])
        _count_image(counts, objects[image_id], surest_first, label_of)
    return counts


def _count_image(
    counts: NDArray[np.int64],
    objects: Sequence[Mapping[str, Any]],
    found: Sequence[Mapping[str, Any]],
    label_of: Mapping[int, int],
) -> None:
    """Add an image's objects and detections to the counts."""
    is_crowd = np.array([bool(each.get("iscrowd")) for each in objects], bool)
    of_object, of_found = (
        np.array([label_of[each["category_id"]] for each in group], np.int64) for group in (objects, found)
    )
    ious = _overlaps(found, objects, is_crowd)
    partner = np.full(len(found), -1)
    is_ignored = np.zeros(len(found), bool)
    for label in set(of_found.tolist()):
        own, its = np.flatnonzero(of_found == label), np.flatnonzero(of_object == label)
        taken, ignored = take_objects(ious[np.ix_(own, its)], is_crowd[its], np.array([LEAST_IOU]))
        is_ignored[own] = ignored[:, 0]
        is_taken = taken[:, 0] >= 0
        partner[own[is_taken]] = its[taken[is_taken, 0]]
    rest = np.flatnonzero((partner < 0) & ~is_ignored)
    left = np.setdiff1d(np.flatnonzero(~is_crowd), partner)
    taken, _ = take_objects(ious[np.ix_(rest, left)], is_crowd[left], np.array([LEAST_IOU]))
    is_taken = taken[:, 0] >= 0
    partner[rest[is_taken]] = left[taken[is_taken, 0]]
    none = len(counts) - 1
    for detection in np.flatnonzero(~is_ignored).tolist():
        place = partner[detection]
        counts[of_object[place] if place >= 0 else none, of_found[detection]] += 1
    missed = np.setdiff1d(np.flatnonzero(~is_crowd), partner)
    np.add.at(counts, (of_object[missed], none), 1)


def _overlaps(
    found: Sequence[Mapping[str, Any]], objects: Sequence[Mapping[str, Any]], is_crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Give the IoU of detections and objects, (d, g); of crowds the share of the detection inside them."""
    one, two = _corners(found), _corners(objects)
    ious = box_iou(one, two).numpy()
    if not is_crowd.any() or not len(found):
        return ious
    overlap = torch.minimum(one[:, None, 2:], two[:, 2:]) - torch.maximum(one[:, None, :2], two[:, :2])
    areas = (one[:, 2:] - one[:, :2]).prod(dim=1)
    shares = (overlap.clamp(min=0).prod(dim=2) / areas[:, None]).numpy()
    return np.where(is_crowd, shares, ious)


def _corners(entries: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    boxes = torch.tensor([each["bbox"] for each in entries], dtype=torch.float64).reshape(-1, 4)
    return torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1)
