"""Deformable DETR's loss: predictions and objects are matched one to one, and each pair is compared.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020, https://arxiv.org/abs/2005.12872,
with the focal classification of Deformable DETR. It gives what transformers' own loss gives with the paper's
weights; beyond that all processes divide by the same number of objects, and a loss that is not finite comes
through for the caller to see.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torchvision.ops import box_convert, generalized_box_iou, sigmoid_focal_loss

CLASS_WEIGHT, BOX_WEIGHT, IOU_WEIGHT = 2.0, 5.0, 2.0
"""Of the focal loss, the L1 distance and the generalised IoU, in the matching and in the loss."""

_ALPHA, _GAMMA = 0.25, 2.0
_NEVER = 1e6  # cost of a pair that cannot be compared

Objects = tuple[Tensor, Tensor]
"""Labels (N,) from 0 and boxes (N, 4) of an image's objects; centre and size, as shares of the image."""


def set_losses(logits: Tensor, boxes: Tensor, objects: Sequence[Objects], count: Tensor) -> dict[str, Tensor]:
    """Compare predictions with the objects that they are matched with.

    Args:
        logits: Of the classes, (B, Q, K).
        boxes: Centre and size, as shares of the image, (B, Q, 4).
        objects: Of each image.
        count: What the sums are divided by, where it is 1 or more; as of `count_objects`.
    Returns:
        `loss_ce` over all predictions, `loss_bbox` and `loss_giou` over the matched; weighted.
    """
    count = count.clamp(min=1)
    wanted = torch.zeros_like(logits)
    chosen, true = [], []
    for i, (labels, its_boxes) in enumerate(objects):
        query, index = match(logits[i], boxes[i], labels, its_boxes)
        wanted[i, query, labels[index]] = 1
        chosen.append(boxes[i, query])
        true.append(its_boxes[index])
    found, given = torch.cat(chosen), torch.cat(true)
    overlap = generalized_box_iou(_corners(found), _corners(given)).diagonal()
    of_class = sigmoid_focal_loss(logits, wanted, alpha=_ALPHA, gamma=_GAMMA, reduction="sum")
    return {
        "loss_ce": CLASS_WEIGHT * of_class / count,
        "loss_bbox": BOX_WEIGHT * (found - given).abs().sum() / count,
        "loss_giou": IOU_WEIGHT * (1 - overlap).sum() / count,
    }


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, labels: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Match an image's predictions and objects one to one at the least cost.

    Args:
        logits: (Q, K).
        boxes: (Q, 4).
        labels: Of the objects, (N,).
        true: Boxes of the objects, (N, 4).
    Returns:
        Indices of min(Q, N) predictions, and of their objects.
    """
    share = logits.sigmoid()[:, labels]
    if_object = _ALPHA * (1 - share) ** _GAMMA * -(share + 1e-8).log()
    if_none = (1 - _ALPHA) * share**_GAMMA * -(1 - share + 1e-8).log()
    cost = (
        CLASS_WEIGHT * (if_object - if_none)
        + BOX_WEIGHT * torch.cdist(boxes, true, p=1)
        - IOU_WEIGHT * generalized_box_iou(_corners(boxes), _corners(true))
    )
    cost = cost.nan_to_num(nan=_NEVER, posinf=_NEVER, neginf=_NEVER)
    query, index = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(query, device=logits.device), torch.as_tensor(index, device=logits.device)


def count_objects(objects: Sequence[Objects]) -> Tensor:
    """Count the objects of a batch; where several processes train, the mean over them."""
    labels = [each for each, _ in objects]
    return mean_count(torch.tensor(float(sum(map(len, labels))), device=labels[0].device))


def mean_count(count: Tensor) -> Tensor:
    """Give the mean of a count over all processes: what losses are divided by, where it is 1 or more."""
    if dist.is_available() and dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return count


def _corners(boxes: Tensor) -> Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
