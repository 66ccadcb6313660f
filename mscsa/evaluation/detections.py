"""What a detector finds, in each image's own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mscsa.data.coco.masks import encode_masks
from mscsa.detection.detector import Detector
from mscsa.detection.mask_head import paste_masks
from mscsa.evaluation.running import autocast

MASK_THRESHOLD = 0.5
"""Least probability of a pixel that belongs to an object."""

_MASKS_AT_ONCE = 16
# 100 masks of 800x1333 px in float32 are half a gigabyte.


@dataclass(frozen=True)
class Detections:
    """What was found in an image, the surest first."""

    boxes: NDArray[np.float32]
    """x1, y1, x2, y2 in the image's own pixels, (N, 4)."""
    labels: NDArray[np.int64]
    """1..K, (N,)."""
    scores: NDArray[np.float32]
    """In 0..1, (N,)."""
    masks: tuple[dict[str, Any], ...] | None = None
    """Pixels of each object as COCO's run lengths (`decode_segmentation`), N; None of detectors of boxes. A
    hundred masks of a large photograph would be gigabytes."""


def find_objects(
    model: nn.Module,
    images: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    *,
    device: torch.device,
    precision: str = "32-true",
) -> list[Detections]:
    """Run a detector in eval mode on resized images and bring what it finds back to their own sizes.

    Args:
        model: A `mscsa.detection.Detector`, or another model of torchvision's contract, in eval mode.
        images: (3, h, w) each, in 0..1.
        sizes: (H, W) of each image in pixels before the resizing.
        precision: Lightning's name of the arithmetic.
    """
    dtype = next(model.parameters()).dtype
    with torch.inference_mode(), autocast(precision, device):
        find = model.find if isinstance(model, Detector) else model
        found = find([image.to(device=device, dtype=dtype) for image in images])
        return [
            _at_own_size(each, (image.shape[-2], image.shape[-1]), size)
            for each, image, size in zip(found, images, sizes, strict=True)
        ]


def _at_own_size(found: dict[str, Tensor], given: tuple[int, int], own: tuple[int, int]) -> Detections:
    """Scale the detections of an image from the size that the model was given to its own, (H, W) each."""
    scale = found["boxes"].new_tensor([own[1] / given[1], own[0] / given[0]]).repeat(2)
    boxes = found["boxes"] * scale
    masks: list[dict[str, Any]] | None = None
    if "masks" in found:
        masks = []
        parts = (each.split(_MASKS_AT_ONCE) for each in (found["masks"], boxes))
        for some, its_boxes in zip(*parts, strict=True):
            masks += encode_masks((_pasted(some, its_boxes, given, own) >= MASK_THRESHOLD).cpu().numpy())
    return Detections(
        boxes=boxes.float().cpu().numpy(),
        labels=found["labels"].cpu().numpy(),
        scores=found["scores"].float().cpu().numpy(),
        masks=None if masks is None else tuple(masks),
    )


def _pasted(masks: Tensor, boxes: Tensor, given: tuple[int, int], own: tuple[int, int]) -> Tensor:
    """Bring masks (N, 1, h, w) to an image's own size (N, H, W): those of a box, or of the whole image."""
    if tuple(masks.shape[-2:]) != given:
        return paste_masks(masks, boxes, own)[:, 0]
    if given == own:
        return masks[:, 0]
    return F.interpolate(masks.float(), own, mode="bilinear", align_corners=False)[:, 0]
