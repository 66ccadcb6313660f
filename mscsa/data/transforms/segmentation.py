"""Joint transforms of an image and its label map (paper App. C.3)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import resolve_data_config
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from mscsa.data.contract import IGNORED
from mscsa.data.transforms.colours import distort_colours
from mscsa.data.transforms.resizing import resized_size
from mscsa.errors import UserError
from mscsa.recipes.spec import SegmentationAugment, SegmentationData

JointTransform = Callable[[Image.Image, Image.Image], tuple[Tensor, Tensor]]
"""RGB image and label map (mode L, of equal size) to (3, h, w) float, normalised, and (H, W) int64."""

_CROP_TRIES = 10


def build_segmentation_transforms(
    data: SegmentationData,
    augment: SegmentationAugment,
    model_cfg: dict[str, Any],
    mirrored: tuple[int, ...] = (),
) -> tuple[JointTransform, JointTransform]:
    """Return the training and the evaluation transform.

    Training resizes the image so that its shorter side is `data.short_side` times a random factor (the
    longer one at most `data.long_side` times it), and cuts a square of `data.image_size` out of it; where the
    image is smaller, it is padded with the mean colour and ignored labels. Evaluation resizes the image
    alone, without a factor, and stretches it to sides that are multiples of `data.size_multiple`: the labels
    stay at their own size, at which the logits are compared.

    Args:
        model_cfg: The model's `pretrained_cfg`: mean and standard deviation, timm's defaults if it has none.
        mirrored: What each class is in a mirror image, K; itself if empty.
    Raises:
        UserError: If `data.size_multiple` is not positive.
    """
    if data.size_multiple < 1:
        raise UserError(f"data.size_multiple {data.size_multiple} is not possible; give 1 or more")
    size = (3, data.image_size, data.image_size)
    config = resolve_data_config({"input_size": size}, pretrained_cfg=model_cfg)
    normalize = v2.Normalize(config["mean"], config["std"])
    return TrainMaps(data, augment, normalize, mirrored), EvaluatedMaps(data, normalize)


def build_variants(
    data: SegmentationData,
    augment: SegmentationAugment,
    model_cfg: dict[str, Any],
    mirrored: tuple[int, ...] = (),
) -> list[JointTransform]:
    """Return transforms without randomness that make the variants of an image: scales, each mirrored or not.

    The scales are the ends of `augment.scale`, and 1 if it lies between; labels are resized along.

    Args:
        model_cfg, mirrored: As `build_segmentation_transforms`.
    """
    config = resolve_data_config({}, pretrained_cfg=model_cfg)
    normalize = v2.Normalize(config["mean"], config["std"])
    low, high = augment.scale
    scales = sorted({low, high} | ({1.0} if low < 1 < high else set()))
    flips = (False, True) if augment.hflip else (False,)
    return [
        MapVariant(data, normalize, scale, is_mirrored, mirrored) for scale in scales for is_mirrored in flips
    ]


@dataclass(frozen=True)
class TrainMaps:
    """The training transform; worker processes take it along."""

    data: SegmentationData
    augment: SegmentationAugment
    normalize: v2.Normalize
    mirrored: tuple[int, ...] = ()
    """What each class is in a mirror image, K; itself if empty."""

    def __call__(self, image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        """Resize, turn, crop, distort, pad and mirror."""
        data, augment = self.data, self.augment
        size = resized_size(image.size, data.short_side, data.long_side, random.uniform(*augment.scale))
        image = image.resize(size, Image.Resampling.BILINEAR)
        labels = labels.resize(size, Image.Resampling.NEAREST)
        if augment.rotation:  # what is off draws nothing
            angle = random.uniform(-augment.rotation, augment.rotation)
            image, labels = turned(image, labels, angle, self.normalize.mean)
        box = choose_crop(np.asarray(labels), data.image_size, augment.max_class_share)
        image, labels = image.crop(box), labels.crop(box)
        pixels = _to_float(image)
        if augment.photometric:
            pixels = distort_colours(pixels)
        missing = (0, 0, data.image_size - image.width, data.image_size - image.height)
        pixels = TF.pad(self.normalize(pixels), list(missing), fill=[0.0])
        classes = TF.pad(_to_classes(labels)[None], list(missing), fill=[IGNORED])[0]
        if random.random() < augment.hflip:
            pixels, classes = pixels.flip(-1), mirrored_labels(classes, self.mirrored)
        if augment.vflip and random.random() < augment.vflip:
            pixels, classes = pixels.flip(-2), mirrored_labels(classes, self.mirrored, axis=-2)
        return pixels, classes


def turned(
    image: Image.Image, labels: Image.Image, angle: float, mean: Sequence[float]
) -> tuple[Image.Image, Image.Image]:
    """Turn both about their middle, in a frame of the same size.

    Args:
        image: RGB.
        labels: Class of each pixel.
        angle: Counter-clockwise, in degrees.
        mean: Colour in 0..1 of what comes in from outside, whose labels are ignored.
    """
    fill = tuple(round(255 * each) for each in mean)
    pixels = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=fill)
    return pixels, labels.rotate(angle, Image.Resampling.NEAREST, fillcolor=IGNORED)


@dataclass(frozen=True)
class EvaluatedMaps:
    """The transform of evaluation; labels stay as they are."""

    data: SegmentationData
    normalize: v2.Normalize

    def __call__(self, image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        """Resize the image."""
        width, height = resized_size(image.size, self.data.short_side, self.data.long_side)
        step = self.data.size_multiple
        size = (step * math.ceil(width / step), step * math.ceil(height / step))
        pixels = self.normalize(_to_float(image.resize(size, Image.Resampling.BILINEAR)))
        return pixels, _to_classes(labels)


@dataclass(frozen=True)
class MapVariant:
    """One of the images that training draws from where nothing else is drawn."""

    data: SegmentationData
    normalize: v2.Normalize
    scale: float
    is_mirrored: bool
    mirrored: tuple[int, ...] = ()
    """As in `TrainMaps`."""

    def __call__(self, image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        """Resize both, and mirror them."""
        size = resized_size(image.size, self.data.short_side, self.data.long_side, self.scale)
        pixels = self.normalize(_to_float(image.resize(size, Image.Resampling.BILINEAR)))
        classes = _to_classes(labels.resize(size, Image.Resampling.NEAREST))
        if self.is_mirrored:
            return pixels.flip(-1), mirrored_labels(classes, self.mirrored)
        return pixels, classes


def mirrored_labels(labels: Tensor, mirrored: tuple[int, ...], *, axis: int = -1) -> Tensor:
    """Swap the sides of labels (H, W) along an axis, and the classes that are others in a mirror image."""
    flipped = labels.flip(axis)
    if not mirrored:
        return flipped
    others = torch.arange(IGNORED + 1)
    others[: len(mirrored)] = torch.tensor(mirrored)
    return others[flipped]


def choose_crop(
    labels: NDArray[np.uint8], side: int, max_class_share: float, *, step: int = 1
) -> tuple[int, int, int, int]:
    """Draw a crop (left, top, right, bottom) in which no class has too large a share, if one is found.

    Args:
        labels: Class of each pixel, (H, W).
        side: Side of the crop in px; less where the image is smaller.
        max_class_share: Share of the known pixels; 1 takes the first crop.
        step: Crops begin at multiples of it.
    """
    height, width = min(side, labels.shape[0]), min(side, labels.shape[1])
    for _ in range(_CROP_TRIES):
        left = step * random.randint(0, (labels.shape[1] - width) // step)
        top = step * random.randint(0, (labels.shape[0] - height) // step)
        counts = np.bincount(labels[top : top + height, left : left + width].ravel(), minlength=IGNORED + 1)
        known = counts[:IGNORED]
        if max_class_share >= 1 or known.max() < max_class_share * known.sum():
            break
    return left, top, left + width, top + height


def _to_float(image: Image.Image) -> Tensor:
    return TF.to_dtype(TF.pil_to_tensor(image), torch.float32, scale=True)


def _to_classes(labels: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(labels, np.int64))
