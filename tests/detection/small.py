"""Small detectors and small images for the tests."""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch import Tensor

from mscsa.detection import Detector, build_detector
from mscsa.heads import HEADS

BACKBONES = ("test_resnet", "mscsa_test_resnet")
DETECTORS = [name for name, head in HEADS.items() if head.task != "segmentation"]
K = 3
"""Classes of the small detectors."""

_TWO_STAGE = {"fpn_channels": 16, "proposals": 24, "detections_per_img": 5, "score_thresh": 0.0}
OPTIONS: dict[str, dict[str, Any]] = {
    "mask_rcnn": _TWO_STAGE,
    "cascade_mask_rcnn": _TWO_STAGE,
    "retinanet": {"fpn_channels": 16, "detections_per_img": 5, "score_thresh": 0.001},
    "deformable_detr": {
        **{"num_queries": 12, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0},
        "detections_per_img": 5,
    },
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in OPTIONS},
    "box_refine": ("deformable_detr", {"box_refine": True}),
    "two_stage": ("deformable_detr", {"two_stage": True}),
}
"""All detectors, and the variants of Deformable DETR."""


def small(name: str, backbone: str = "test_resnet", num_classes: int = K, **options: Any) -> Detector:
    """Build a small detector, or a variant, the same each time; batch norms live unless asked otherwise."""
    detector, own = VARIANTS[name]
    options = {"backbone_norm": "live", **OPTIONS[detector], **own, **options}
    if backbone.startswith("mscsa_"):
        options = {"fields": {"pool_stride": 16}, **options}
    torch.manual_seed(0)
    return build_detector(detector, backbone, num_classes, **options)


@functools.cache
def _built(name: str, backbone: str) -> Detector:
    return small(name, backbone)


def fresh(name: str, backbone: str = "test_resnet") -> Detector:
    """Give a copy of the small detector with default options, which is faster than to build it."""
    return copy.deepcopy(_built(name, backbone)).train()


def scene(height: int, width: int, count: int, dtype: torch.dtype = torch.float32) -> Any:
    """Draw an image (3, H, W) and its target: rectangles of one colour by class, boxes and masks."""
    generator = torch.Generator().manual_seed(1000 * height + width + count)
    image = 0.2 * torch.rand(3, height, width, generator=generator)
    size = 8 + (torch.tensor([width, height]) - 12) / 2 * torch.rand(count, 2, generator=generator)
    corner = (torch.tensor([width, height]) - size) * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corner, corner + size], dim=1).round()
    labels = torch.randint(1, K + 1, (count,), generator=generator)
    masks = torch.zeros(count, height, width, dtype=torch.uint8)
    for mask, label, (x1, y1, x2, y2) in zip(masks, labels, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
        image[label - 1, y1:y2, x1:x2] += 0.6
    return image.to(dtype), {"boxes": boxes.to(dtype), "labels": labels, "masks": masks}


def batch(
    *shapes: tuple[int, int, int], dtype: torch.dtype = torch.float32
) -> tuple[list[Tensor], list[Any]]:
    """Give images and targets for (height, width, number of objects) each."""
    scenes = [scene(*shape, dtype=dtype) for shape in shapes]
    return [image for image, _ in scenes], [target for _, target in scenes]


def wake(model: torch.nn.Module, scale: float = 0.05) -> None:
    """Move all parameters off the values at which whole branches give 0."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=scale)
