"""How a segmenter is asked about an image: whole or through a sliding window, at several scales, mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SegmentationInference:
    """What is averaged into one prediction; probabilities are, where it is more than one."""

    window: Literal["whole", "slide"] = "whole"
    """The whole image at once, or a window that slides over it."""
    crop: int = 512
    """Side of the sliding window in pixels."""
    stride: int = 341
    """Pixels between two windows; the last ones are moved back inside the image."""
    scales: tuple[float, ...] = (1.0,)
    """Factors on the image's size."""
    flip: bool = False
    """Ask about the mirror image too."""

    def __post_init__(self) -> None:
        if self.window not in ("whole", "slide"):
            raise UserError(f"window {self.window!r} is not known: give whole or slide")
        if not 1 <= self.stride <= self.crop:
            raise UserError(
                f"stride {self.stride} of windows of {self.crop} px leaves pixels out or is none: give 1 to "
                f"{self.crop}"
            )
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"scales {list(self.scales)} given: give one or more above 0")

    def __call__(self, model: nn.Module, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Predict images of one size.

        Args:
            model: Images (B, 3, H, W) to logits (B, K, H, W).
            images: (B, 3, h, w).
            size: (H, W) of the prediction in pixels.
        Returns:
            Log-probabilities in float32, (B, K, H, W).
        """
        sides = (False, True) if self.flip else (False,)
        views = [(scale, is_mirrored) for scale in self.scales for is_mirrored in sides]
        total: Tensor | None = None
        for scale, is_mirrored in views:
            logits = self._predict(model, images, scale, is_mirrored)
            log_probabilities = _resize(logits.float(), size).log_softmax(dim=1)
            if len(views) == 1:
                return log_probabilities
            probabilities = log_probabilities.exp()
            total = probabilities if total is None else total + probabilities
        assert total is not None
        return (total / len(views)).log()

    def _predict(self, model: nn.Module, images: Tensor, scale: float, is_mirrored: bool) -> Tensor:
        if scale != 1.0:
            height, width = images.shape[-2:]
            images = _resize(images, (max(1, round(scale * height)), max(1, round(scale * width))))
        if is_mirrored:
            images = images.flip(-1)
        logits: Tensor = model(images) if self.window == "whole" else self._slide(model, images)
        return logits.flip(-1) if is_mirrored else logits

    def _slide(self, model: nn.Module, images: Tensor) -> Tensor:
        """Average the logits of the windows that see a pixel."""
        height, width = images.shape[-2:]
        total: Tensor | None = None
        counts = torch.zeros(height, width, device=images.device)
        for top in window_starts(height, self.crop, self.stride):
            for left in window_starts(width, self.crop, self.stride):
                rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
                logits = model(images[..., rows, columns]).float()
                if total is None:
                    total = logits.new_zeros(*logits.shape[:2], height, width)
                total[..., rows, columns] += logits
                counts[rows, columns] += 1
        assert total is not None
        return total / counts


def window_starts(length: int, crop: int, stride: int) -> list[int]:
    """Place windows of `crop` pixels along `length`: every `stride`, the last one at the end."""
    if length <= crop:
        return [0]
    return [*range(0, length - crop, stride), length - crop]


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)
