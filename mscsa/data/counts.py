"""How often each class occurs in a data set, and how large its objects are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.contract import IGNORED, TaskDataset
from mscsa.data.label_maps.dataset import SegmentationFolder
from mscsa.data.packed.dataset import PackedImages
from mscsa.data.transforms.resizing import resized_size
from mscsa.recipes.spec import DetectionData

MOST_IMAGES = 300
"""Images that are read to count what only they tell."""


@dataclass(frozen=True)
class ClassCount:
    """How often a class occurs."""

    name: str
    images: int
    """Images with it."""
    things: int
    """Images, objects or pixels of it."""


@dataclass(frozen=True)
class AnchorFit:
    """How objects of a class fit the anchors of a detector, at the size of training."""

    name: str
    sides: tuple[float, float, float]
    """Square root of the area in pixels: the smallest, the median and the largest object."""
    covered: float
    """Share of the objects that some anchor covers with an IoU of 0.5 or more, if it lies on them, 0..1."""


def count_classes(dataset: TaskDataset) -> tuple[list[ClassCount], int]:
    """Count the classes of a data set.

    Args:
        dataset: Its samples hold a class, the class of each pixel, or objects.
    Returns:
        A count for each class, and how many images were read: at most `MOST_IMAGES`, evenly spread, unless
        the classes stand elsewhere than in the images.
    """
    names = dataset.class_names
    if isinstance(dataset, ImageFolder | PackedImages):
        totals = np.bincount(dataset.labels, minlength=len(names)).tolist()
        counts = [ClassCount(name, count, count) for name, count in zip(names, totals, strict=True)]
        return counts, len(dataset)
    chosen = np.arange(len(dataset))
    if not isinstance(dataset, CocoDetection):
        chosen = np.unique(np.linspace(0, len(dataset) - 1, min(len(dataset), MOST_IMAGES)).astype(int))
    images, things = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    for index in chosen.tolist():
        found = np.bincount(_classes(dataset, index), minlength=IGNORED + 1)[: len(names)]
        images += found > 0
        things += found
    columns = zip(names, images.tolist(), things.tolist(), strict=True)
    return [ClassCount(*each) for each in columns], len(chosen)


def fit_anchors(dataset: CocoDetection, data: DetectionData, anchors: NDArray[np.float64]) -> list[AnchorFit]:
    """Compare the objects of a data set with anchors (A, 2), width and height in pixels.

    A class without an object is left out.
    """
    known = dataset.annotations
    scales = []
    for height, width in known.sizes.tolist():
        scales.append(resized_size((width, height), data.short_side, data.long_side)[0] / width)
    sides = known.boxes[:, 2:] * np.repeat(scales, np.diff(known.starts))[:, None]
    best = best_ious(sides, anchors)
    fits = []
    for label, name in enumerate(known.category_names, start=1):
        own = (known.labels == label) & ~known.is_crowd
        if own.any():
            lengths = np.sqrt(sides[own].prod(axis=1))
            smallest, median, largest = (float(each) for each in np.quantile(lengths, (0, 0.5, 1)))
            fits.append(AnchorFit(name, (smallest, median, largest), float((best[own] >= 0.5).mean())))
    return fits


def best_ious(sides: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the largest IoU that an anchor (A, 2) has with each box (N, 2) of the same centre, (N,)."""
    best = np.zeros(len(sides))
    for anchor in anchors:
        shared = np.minimum(sides, anchor).prod(axis=1)
        best = np.maximum(best, shared / (sides.prod(axis=1) + anchor.prod() - shared))
    return best


def _classes(dataset: TaskDataset, index: int) -> NDArray[np.int64]:
    """List the classes of all things in an image."""
    if isinstance(dataset, CocoDetection):
        return dataset.labels_of(index) - 1
    if isinstance(dataset, SegmentationFolder):
        return dataset.label_map(index).ravel().astype(np.int64)
    target = dataset[index][1]
    found = target["labels"] - 1 if isinstance(target, dict) else target
    return np.asarray(found, np.int64).ravel()
