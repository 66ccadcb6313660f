"""How a detector is asked about a large image: in tiles, mirrored, and what it finds put together.

Akyon et al., "Slicing Aided Hyper Inference and Fine-tuning for Small Object Detection", ICIP 2022,
https://arxiv.org/abs/2202.06934.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import to_pil_image

from mscsa.data.coco.masks import decode_segmentation, encode_masks
from mscsa.data.transforms.detection import ObjectTransform
from mscsa.errors import UserError
from mscsa.evaluation.detections import Detections, find_objects
from mscsa.evaluation.rows import window_starts

LEAST_OVERLAP = 0.5
"""IoU from which on two objects of a class are one; of one that a tile cuts off, the share of it that lies in
the other."""

_NEAR_BORDER = 2.0
"""Pixels from a tile's border within which an object ends that the tile may have cut off."""


@dataclass(frozen=True)
class View:
    """A part of an image, and whether it is looked at in the mirror."""

    box: tuple[int, int, int, int]
    """Left, top, right, bottom in pixels of the image."""
    is_mirrored: bool


@dataclass(frozen=True, kw_only=True)
class DetectionInference:
    """The views of an image that a detector is asked about; each is resized as a whole image is."""

    tile: int | None = None
    """Side of square tiles in pixels of the image, which are looked at beside the whole; None for none."""
    overlap: int | None = None
    """Pixels that neighbouring tiles share, more than small objects have; a quarter of a tile if None."""
    flip: bool = False
    """Look at the mirror image of each view too."""
    mirrored: tuple[int, ...] = ()
    """What each class is in a mirror image, K, counted from 0 as their names are; itself if empty."""

    def __post_init__(self) -> None:
        if self.tile is None:
            if self.overlap is not None:
                raise UserError(f"overlap {self.overlap} without tile: give both, or leave it out")
            return
        if self.tile < 1:
            raise UserError(f"tile {self.tile} is not possible: give 1 or more")
        if self.overlap is not None and not 0 <= self.overlap < self.tile:
            raise UserError(f"overlap {self.overlap} of tiles of {self.tile} px: give 0 to {self.tile - 1}")

    def views(self, size: tuple[int, int]) -> list[View]:
        """List the views of an image of (W, H) px, the whole first."""
        width, height = size
        boxes = [(0, 0, width, height)]
        if self.tile is not None and max(size) > self.tile:
            stride = self.tile - (self.tile // 4 if self.overlap is None else self.overlap)
            boxes += [
                (left, top, min(left + self.tile, width), min(top + self.tile, height))
                for top in window_starts(height, self.tile, stride)
                for left in window_starts(width, self.tile, stride)
            ]
        sides = (False, True) if self.flip else (False,)
        return [View(box, is_mirrored) for box in boxes for is_mirrored in sides]

    def __call__(self, find: Callable[[Image.Image], Detections], image: Image.Image) -> Detections:
        """Find objects in all views of an image and put them together, one view in memory at a time.

        Args:
            find: From an image to what is found in it, in its own pixels.
            image: RGB.
        Returns:
            In pixels of the image, the surest first. Of objects of a class that are the same one is left: one
            that no tile cuts off before one that may be cut off, then the surer one.
        """
        views = self.views(image.size)
        if len(views) == 1:
            return find(image)
        found = [find(_seen(image, view)) for view in views]
        boxes = np.concatenate([_moved(each.boxes, view) for each, view in zip(found, views, strict=True)])
        labels = np.concatenate(
            [self._unmirrored(each.labels, view) for each, view in zip(found, views, strict=True)]
        )
        scores = np.concatenate([each.scores for each in found])
        view_of = np.repeat(np.arange(len(views)), [len(each.scores) for each in found])
        borders = np.array([view.box for view in views])[view_of]
        kept = merged(boxes, labels, scores, _is_cut(boxes, borders, image.size))
        masks = [mask for each in found if each.masks is not None for mask in each.masks]
        size = (image.height, image.width)
        return Detections(
            boxes=boxes[kept],
            labels=labels[kept],
            scores=scores[kept],
            masks=tuple(_pasted(masks[i], views[view_of[i]], size) for i in kept) if masks else _none(found),
        )

    def _unmirrored(self, labels: NDArray[np.int64], view: View) -> NDArray[np.int64]:
        """Bring labels, 1..K, from a view to the image."""
        if not (view.is_mirrored and self.mirrored):
            return labels
        return 1 + np.array(self.mirrored, np.int64)[labels - 1]


@dataclass(frozen=True)
class InViews:
    """Finds objects in all views of an image with a model."""

    inference: DetectionInference
    transform: ObjectTransform
    """Resizes a view as evaluation does an image."""

    def __call__(
        self, model: nn.Module, image: Image.Image, *, device: torch.device, precision: str = "32-true"
    ) -> Detections:
        """Find objects in an image of its own size, in its own pixels; `model` is as of `find_objects`."""

        def find(view: Image.Image) -> Detections:
            pixels, _ = self.transform(view, {})
            sizes = [(view.height, view.width)]
            (found,) = find_objects(model, [pixels], sizes, device=device, precision=precision)
            return found

        return self.inference(find, image)

    def find_objects(
        self,
        model: nn.Module,
        images: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        *,
        device: torch.device,
        precision: str = "32-true",
    ) -> list[Detections]:
        """Do what `find_objects` does, of images (3, H, W), uint8, which have their own sizes."""
        pictures = (to_pil_image(image) for image in images)
        return [self(model, each, device=device, precision=precision) for each in pictures]


def merged(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    is_cut: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Choose one of each object's detections.

    Args:
        boxes: (N, 4).
        labels, scores: (N,).
        is_cut: Which may be parts of objects, (N,).
    Returns:
        Places of those that stay, the surest first.
    """
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    is_free = np.ones(len(boxes), bool)
    kept = []
    for i in np.lexsort((-scores, is_cut)):
        if not is_free[i]:
            continue
        kept.append(i)
        shared = np.minimum(boxes[i, 2:], boxes[:, 2:]) - np.maximum(boxes[i, :2], boxes[:, :2])
        inside = shared.clip(min=0).prod(axis=1)
        of = np.where(is_cut, areas, areas + areas[i] - inside)
        is_free &= (labels != labels[i]) | (inside < LEAST_OVERLAP * of) | (of <= 0)
    chosen = np.array(kept, np.int64)
    return chosen[np.argsort(-scores[chosen], kind="stable")]


def _seen(image: Image.Image, view: View) -> Image.Image:
    part = image.crop(view.box)
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.is_mirrored else part


def _moved(boxes: NDArray[np.float32], view: View) -> NDArray[np.float32]:
    """Bring boxes from a view's pixels to the image's."""
    left, top, right, _ = view.box
    if view.is_mirrored:
        boxes = np.stack(
            [right - left - boxes[:, 2], boxes[:, 1], right - left - boxes[:, 0], boxes[:, 3]], 1
        )
    return (boxes + np.array([left, top, left, top])).astype(np.float32)


def _is_cut(
    boxes: NDArray[np.float32], borders: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Say which boxes end at a border of their view that is none of the image of (W, H) px."""
    ends = np.array([0, 0, *size])
    return ((np.abs(boxes - borders) <= _NEAR_BORDER) & (borders != ends)).any(axis=1)


def _pasted(mask: dict[str, object], view: View, size: tuple[int, int]) -> dict[str, object]:
    """Bring a mask from a view to an image of (H, W) px."""
    left, top, right, bottom = view.box
    part = decode_segmentation(mask, (bottom - top, right - left))
    whole = np.zeros((1, *size), bool)
    whole[0, top:bottom, left:right] = part[:, ::-1] if view.is_mirrored else part
    return encode_masks(whole)[0]


def _none(found: list[Detections]) -> tuple[dict[str, object], ...] | None:
    """Give no mask of a detector of masks that found nothing, None of one of boxes."""
    return None if found[0].masks is None else ()
