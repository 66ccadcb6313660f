"""Looking through COCO annotations: boxes, areas, crowds and masks of a whole file in a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.coco.box_forms import BORDER_PX, CORNERS, SHARES, other_form
from mscsa.data.coco.mask_checks import Bounds, mask_bounds
from mscsa.data.problems import Findings, short

LEAST_FIT = 0.5
"""Least IoU of an annotation's box with the box around its mask."""

_FORM_REMEDIES = {
    SHARES: "multiply x and width by the image's width, y and height by its height",
    CORNERS: "give x2 - x1 as the width and y2 - y1 as the height",
}

_FIT_PX = 2.0
# Boxes of a few pixels fall below it by rounding alone: edges this near fit anyway.

_CHUNK = 20_000
# Annotations whose polygons are in arrays at the same time: some 20 MB.


@dataclass(frozen=True)
class ListedImage:
    """An image as a file of annotations lists it."""

    id: int
    file_name: str
    """Empty if it has none."""
    size: tuple[int, int] | None
    """(W, H) in pixels; None if it is not given."""


def check_annotations(
    annotations: Sequence[dict[str, Any]],
    images: Sequence[ListedImage],
    categories: dict[int, str],
    findings: Findings,
) -> None:
    """Look through annotations: their images, categories, boxes, areas, crowds and masks.

    Args:
        annotations: Those of a file.
        images: The file's images; where it has none, nothing is said of images that are not among them.
        categories: Names by id; likewise.
        findings: Takes what is wrong.
    """
    place_of = {image.id: place for place, image in reversed(list(enumerate(images)))}
    sizes = np.array([image.size or (np.nan, np.nan) for image in images] + [(np.nan, np.nan)])
    without_mask: list[int] = []
    boxes, box_sizes = [], []
    for start in range(0, len(annotations), _CHUNK):
        part = annotations[start : start + _CHUNK]
        of_image = np.array(
            [place_of.get(i, -1) if type(i) is int else -1 for i in (each.get("image_id") for each in part)]
        )
        chunk = _Chunk(part, start, of_image, images, sizes[of_image], findings)
        if images:
            chunk.check_images()
        if categories:
            chunk.check_categories(categories)
        chunk.check_areas()
        chunk.check_crowds()
        chunk.check_masks(chunk.check_boxes())
        without_mask += chunk.without_mask()
        boxes.append(chunk.boxes[0])
        box_sizes.append(chunk.sizes)
    if boxes:
        _check_form(np.concatenate(boxes), np.concatenate(box_sizes), annotations, findings)
    if len(without_mask) < len(annotations):  # else a set of boxes alone
        findings.add_all(
            "annotations without a segmentation in a file that has some",
            without_mask,
            lambda i: f"{_name(annotations[i], i, None)}: no segmentation, which others in the file have",
            "add it, or remove all",
        )


def _check_form(
    boxes: Bounds, sizes: NDArray[np.float64], annotations: Sequence[dict[str, Any]], findings: Findings
) -> None:
    """Boxes are not shares, nor corners, which only all together show."""
    found = other_form(boxes, sizes)
    if found is not None:
        form, i = found
        what = f"{_name(annotations[i], i, None)}: bbox {short(annotations[i]['bbox'])} and others: {form}"
        findings.add("boxes of another form", what, _FORM_REMEDIES[form])


