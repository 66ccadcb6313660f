"""Choosing detections among the raw outputs of an exported detector, as detectors do, in numpy.

B batch, A anchors, K classes, Q queries; boxes are x1, y1, x2, y2 in pixels of the given images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa_runtime.artifact import Artifact

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Raw = Mapping[str, NDArray[Any]]
"""Outputs of the first file by name."""


@dataclass(frozen=True)
class Found:
    """What was found in an image, the surest first."""

    boxes: Floats
    labels: Ints
    """1..K."""
    scores: Floats
    cells: Floats | None = None
    """Probabilities inside the boxes, (N, m, m)."""


def select(artifact: Artifact, raw: Raw, sizes: Floats) -> list[Found]:
    """Choose the detections of a batch.

    Args:
        artifact: Says how, and runs further files.
        raw: What its first file gave.
        sizes: (h, w) of each image in pixels, (B, 2).
    """
    return _SELECTORS[artifact.metadata.selection["kind"]](artifact, raw, sizes)


def _of_queries(artifact: Artifact, raw: Raw, sizes: Floats) -> list[Found]:
    """Take the surest pairs of query and class: of a Deformable DETR.

    raw: logits (B, Q, K), and boxes (B, Q, 4) as centre and size in shares of the image.
    """
    limit = artifact.metadata.selection["detections_per_img"]
    found = []
    for logits, box, size in zip(raw["logits"], raw["boxes"], sizes, strict=True):
        scores = _sigmoid(logits).ravel()
        place = _best(scores, limit)
        centre, half = box[:, :2], box[:, 2:] / 2
        corners = np.concatenate([centre - half, centre + half], axis=1) * np.tile(size[::-1], 2)
        boxes = clip(corners[place // logits.shape[1]], size)
        found.append(Found(boxes, place % logits.shape[1] + 1, scores[place]))
    return found


def _of_anchors(artifact: Artifact, raw: Raw, sizes: Floats) -> list[Found]:
    """Take the surest anchors of each level, then the best of those that overlap: of a RetinaNet.

    raw: logits (B, A, K) and boxes (B, A, 4).
    """
    how = artifact.metadata.selection
    found = []
    for logits, box, size in zip(raw["logits"], raw["boxes"], sizes, strict=True):
        chosen: list[tuple[Floats, Ints, Floats]] = []
        for level in _levels(how["anchors_per_level"]):
            scores = _sigmoid(logits[level]).ravel()
            above = np.flatnonzero(scores > how["score_thresh"])
            place = above[_best(scores[above], how["candidates"])]
            anchors = clip(box[level][place // logits.shape[1]], size)
            chosen.append((anchors, place % logits.shape[1], scores[place]))
        boxes, labels, scores = (np.concatenate(each) for each in zip(*chosen, strict=True))
        kept = nms(boxes, scores, labels, how["nms_thresh"])[: how["detections_per_img"]]
        found.append(Found(boxes[kept], labels[kept] + 1, scores[kept]))
    return found


def _of_proposals(artifact: Artifact, raw: Raw, sizes: Floats) -> list[Found]:
    """Propose boxes, ask the box heads about them, choose, ask the mask heads: Mask R-CNN, Cascade.

    raw: objectness (B, A), boxes (B, A, 4), then the maps.
    """
    how = artifact.metadata.selection
    maps = {name: raw[name] for name in artifact.metadata.outputs[2:]}
    proposals = [
        _propose(scores, box, size, how)
        for scores, box, size in zip(raw["objectness"], raw["boxes"], sizes, strict=True)
    ]
    if not any(len(each) for each in proposals):  # the files take one box and more
        return [_nothing(how) for _ in proposals]
    scores, boxes = artifact.run_part("boxes", {"rois": _rois(proposals), "sizes": sizes, **maps})
    ends = np.cumsum([len(each) for each in proposals])[:-1]
    found = [
        _choose(score, box, size, how)
        for score, box, size in zip(np.split(scores, ends), np.split(boxes, ends), sizes, strict=True)
    ]
    labels = np.concatenate([each.labels for each in found])
    if not len(labels):
        return [_nothing(how) for _ in found]
    inputs = {"rois": _rois([each.boxes for each in found]), "labels": labels, **maps}
    (cells,) = artifact.run_part("masks", inputs)
    of_images = np.split(cells, np.cumsum([len(each.labels) for each in found])[:-1])
    return [
        Found(each.boxes, each.labels, each.scores, its) for each, its in zip(found, of_images, strict=True)
    ]


_SELECTORS: dict[str, Callable[[Artifact, Raw, Floats], list[Found]]] = {
    "queries": _of_queries,
    "anchors": _of_anchors,
    "proposals": _of_proposals,
}


def _propose(objectness: Floats, boxes: Floats, size: Floats, how: Mapping[str, Any]) -> Floats:
    """Take the boxes of an image that are likeliest to hold an object, (N, 4)."""
    levels = _levels(how["anchors_per_level"])
    of_levels = [level.start + _best(objectness[level], how["candidates"]) for level in levels]
    place = np.concatenate(of_levels)
    level = np.repeat(np.arange(len(levels)), [len(each) for each in of_levels])
    clipped = clip(boxes[place], size)
    is_box = (clipped[:, 2:] - clipped[:, :2] >= how["least_proposal"]).all(axis=1)
    clipped, level, scores = clipped[is_box], level[is_box], _sigmoid(objectness[place][is_box])
    return clipped[nms(clipped, scores, level, how["proposal_nms_thresh"])[: how["proposals"]]]


def _choose(scores: Floats, boxes: Floats, size: Floats, how: Mapping[str, Any]) -> Found:
    """Choose among boxes (N, K, 4) and their scores (N, K): of each class the best of those that overlap."""
    labels = np.tile(np.arange(1, scores.shape[1] + 1), len(scores))
    every, surety = clip(boxes.reshape(-1, 4), size), scores.ravel()
    is_box = (every[:, 2:] - every[:, :2] >= how["least_box"]).all(axis=1)
    chosen = np.flatnonzero((surety > how["score_thresh"]) & is_box)
    kept = nms(every[chosen], surety[chosen], labels[chosen], how["nms_thresh"])
    chosen = chosen[kept[: how["detections_per_img"]]]
    return Found(every[chosen], labels[chosen], surety[chosen])


def nms(boxes: Floats, scores: Floats, groups: Ints, threshold: float) -> Ints:
    """Keep of boxes of a group that overlap the surest.

    Args:
        boxes: (N, 4).
        scores: (N,).
        groups: Class or level of each, (N,).
        threshold: Greatest IoU of two that are kept.
    Returns:
        Places of those that are kept, the surest first.
    """
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        corner = np.maximum(boxes[best, :2], boxes[rest, :2])
        sides = np.maximum(np.minimum(boxes[best, 2:], boxes[rest, 2:]) - corner, 0)
        shared = sides[:, 0] * sides[:, 1]
        overlaps = shared > threshold * (areas[best] + areas[rest] - shared)
        order = rest[~(overlaps & (groups[rest] == groups[best]))]
    return np.array(kept, np.int64)


def clip(boxes: Floats, size: Floats) -> Floats:
    """Cut boxes (N, 4) off at the edges of an image of (h, w)."""
    return np.clip(boxes, np.float32(0), np.tile(size[::-1], 2).astype(np.float32))


def _best(scores: Floats, count: int) -> Ints:
    return np.argsort(-scores, kind="stable")[:count]


def _levels(counts: list[int]) -> list[slice]:
    ends = np.cumsum(counts).tolist()
    return [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]


def _rois(boxes: list[Floats]) -> Floats:
    """Put the number of its image before each box, (N, 5)."""
    numbers = np.repeat(np.arange(len(boxes), dtype=np.float32), [len(each) for each in boxes])
    return np.concatenate([numbers[:, None], np.concatenate(boxes)], axis=1)


def _nothing(how: Mapping[str, Any]) -> Found:
    cells = np.zeros((0, how["mask_side"], how["mask_side"]), np.float32)
    return Found(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32), cells)


def _sigmoid(x: Floats) -> Floats:
    # Of the absolute value, which does not overflow.
    grown = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + grown), grown / (1 + grown)).astype(np.float32)
