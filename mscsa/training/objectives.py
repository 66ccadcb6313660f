"""What a training step minimises, per task: from a batch to its loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from timm.data import Mixup
from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from torch import Tensor, nn

from mscsa.recipes.spec import ClassificationAugment, Recipe
from mscsa.training.arithmetic import at_least_float32
from mscsa.training.segmentation_loss import SegmentationLoss

Images = Tensor | Sequence[Tensor]
"""(B, 3, H, W), or one (3, H, W) each where sizes differ."""


@dataclass(frozen=True)
class Outcome:
    """A step up to its loss, and what to look through if that is not finite."""

    loss: Tensor
    images: Images
    """What the model saw."""
    outputs: Tensor | None = None
    """What it gave, (B, ...); None where its outputs are not apart by image."""


class Objective(Protocol):
    """The loss of one batch of (images, targets, indices)."""

    def __call__(self, forward: Callable[..., Any], images: Images, targets: Any) -> Outcome:
        """Run the model by `forward` and compute the loss."""


class ClassificationObjective:
    """Mixup or CutMix, then cross-entropy with smoothed labels."""

    def __init__(self, augment: ClassificationAugment, num_classes: int) -> None:
        self.mixup = build_mixup(augment, num_classes)
        self.criterion = build_criterion(augment)

    def __call__(self, forward: Callable[..., Any], images: Images, targets: Any) -> Outcome:
        """Classify images (B, 3, H, W) with labels (B,)."""
        if self.mixup is not None:
            images, targets = self.mixup(images, targets)
        logits = forward(images)
        return Outcome(self.criterion(at_least_float32(logits), targets), images, logits)


class SegmentationObjective:
    """A loss of logits and labels; cross-entropy, mean over the pixels that have a class, unless told."""

    def __init__(self, loss: SegmentationLoss | None = None) -> None:
        self.loss = loss or SegmentationLoss()

    def __call__(self, forward: Callable[..., Any], images: Images, targets: Any) -> Outcome:
        """Segment images (B, 3, H, W) with labels (B, H, W)."""
        logits = forward(images)
        return Outcome(self.loss(logits, targets), images, logits)


class DetectionObjective:
    """The sum of a detector's own losses."""

    def __call__(self, forward: Callable[..., Any], images: Images, targets: Any) -> Outcome:
        """Find objects in images (3, H, W) with their boxes, labels and masks."""
        losses = forward(images, targets)
        return Outcome(torch.stack(list(losses.values())).sum(), images)


def build_objective(recipe: Recipe, num_classes: int) -> Objective:
    """Build what the recipe's task minimises.

    Raises:
        UserError: If `model.loss` is not possible.
    """
    if isinstance(recipe.augment, ClassificationAugment):
        return ClassificationObjective(recipe.augment, num_classes)
    if recipe.model.task == "segmentation":
        return SegmentationObjective(SegmentationLoss.of(recipe.model.loss, num_classes))
    return DetectionObjective()


def build_mixup(augment: ClassificationAugment, num_classes: int) -> Mixup | None:
    """Build timm's Mixup / CutMix, which also smooths the labels; None where both are off."""
    if not augment.is_mixing:
        return None
    return Mixup(
        mixup_alpha=augment.mixup,
        cutmix_alpha=augment.cutmix,
        prob=augment.mix_prob,
        switch_prob=augment.mix_switch_prob,
        label_smoothing=augment.label_smoothing,
        num_classes=num_classes,
    )


def build_criterion(augment: ClassificationAugment) -> nn.Module:
    """Build the loss: soft targets after mixing, else cross-entropy with or without smoothing."""
    if augment.is_mixing:
        return SoftTargetCrossEntropy()
    if augment.label_smoothing > 0:
        return LabelSmoothingCrossEntropy(augment.label_smoothing)
    return nn.CrossEntropyLoss()