@dataclass(frozen=True)
class _Chunk:
    """Some annotations of a file, and what is known of their images."""

    annotations: Sequence[dict[str, Any]]
    start: int
    """Place of the first in the file."""
    of_image: NDArray[np.int64]
    """Place of the image of each, -1 if it is not there, (N)."""
    images: Sequence[ListedImage]
    sizes: NDArray[np.float64]
    """(W, H) in pixels of the image of each, NaN if it is not known, (N, 2)."""
    findings: Findings

    def values(self, key: str) -> list[Any]:
        """Give a field of all, None where it is missing."""
        return [each.get(key) for each in self.annotations]

    @cached_property
    def boxes(self) -> tuple[Bounds, NDArray[np.bool_]]:
        """Boxes as the file has them, (N, 4), NaN where one is not 4 numbers; and whether it is."""
        return _as_boxes(self.values("bbox"))

    def check_images(self) -> None:
        """Every annotation is of an image of the file."""
        self._report(
            "annotations of unknown images",
            self.of_image < 0,
            lambda i: f"image_id {short(self.annotations[i].get('image_id'))} is no image of this file",
            "correct it, or remove the annotation",
        )

    def check_categories(self, categories: dict[int, str]) -> None:
        """Every annotation is of a category of the file."""
        ids = self.values("category_id")
        self._report(
            "annotations of unknown categories",
            np.array([type(each) is not int or each not in categories for each in ids]),
            lambda i: f"category_id {short(ids[i])} is no category of this file",
            "correct it, or add the category",
        )

    def check_areas(self) -> None:
        """Every annotation has an area above 0, by which COCO's scores tell small from large."""
        areas = self.values("area")
        numbers = _as_numbers(areas)
        self._report(
            "areas that are missing or not above 0",
            ~((numbers > 0) & np.isfinite(numbers)),
            lambda i: f"area {short(areas[i])}" if "area" in self.annotations[i] else "no area",
            "give the pixels of the object, or of its box",
        )

    def check_crowds(self) -> None:
        """A crowd is marked by 1 and drawn by run lengths, as a region and not as an object."""
        marks = [each.get("iscrowd", 0) for each in self.annotations]
        self._report(
            "iscrowd that is neither 0 nor 1",
            np.array([mark not in (0, 1) for mark in marks]),
            lambda i: f"iscrowd {short(marks[i])}",
            "give 0 for an object, 1 for a region of many",
        )
        polygons = [type(each) is list and bool(each) for each in self.values("segmentation")]
        self._report(
            "crowds of polygons",
            np.array([mark == 1 and has for mark, has in zip(marks, polygons, strict=True)]),
            lambda i: "iscrowd 1 with polygons",
            "give 0 if it is one object, else draw the region as run lengths",
        )

    def check_boxes(self) -> Bounds:
        """Every box is x, y, width, height inside its image.

        Returns:
            x1, y1, x2, y2 of the boxes, NaN for the wrong ones.
        """
        given = self.values("bbox")
        boxes, is_box = self.boxes
        is_finite = np.array(np.isfinite(boxes).all(axis=1))
        has_area = np.array((boxes[:, 2:] > 0).all(axis=1))
        corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        outside = self._pixels_outside(corners)
        is_outside = is_finite & has_area & (outside > BORDER_PX)

        def what(i: int) -> str:
            if not is_box[i]:
                return (
                    f"bbox {short(given[i])} is not 4 numbers" if "bbox" in self.annotations[i] else "no bbox"
                )
            text = f"bbox {short(given[i])}"
            if not is_finite[i]:
                return f"{text} has a value that is no finite number"
            if not has_area[i]:
                return f"{text} has width {short(given[i][2])} and height {short(given[i][3])}"
            return f"{text} reaches {outside[i]:.4g} px outside the image of {self._size(i)} px"

        remedy = "give [x, y, width, height] in pixels, inside the image"
        self._report("boxes that are not 4 numbers", ~is_box, what, remedy)
        self._report("boxes with NaN or infinity", is_box & ~is_finite, what, remedy)
        self._report("boxes without an area", is_finite & ~has_area, what, remedy)
        self._report("boxes outside the image", is_outside, what, remedy)
        return np.where((is_finite & has_area & ~is_outside)[:, None], corners, np.nan)

    def check_masks(self, boxes: Bounds) -> None:
        """Every mask can be drawn, lies inside its image, and fits its box.

        Args:
            boxes: x1, y1, x2, y2 of the boxes that are right.
        """
        bounds, bad = mask_bounds(self.values("segmentation"), self.sizes[:, ::-1])
        kind = "bad polygons or run lengths"
        for i, wrong in bad.items():
            self.findings.add(kind, f"{self._name(i)}: {wrong.what}", wrong.remedy)
        is_box = ~np.isnan(boxes[:, 0])
        outside = self._pixels_outside(bounds)
        # A mask beside the image whose box is there too has been named already.
        is_outside = (outside > BORDER_PX) & is_box
        self._report(
            "masks outside the image",
            is_outside,
            lambda i: f"polygon reaches {outside[i]:.4g} px outside the image of {self._size(i)} px",
            "clip it to the image",
        )
        overlap = _iou(boxes, bounds)
        is_near = (np.abs(boxes - bounds) <= _FIT_PX).all(axis=1)
        self._report(
            "boxes that do not fit their mask",
            (overlap < LEAST_FIT) & ~is_near & ~is_outside,
            lambda i: (
                f"bbox {self.annotations[i]['bbox']} does not fit its mask, which lies in "
                f"{[round(value, 2) for value in _as_bbox(bounds[i])]}"
            ),
            "give the box around the mask as [x, y, width, height]",
        )

    def without_mask(self) -> list[int]:
        """Give the places in the file of those without a segmentation."""
        masks = self.values("segmentation")
        return [self.start + i for i, each in enumerate(masks) if not each]

    def _report(
        self, kind: str, is_wrong: NDArray[np.bool_], describe: Callable[[int], str], remedy: str
    ) -> None:
        places = np.flatnonzero(is_wrong).tolist()
        self.findings.add_all(kind, places, lambda i: f"{self._name(i)}: {describe(i)}", remedy)

    def _name(self, i: int) -> str:
        image = self.images[self.of_image[i]] if self.of_image[i] >= 0 else None
        return _name(self.annotations[i], self.start + i, image)

    def _size(self, i: int) -> str:
        return "x".join(str(int(side)) for side in self.sizes[i])

    def _pixels_outside(self, corners: Bounds) -> NDArray[np.float64]:
        """How far x1, y1, x2, y2 reach outside the image; NaN or below 0 where they do not."""
        with np.errstate(invalid="ignore"):  # infinite values are told of elsewhere
            return np.hstack([-corners[:, :2], corners[:, 2:] - self.sizes]).max(axis=1)


