"""Random colours, as training settings of segmentation and detection have them."""

from __future__ import annotations

import random

from torch import Tensor
from torchvision.transforms.v2 import functional as TF


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
