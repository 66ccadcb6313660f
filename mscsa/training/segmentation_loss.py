"""What a segmenter minimises: cross-entropy or the focal loss, with a weight for each class, and the Dice
loss.

Means are over the pixels, or the classes, of all processes: several processes with unequal shares of ignored
pixels step as one would. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; Milletari et al.,
"V-Net", 3DV 2016.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from mscsa.data.contract import IGNORED
from mscsa.errors import UserError, unknown_name
from mscsa.training.arithmetic import at_least_float32


@dataclass(frozen=True, kw_only=True)
class SegmentationLoss:
    """The weighted sum of two losses, from logits (B, K, H, W) and labels (B, H, W)."""

    cross_entropy: float = 1.0
    """Weight of the loss of pixels."""
    dice: float = 0.0
    """Weight of the Dice loss: 1 - 2 |P and T| / (|P| + |T|) of the probabilities P and the pixels T of each
    class in the labels of an image, mean over these."""
    focal_gamma: float = 0.0
    """The loss of a pixel is multiplied by (1 - its label's probability) to this power; 0 is
    cross-entropy."""
    class_weights: tuple[float, ...] | None = None
    """By which the loss of a pixel of each class is weighted, and the Dice loss of the class; K numbers."""

    @classmethod
    def of(cls, options: Mapping[str, Any], num_classes: int) -> SegmentationLoss:
        """Read `model.loss`.

        Raises:
            UserError: If an option is not known (names the nearest), or a value is not possible.
        """
        known = [field.name for field in fields(cls)]
        for name, value in options.items():
            if name not in known:
                raise unknown_name("model.loss has no field", name, known)
            if name != "class_weights" and not _is_weight(value):
                raise UserError(f"model.loss.{name} {value!r} given: give a number from 0 on")
        weights = options.get("class_weights")
        loss = cls(
            **{**options, "class_weights": None if weights is None else _weights(weights, num_classes)}
        )
        if loss.cross_entropy == 0 and loss.dice == 0:
            raise UserError("model.loss has cross_entropy 0 and dice 0: give one of them more than 0")
        return loss

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Give the loss of a batch; pixels without a class do not count."""
        log_probabilities = at_least_float32(logits).log_softmax(dim=1)
        loss = log_probabilities.new_zeros(())
        if self.cross_entropy:
            loss = loss + self.cross_entropy * self._of_pixels(log_probabilities, labels)
        if self.dice:
            loss = loss + self.dice * self._of_classes(log_probabilities.exp(), labels)
        return loss

    def _of_pixels(self, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        weights = counted.to(log_probabilities.dtype)
        if self.class_weights is not None:
            of_class = log_probabilities.new_tensor(self.class_weights)
            weights = weights * of_class[labels.where(counted, 0)]
        losses = F.nll_loss(log_probabilities, labels, ignore_index=IGNORED, reduction="none")
        if self.focal_gamma:
            # At a probability of 1 the derivative of a power below 1 is infinite.
            missing = (1 - (-losses).exp()).clamp(min=torch.finfo(losses.dtype).eps)
            losses = losses * missing**self.focal_gamma
        return _mean((weights * losses).sum(), weights.sum())

    def _of_classes(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        counted = labels != IGNORED
        classes = torch.arange(probabilities.shape[1], device=labels.device)[:, None, None]
        true = (labels[:, None] == classes).to(probabilities.dtype)
        given = probabilities * counted[:, None]
        both = (given * true).sum(dim=(2, 3))
        pixels = true.sum(dim=(2, 3))
        # A class that is not in an image has no Dice loss there: whatever is predicted, it would be 1.
        weights = (pixels > 0).to(probabilities.dtype)
        losses = 1 - 2 * both / (given.sum(dim=(2, 3)) + pixels).clamp(min=1)
        if self.class_weights is not None:
            weights = weights * weights.new_tensor(self.class_weights)
        return _mean((weights * losses).sum(), weights.sum())


def _mean(total: Tensor, count: Tensor) -> Tensor:
    """Divide a sum by what was summed; DDP's mean over processes is then that of all of them together.

    Nothing to sum, such as a batch of ignored pixels alone, is 0 and not NaN.
    """
    count = count.detach()
    if dist.is_available() and dist.is_initialized():
        count = count.clone()
        dist.all_reduce(count)
        count /= dist.get_world_size()
    return total / count.where(count > 0, 1)


def _weights(given: Any, num_classes: int) -> tuple[float, ...]:
    if not isinstance(given, (list, tuple)) or not all(map(_is_weight, given)) or not any(given):
        raise UserError(
            f"model.loss.class_weights {given!r} given: give a list of numbers from 0 on, one for each class"
        )
    if len(given) != num_classes:
        raise UserError(
            f"model.loss.class_weights has {len(given)} numbers, the data {num_classes} classes: give one "
            "for each, in their order"
        )
    return tuple(map(float, given))


def _is_weight(value: Any) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and 0 <= value <= sys.float_info.max