def _name(annotation: dict[str, Any], place: int, image: ListedImage | None) -> str:
    name = f"annotation {short(annotation['id'])}" if "id" in annotation else f"annotations[{place}]"
    file = f", {image.file_name}" if image and image.file_name else ""
    return f"{name} (image {short(annotation.get('image_id'))}{file})"


def _as_numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Turn what JSON gave into floats, NaN where it is no number."""
    if set(map(type, values)) <= {int, float}:
        try:
            return np.array(values, np.float64)
        except OverflowError:  # whole numbers of hundreds of digits
            pass
    return np.array([_as_number(value) for value in values], np.float64)


def _as_number(value: Any) -> float:
    try:
        return float(value) if type(value) in (int, float) else np.nan
    except OverflowError:
        return np.inf


def _as_boxes(values: Sequence[Any]) -> tuple[Bounds, NDArray[np.bool_]]:
    """Turn what JSON gave into boxes (N, 4), NaN where it is not 4 numbers; and whether it is."""
    if set(map(type, values)) == {list} and set(map(len, values)) == {4}:
        flat = list(chain.from_iterable(values))
        if set(map(type, flat)) <= {int, float}:
            return _as_numbers(flat).reshape(-1, 4), np.ones(len(values), bool)
    is_box = np.array(
        [
            type(box) is list and len(box) == 4 and all(type(value) in (int, float) for value in box)
            for box in values
        ],
        bool,
    )
    boxes = [_as_numbers(box) if good else [np.nan] * 4 for box, good in zip(values, is_box, strict=True)]
    return np.array(boxes, np.float64).reshape(-1, 4), is_box


def _as_bbox(corners: NDArray[np.float64]) -> list[float]:
    x1, y1, x2, y2 = corners.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def _iou(a: Bounds, b: Bounds) -> NDArray[np.float64]:
    """IoU of each pair, of which the first has an area; NaN where one is NaN."""
    overlap = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inner = overlap.clip(0).prod(axis=1)
    areas = [(each[:, 2:] - each[:, :2]).prod(axis=1) for each in (a, b)]
    return inner / (areas[0] + areas[1] - inner)
