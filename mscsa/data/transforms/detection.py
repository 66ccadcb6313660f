"""Joint transforms of an image, its boxes and its masks, by torchvision's v2 (paper App. C.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from mscsa.data.transforms.resizing import resized_size
from mscsa.recipes.spec import DetectionAugment, DetectionData

Objects = dict[str, Tensor]
"""`boxes` (N, 4), x1 y1 x2 y2 in pixels; `labels` (N,); where asked for, `masks` (N, H, W), 0 or 1, uint8."""

ObjectTransform = Callable[[Image.Image, Objects], tuple[Tensor, Objects]]
"""RGB image and its objects to (3, h, w) float in 0..1 and the objects there; detectors normalise."""

LEAST_SIDE = 1.0
"""Objects whose box has a shorter side, in pixels after the resizing, are not trained on."""


def build_detection_transforms(
    data: DetectionData, augment: DetectionAugment
) -> tuple[ObjectTransform, ObjectTransform]:
    """Return the training and the evaluation transform.

    Training flips, crops (Deformable DETR) and resizes so that the shorter side is `data.short_side`, or one
    drawn from `augment.short_sides`, and the longer one at most `data.long_side`. Evaluation resizes to
    `data.short_side`; its objects stay as they are: detections are brought back to the image's own size.
    """
    steps: list[v2.Transform] = [v2.RandomHorizontalFlip(augment.hflip)]
    if augment.crop_sides is not None:
        crop = [ResizeShortSide(augment.crop_short_sides), CropInRange(augment.crop_sides)]
        steps.append(v2.RandomApply(crop, p=0.5))
    steps += _resizing(short_sides(data, augment), data.long_side)
    resize = ResizeShortSide((data.short_side,), data.long_side)

    def evaluate(image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
        return _to_float(resize(tv_tensors.Image(image))), objects

    return _on_objects(steps), evaluate


def build_object_variants(data: DetectionData, augment: DetectionAugment) -> list[ObjectTransform]:
    """Return transforms that draw nothing and make the variants of an image that training flips and resizes.

    These are the shorter sides, each mirrored or not; in each, objects are resized along and dropped as in
    training.
    """
    flips = (False, True) if augment.hflip else (False,)
    return [
        _on_objects([*([v2.RandomHorizontalFlip(1.0)] if flip else []), *_resizing((side,), data.long_side)])
        for side in short_sides(data, augment)
        for flip in flips
    ]


def short_sides(data: DetectionData, augment: DetectionAugment) -> tuple[int, ...]:
    """Give the shorter sides in pixels that training images may have."""
    return augment.short_sides or (data.short_side,)


def _resizing(sides: tuple[int, ...], long_side: int) -> list[v2.Transform]:
    """Resize an image and its objects, and drop what is too small then."""
    return [
        ResizeShortSide(sides, long_side),
        v2.ClampBoundingBoxes(),
        v2.SanitizeBoundingBoxes(min_size=LEAST_SIDE, labels_getter=lambda sample: sample[1]["labels"]),
    ]


def _on_objects(steps: Sequence[v2.Transform]) -> ObjectTransform:
    """Do steps on an image and its objects, one after the other."""
    together = v2.Compose(steps)

    def transform(image: Image.Image, objects: Objects) -> tuple[Tensor, Objects]:
        pixels, found = together(tv_tensors.Image(image), _typed(objects, image.size))
        return _to_float(pixels), {key: value.as_subclass(Tensor) for key, value in found.items()}

    return transform


class ResizeShortSide(v2.Transform):
    """Resize so that the shorter side is one of several, the longer one limited."""

    def __init__(self, short_sides: tuple[int, ...], long_side: int = 10**9) -> None:
        super().__init__()
        self.short_sides = short_sides
        self.long_side = long_side

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a shorter side and give the size (H, W) in pixels."""
        height, width = v2.query_size(flat_inputs)
        side = self.short_sides[int(torch.randint(len(self.short_sides), ()))]
        new_width, new_height = resized_size((width, height), side, self.long_side)
        return {"size": [new_height, new_width]}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Resize one of image, boxes and masks."""
        return self._call_kernel(TF.resize, inpt, size=params["size"])


class CropInRange(v2.Transform):
    """Cut out a rectangle whose sides are drawn from a range, as far as the image allows."""

    def __init__(self, sides: tuple[int, int]) -> None:
        super().__init__()
        self.sides = sides

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the rectangle, in pixels."""
        params = {}
        for start, side, length in zip(
            ("top", "left"), ("height", "width"), v2.query_size(flat_inputs), strict=True
        ):
            least, most = (min(each, length) for each in self.sides)
            params[side] = _draw(least, most)
            params[start] = _draw(0, length - params[side])
        return params

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Crop one of image, boxes and masks; objects outside have a box without area."""
        return self._call_kernel(TF.crop, inpt, **params)


def _typed(objects: Objects, image_size: tuple[int, int]) -> Objects:
    width, height = image_size
    boxes: Any = tv_tensors.BoundingBoxes(
        objects["boxes"],
        format="XYXY",
        canvas_size=(height, width),
    )
    masks = {"masks": tv_tensors.Mask(objects["masks"])} if "masks" in objects else {}
    return {**objects, "boxes": boxes, **masks}


def _to_float(pixels: Tensor) -> Tensor:
    return TF.to_dtype(pixels, torch.float32, scale=True).as_subclass(Tensor)


def _draw(least: int, most: int) -> int:
    """Draw a whole number of least..most."""
    return int(torch.randint(least, most + 1, ()))
