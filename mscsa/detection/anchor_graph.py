"""RetinaNet up to the boxes of all its anchors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from mscsa.graphs import Size


class AnchorGraph(nn.Module):
    """Logits and decoded boxes of all anchors of images of one size."""

    def __init__(self, net: Any, size: Size) -> None:
        """Take a RetinaNet and lay its anchors for images of (H, W)."""
        super().__init__()
        self.backbone, self.head = net.backbone, net.head
        self.coder = net.box_coder
        self.limits = {
            "score_thresh": net.score_thresh,
            "candidates": net.topk_candidates,
            "nms_thresh": net.nms_thresh,
            "detections_per_img": net.detections_per_img,
        }
        anchors, self.counts = lay_anchors(net.backbone, net.anchor_generator, size)
        self.register_buffer("anchors", anchors, persistent=False)

    def selection(self) -> dict[str, Any]:
        """Say how detections are chosen."""
        return {"kind": "anchors", "takes_sizes": False, "anchors_per_level": self.counts, **self.limits}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W) to logits (B, A, K) and boxes (B, A, 4)."""
        found = self.head(list(self.backbone(images).values()))
        return found["cls_logits"], decode(self.coder, found["bbox_regression"], self.anchors)


def lay_anchors(backbone: Any, generator: Any, size: Size) -> tuple[Tensor, list[int]]:
    """Give the anchors of all levels for images of (H, W), (A, 4), and how many each level has."""
    image = torch.zeros(1, 3, *size)
    with torch.no_grad():
        maps = list(backbone(image).values())
        (anchors,) = generator(ImageList(image, [size]), maps)
    per_place = generator.num_anchors_per_location()
    places = (each.shape[-2] * each.shape[-1] for each in maps)
    return anchors.clone(), [count * place for count, place in zip(per_place, places, strict=True)]


def decode(coder: Any, offsets: Tensor, anchors: Any) -> Tensor:
    """Apply offsets (B, A, 4) to anchors (A, 4)."""
    every = anchors.expand(offsets.shape[0], -1, -1).reshape(-1, 4)
    boxes: Tensor = coder.decode_single(offsets.reshape(-1, 4), every)
    return boxes.reshape(offsets.shape[0], -1, 4)
