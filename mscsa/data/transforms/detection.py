"""Joint transforms of an image, its boxes and its masks (paper App. C.2).

Only the image is resized pixel by pixel. Boxes and polygons are mapped as coordinates, and masks are drawn
once, at the sample's size: a mask that is drawn first and then resized lies up to half a pixel off, and takes
the memory of the whole photograph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from mscsa.data.transforms.colours import distort_colours
from mscsa.data.transforms.frame import Frame
from mscsa.data.transforms.resizing import resized_size
from mscsa.recipes.spec import DetectionAugment, DetectionData

MaskDrawer = Callable[[Frame, list[int]], Tensor]
"""Draws the masks of some objects in a frame: (n, h, w), 0 or 1, uint8."""

Objects = dict[str, Any]
"""`boxes` (N, 4), x1 y1 x2 y2 in pixels; `labels` (N,); where asked for, `masks`: before a transform those of
the image as a tensor (N, H, W) or what draws them (`MaskDrawer`), after it (N, h, w), 0 or 1, uint8; before
it `mirrored_labels` (N,), where classes are others in a mirror image."""

ObjectTransform = Callable[[Image.Image, Objects], tuple[Tensor, Objects]]
"""RGB image and its objects to (3, h, w) float in 0..1 and the objects there; detectors normalise."""

LEAST_SIDE = 1.0
"""Objects whose box has a shorter side, in pixels after the resizing, are not trained on."""


def build_detection_transforms(
    data: DetectionData, augment: DetectionAugment
) -> tuple[TrainObjects, ObjectTransform]:
    """Return the training and the evaluation transform.

    Training flips, turns, crops (Deformable DETR) and resizes so that the shorter side is `data.short_side`,
    or one drawn from `augment.short_sides`, and the longer one at most `data.long_side`, both times a factor
    of `augment.scale`; of what is larger than without it a part of that size is cut out. Evaluation resizes
    to `data.short_side`; its objects stay as they are: detections are brought back to the image's own size.
    """
    train = TrainObjects(
        short_sides=short_sides(data, augment),
        long_side=data.long_side,
        hflip=augment.hflip,
        crop=None if augment.crop_sides is None else Crop(augment.crop_short_sides, augment.crop_sides),
        vflip=augment.vflip,
        quarter_turns=augment.quarter_turns,
        scale=augment.scale,
        photometric=augment.photometric,
        copy_paste=augment.copy_paste,
    )
    return train, EvaluatedObjects(data.short_side, data.long_side)


def build_object_variants(data: DetectionData, augment: DetectionAugment) -> list[TrainObjects]:
    """Return transforms that draw nothing and make the variants of an image that training flips and resizes.

    These are the shorter sides, each mirrored or not; in each, objects are resized along and dropped as in
    training.
    """
    flips = (0.0, 1.0) if augment.hflip else (0.0,)
    return [
        TrainObjects(short_sides=(side,), long_side=data.long_side, hflip=flip)
        for side in short_sides(data, augment)
        for flip in flips
    ]


def short_sides(data: DetectionData, augment: DetectionAugment) -> tuple[int, ...]:
    """Give the shorter sides in pixels that training images may have."""
    return augment.short_sides or (data.short_side,)


@dataclass(frozen=True)
class Crop:
    """Resize to a shorter side of several, then cut out a rectangle, as far as the image allows."""

    short_sides: tuple[int, ...]
    sides: tuple[int, int]
    """Least and greatest side of the rectangle, in pixels."""

    def of(self, sample: Sample) -> Sample:
        """Draw a resizing and a rectangle."""
        sample = sample.resized(_one_of(self.short_sides))
        (top, height), (left, width) = (self._draw(length) for length in sample.frame.size)
        return sample.cropped(top, left, height, width)

    def _draw(self, length: int) -> tuple[int, int]:
        """Draw where the rectangle begins along one axis, and its side."""
        least, most = (min(each, length) for each in self.sides)
        side = _between(least, most)
        return _between(0, length - side), side


@dataclass(frozen=True, kw_only=True)
class TrainObjects:
    """The training transform. What it draws comes from torch's generator; worker processes take it along."""

    short_sides: tuple[int, ...]
    """The shorter side is one of them, in pixels."""
    long_side: int
    """Greatest longer side."""
    hflip: float
    """Probability of a mirror image."""
    crop: Crop | None = None
    """In half of the cases."""
    vflip: float = 0.0
    """Probability of swapping top and bottom."""
    quarter_turns: float = 0.0
    """Probability of a turn by 90, 180 or 270 degrees."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of a random factor on the size."""
    photometric: bool = False
    """Whether colours are changed."""
    copy_paste: float = 0.0
    """Probability that the data set pastes objects of another sample (`copy_paste.draw_with_pasted`)."""

    def __call__(self, image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
        """Make a sample of an image and its objects; those that are not in it are left out."""
        sample = Sample.of(image)
        if _happens(self.hflip):
            sample = sample.mirrored()
        # What is off draws nothing, so that runs without it see what they always saw.
        if self.vflip and _happens(self.vflip):
            sample = sample.flipped()
        if self.quarter_turns and _happens(self.quarter_turns):
            for _ in range(_between(1, 3)):
                sample = sample.turned()
        if self.crop is not None and _happens(0.5):
            sample = self.crop.of(sample)
        sample = self._resized(sample)
        pixels = _to_float(sample.pixels)
        return distort_colours(pixels) if self.photometric else pixels, placed(objects, sample.frame)

    def _resized(self, sample: Sample) -> Sample:
        """Draw the shorter side and the factor; of what is larger than without the factor draw a part."""
        side = _one_of(self.short_sides)
        if self.scale == (1.0, 1.0):
            return sample.resized(side, self.long_side)
        height, width = sample.frame.size
        most_width, most_height = resized_size((width, height), side, self.long_side)
        least, most = self.scale
        sample = sample.resized(side, self.long_side, least + (most - least) * float(torch.rand(1)))
        height, width = sample.frame.size
        if height <= most_height and width <= most_width:
            return sample
        height, width = min(height, most_height), min(width, most_width)
        top, left = (
            _between(0, whole - part) for whole, part in zip(sample.frame.size, (height, width), strict=True)
        )
        return sample.cropped(top, left, height, width)

    def largest_scale(self, size: tuple[int, int]) -> float:
        """Give the greatest factor by which an image of (H, W) px may be resized."""
        whole = max(min(side / min(size), self.long_side / max(size)) for side in self.short_sides)
        whole *= self.scale[1]
        if self.crop is None:
            return whole
        before = max(self.crop.short_sides)
        cut = max(self.short_sides) / min(self.crop.sides[0], before) * before / min(size)
        return max(whole, self.scale[1] * cut)


@dataclass(frozen=True)
class EvaluatedObjects:
    """The transform of evaluation: the image is resized, its objects stay as they are."""

    short_side: int
    long_side: int

    def __call__(self, image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
        """Resize an image."""
        return _to_float(Sample.of(image).resized(self.short_side, self.long_side).pixels), objects


def untouched(image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
    """Give an image as it is, (3, H, W) uint8: what is looked at in parts is cut before it is resized."""
    return TF.pil_to_tensor(image), objects


@dataclass(frozen=True)
class Sample:
    """The pixels of an image, and where they came from."""

    pixels: Tensor
    """(3, h, w), uint8."""
    frame: Frame

    @classmethod
    def of(cls, image: Image.Image) -> Sample:
        """Take an image as it is."""
        return cls(TF.pil_to_tensor(image), Frame.whole((image.height, image.width)))

    def mirrored(self) -> Sample:
        """Swap left and right."""
        return Sample(self.pixels.flip(-1), self.frame.mirrored())

    def flipped(self) -> Sample:
        """Swap top and bottom."""
        return Sample(self.pixels.flip(-2), self.frame.flipped())

    def turned(self) -> Sample:
        """Turn by 90 degrees, counter-clockwise."""
        return Sample(self.pixels.rot90(1, (-2, -1)), self.frame.turned())

    def resized(self, short_side: int, long_side: int = 10**9, factor: float = 1.0) -> Sample:
        """Bring the shorter side to a length, the longer one at most to another; both times a factor."""
        height, width = self.frame.size
        new_width, new_height = resized_size((width, height), short_side, long_side, factor)
        size = [new_height, new_width]
        return Sample(TF.resize(self.pixels, size), self.frame.resized((new_height, new_width)))

    def cropped(self, top: int, left: int, height: int, width: int) -> Sample:
        """Cut out a rectangle."""
        pixels = self.pixels[:, top : top + height, left : left + width]
        return Sample(pixels, self.frame.cropped(top, left, height, width))


def placed(objects: Objects, frame: Frame) -> Objects:
    """Bring objects into a frame.

    Left out are those whose box has a side below `LEAST_SIDE` there, and those whose mask has no pixel. Where
    a crop cuts an object that has a mask, its box is the one around what is left of the mask.
    """
    exact = frame.boxes(objects["boxes"])
    height, width = frame.size
    boxes = torch.minimum(exact.clamp(min=0), exact.new_tensor([width, height, width, height]))
    kept = ((boxes[:, 2:] - boxes[:, :2]) >= LEAST_SIDE).all(dim=1).nonzero()[:, 0]
    is_swapped = frame.is_mirrored and "mirrored_labels" in objects
    labels = objects["mirrored_labels"] if is_swapped else objects["labels"]
    found = {"boxes": boxes[kept], "labels": labels[kept]}
    if "masks" not in objects:
        return found
    masks = drawn_masks(objects["masks"], frame, kept.tolist())
    if frame.is_cut:
        is_cut = (exact[kept] != found["boxes"]).any(dim=1)
        found["boxes"] = torch.where(is_cut[:, None], boxes_around(masks).to(boxes), found["boxes"])
    has_pixel = masks.flatten(1).bool().any(dim=1)
    return {key: value[has_pixel] for key, value in {**found, "masks": masks}.items()}


def drawn_masks(masks: Tensor | MaskDrawer, frame: Frame, chosen: list[int]) -> Tensor:
    """Draw the masks of some objects in a frame, (n, h, w)."""
    if not isinstance(masks, Tensor):
        return masks(frame, chosen)
    return torch.from_numpy(frame.sampled(masks[chosen].numpy()).astype(np.uint8))


def boxes_around(masks: Tensor) -> Tensor:
    """Give the box around the pixels of each mask (N, h, w); 0 for one without any."""
    boxes = torch.zeros(len(masks), 4)
    for axis, (first, last) in ((1, (0, 2)), (2, (1, 3))):
        is_there = masks.bool().any(dim=axis)
        length = is_there.shape[1]
        places = torch.arange(length)
        boxes[:, first] = torch.where(is_there, places, length).amin(dim=1).float()
        boxes[:, last] = torch.where(is_there, places + 1, 0).amax(dim=1).float()
    return boxes


def _to_float(pixels: Tensor) -> Tensor:
    return TF.to_dtype(pixels, torch.float32, scale=True)


def _happens(probability: float) -> bool:
    return bool(torch.rand(1) < probability)


def _one_of(sides: tuple[int, ...]) -> int:
    return sides[int(torch.randint(len(sides), ()))]


def _between(least: int, most: int) -> int:
    """Draw a whole number of least..most."""
    return int(torch.randint(least, most + 1, ()))
