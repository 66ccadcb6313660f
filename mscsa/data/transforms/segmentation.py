"""Joint transforms of an image and its label map (paper App. C.3)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from mscsa.data.contract import IGNORED
from mscsa.data.transforms.resizing import resized_size
from mscsa.recipes.spec import SegmentationAugment, SegmentationData

JointTransform = Callable[[Image.Image, Image.Image], tuple[Tensor, Tensor]]
"""RGB image and label map (mode L, of equal size) to (3, h, w) float, normalised, and (H, W) int64."""

_CROP_TRIES = 10


def build_segmentation_transforms(
    data: SegmentationData, augment: SegmentationAugment, model_cfg: dict[str, Any]
) -> tuple[JointTransform, JointTransform]:
    """Return the training and the evaluation transform.

    Training resizes the image so that its shorter side is `data.short_side` times a random factor (the
    longer one at most `data.long_side` times it), and cuts a square of `data.image_size` out of it; where the
    image is smaller, it is padded with the mean colour and ignored labels. Evaluation resizes the image
    alone, without a factor: the labels stay at their own size, at which the logits are compared.

    Args:
        model_cfg: The model's `pretrained_cfg`: mean and standard deviation, timm's defaults if it has none.
    """
    size = (3, data.image_size, data.image_size)
    config = resolve_data_config({"input_size": size}, pretrained_cfg=model_cfg)
    normalize = v2.Normalize(config["mean"], config["std"])

    def train(image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        size = resized_size(image.size, data.short_side, data.long_side, random.uniform(*augment.scale))
        image = image.resize(size, Image.Resampling.BILINEAR)
        labels = labels.resize(size, Image.Resampling.NEAREST)
        box = _choose_crop(labels, data.image_size, augment.max_class_share)
        image, labels = image.crop(box), labels.crop(box)
        pixels = _to_float(image)
        if augment.photometric:
            pixels = distort_colours(pixels)
        missing = (0, 0, data.image_size - image.width, data.image_size - image.height)
        pixels = TF.pad(normalize(pixels), list(missing), fill=[0.0])
        classes = TF.pad(_to_classes(labels)[None], list(missing), fill=[IGNORED])[0]
        if random.random() < augment.hflip:
            pixels, classes = pixels.flip(-1), classes.flip(-1)
        return pixels, classes

    def evaluate(image: Image.Image, labels: Image.Image) -> tuple[Tensor, Tensor]:
        size = resized_size(image.size, data.short_side, data.long_side)
        return normalize(_to_float(image.resize(size, Image.Resampling.BILINEAR))), _to_classes(labels)

    return train, evaluate


def distort_colours(pixels: Tensor) -> Tensor:
    """Change brightness, contrast, saturation and hue, each in half of the cases.

    Contrast comes before or after saturation and hue, at even odds (Liu et al., "SSD", 2016, with the
    ranges that segmentation settings use: 32/255, 0.5-1.5, 0.5-1.5, 18 degrees).

    Args:
        pixels: RGB in 0..1, (3, H, W).
    """
    contrast_first = random.random() < 0.5
    if random.random() < 0.5:
        pixels = (pixels + random.uniform(-32 / 255, 32 / 255)).clamp(0, 1)
    if contrast_first:
        pixels = _distort_contrast(pixels)
    if random.random() < 0.5:
        pixels = TF.adjust_saturation(pixels, random.uniform(0.5, 1.5))
    if random.random() < 0.5:
        pixels = TF.adjust_hue(pixels, random.uniform(-18 / 360, 18 / 360))
    return pixels if contrast_first else _distort_contrast(pixels)


def _distort_contrast(pixels: Tensor) -> Tensor:
    # Around black, not around the mean as torchvision's adjust_contrast: it scales all values.
    return (pixels * random.uniform(0.5, 1.5)).clamp(0, 1) if random.random() < 0.5 else pixels


def _choose_crop(labels: Image.Image, side: int, max_class_share: float) -> tuple[int, int, int, int]:
    """Draw a crop (left, top, right, bottom) in which no class has too large a share, if one is found."""
    width, height = min(side, labels.width), min(side, labels.height)
    classes = np.asarray(labels)
    for _ in range(_CROP_TRIES):
        left = random.randint(0, labels.width - width)
        top = random.randint(0, labels.height - height)
        counts = np.bincount(classes[top : top + height, left : left + width].ravel(), minlength=IGNORED + 1)
        known = counts[:IGNORED]
        if max_class_share >= 1 or known.max() < max_class_share * known.sum():
            break
    return left, top, left + width, top + height


def _to_float(image: Image.Image) -> Tensor:
    return TF.to_dtype(TF.pil_to_tensor(image), torch.float32, scale=True)


def _to_classes(labels: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(labels, np.int64))
