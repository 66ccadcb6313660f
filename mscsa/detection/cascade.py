"""Box heads in a row on torchvision's parts: the heads of Cascade Mask R-CNN.

Cai & Vasconcelos, "Cascade R-CNN: High Quality Object Detection and Instance Segmentation", TPAMI 2019,
https://arxiv.org/abs/1906.09756; figures as in MMDetection's standard configuration.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import clip_boxes_to_image

from mscsa.detection.mask_head import MaskRoIHeads, targets_given


@dataclass(frozen=True)
class CascadeStage:
    """One of the box heads in a row, each trained on the boxes of the one before."""

    iou: float
    """Least IoU with an object for a box to count as it."""
    coder_weights: tuple[float, float, float, float]
    """Factors on the offsets (x, y, width, height) that are learned."""
    loss_weight: float
    """Share of its losses in the sum."""


CASCADE = (
    CascadeStage(0.5, (10.0, 10.0, 5.0, 5.0), 1.0),
    CascadeStage(0.6, (20.0, 20.0, 10.0, 10.0), 0.5),
    CascadeStage(0.7, (30.0, 30.0, 15.0, 15.0), 0.25),
)
"""Of the paper and of MMDetection's standard configuration."""


class SharedBoxPredictor(nn.Module):
    """Scores of K classes and the background, and offsets that all classes share."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(channels, num_classes + 1)
        self.bbox_pred = nn.Linear(channels, 4)
        # Small, as is usual: the next stage trains on the boxes that this one has moved.
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, C) to logits (N, K + 1) and offsets (N, 4)."""
        return self.cls_score(x), self.bbox_pred(x)


class CascadeRoIHeads(nn.Module):
    """Box heads in a row, each of which sees the boxes that the one before has moved.

    Offsets are shared by the classes. In evaluation the class scores of the stages are averaged, each on
    its own boxes, and the masks of all stages on the final boxes.
    """

    def __init__(self, stages: Sequence[MaskRoIHeads], loss_weights: Sequence[float]) -> None:
        """Put the heads in a row.

        Args:
            stages: Each with a `SharedBoxPredictor` and a mask head.
            loss_weights: Factor on the losses of each.
        """
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.loss_weights = tuple(loss_weights)
        self.detections_per_img = stages[-1].detections_per_img

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Give what `MaskRoIHeads.forward` gives, for the same arguments."""
        if self.training:
            return [], self._losses(features, proposals, image_shapes, targets_given(targets))
        return self._detect(features, proposals, image_shapes), {}

    def _losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        for i, (stage, weight) in enumerate(zip(self._heads(), self.loss_weights, strict=True)):
            boxes, matched, labels, offsets = stage.select_training_samples(proposals, targets)
            logits, predicted = _predict(stage, features, boxes, image_shapes)
            of_class, of_box = box_losses(logits, predicted, torch.cat(labels), torch.cat(offsets))
            of_mask = stage.mask_loss(features, boxes, matched, labels, image_shapes, targets)
            losses |= {
                f"loss_classifier_{i}": weight * of_class,
                f"loss_box_reg_{i}": weight * of_box,
                f"loss_mask_{i}": weight * of_mask,
            }
            # An object's own box among the proposals has nothing to learn; the next stage adds them itself.
            is_own = [
                (label > 0) & (each == 0).all(dim=1) for label, each in zip(labels, offsets, strict=True)
            ]
            moved = move_boxes(stage, predicted.detach(), boxes, image_shapes)
            proposals = [box[~own] for box, own in zip(moved, is_own, strict=True)]
        return losses

    def _detect(
        self, features: dict[str, Tensor], proposals: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        scores: list[Tensor] = []
        *earlier, last = self._heads()
        for stage in earlier:
            logits, offsets = _predict(stage, features, proposals, image_shapes)
            scores.append(logits.softmax(dim=-1))
            proposals = move_boxes(stage, offsets, proposals, image_shapes)
        logits, offsets = _predict(last, features, proposals, image_shapes)
        scores.append(logits.softmax(dim=-1))
        mean = torch.stack(scores).mean(dim=0)
        # torchvision takes logits, and offsets for each class.
        boxes, kept_scores, labels = last.postprocess_detections(
            mean.log(), offsets.repeat(1, mean.shape[1]), proposals, image_shapes
        )
        masks = [
            maskrcnn_inference(stage.mask_logits(features, boxes, image_shapes), labels)
            for stage in self._heads()
        ]
        return [
            {
                "boxes": boxes[i],
                "labels": labels[i],
                "scores": kept_scores[i],
                "masks": torch.stack([of_stage[i] for of_stage in masks]).mean(dim=0),
            }
            for i in range(len(boxes))
        ]

    def _heads(self) -> list[Any]:
        return list(self.stages)


def box_losses(logits: Tensor, predicted: Tensor, labels: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Give the losses of a box head whose offsets are shared by the classes.

    Args:
        logits: (N, K + 1).
        predicted: Offsets, (N, 4).
        labels: (N,), 0 for the background.
        offsets: True offsets, (N, 4).
    Returns:
        Cross-entropy, and smooth L1 (beta 1) over the boxes on objects; both as means over all N boxes.
    """
    is_object = labels > 0
    of_box = F.smooth_l1_loss(predicted[is_object], offsets[is_object], reduction="sum")
    return F.cross_entropy(logits, labels), of_box / max(1, labels.numel())


def move_boxes(
    stage: Any, offsets: Tensor, boxes: list[Tensor], image_shapes: list[tuple[int, int]]
) -> list[Tensor]:
    """Apply a stage's offsets (N, 4) to boxes (N_i, 4) of each image and clip them to it."""
    moved = stage.box_coder.decode(offsets, boxes).reshape(-1, 4).split([len(each) for each in boxes])
    return [clip_boxes_to_image(box, shape) for box, shape in zip(moved, image_shapes, strict=True)]


def _predict(
    stage: Any, features: Mapping[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
) -> tuple[Tensor, Tensor]:
    return stage.box_predictor(stage.box_head(stage.box_roi_pool(features, boxes, image_shapes)))
