"""How a segmenter is asked about an image: whole or through a sliding window, at several scales, mirrored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.errors import UserError
from mscsa.evaluation.rows import GivenRows, MirroredRows, ResizedRows, Rows, WindowRows
from mscsa.segmentation.segmenter import Segmenter

_BAND_VALUES = 1 << 23
# Log-probabilities of a band: 32 MiB in float32.


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
    mirrored: tuple[int, ...] = ()
    """What each class is in a mirror image, K; itself if empty."""

    def __post_init__(self) -> None:
        if self.window not in ("whole", "slide"):
            raise UserError(f"window {self.window!r} is not known: give whole or slide")
        if self.crop < 1:
            raise UserError(f"windows of {self.crop} px are none: give crop=1 or more (--crop)")
        if not 1 <= self.stride <= self.crop:
            raise UserError(
                f"stride {self.stride} of windows of {self.crop} px leaves pixels out or is none: give 1 to "
                f"{self.crop}"
            )
        if not self.scales or min(self.scales) <= 0:
            raise UserError(f"scales {list(self.scales)} given: give one or more above 0")

    def __call__(self, model: nn.Module, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Predict images of one size, all pixels at once.

        Args:
            model: Images (B, 3, H, W) to logits (B, K, H, W).
            images: (B, 3, h, w).
            size: (H, W) of the prediction in pixels.
        Returns:
            Log-probabilities in float32, (B, K, H, W).
        """
        return torch.cat([found for _, found in self.bands(model, images, size)], dim=-2)

    def bands(
        self, model: nn.Module, images: Tensor, size: tuple[int, int]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Predict images of one size some rows at a time, from the top to the bottom.

        All classes of all pixels of a photograph may be tens of gigabytes. Here no more than a few bands of
        them are in memory, beside what the model gives before it enlarges that: of the whole image, or of the
        windows that see a band.

        Args:
            model, images, size: As of a call.
        Yields:
            Rows, and their log-probabilities in float32, (B, K, rows, W).
        """
        sides = (False, True) if self.flip else (False,)
        views = [
            ResizedRows(self._view(model, images, scale, is_mirrored), size)
            for scale in self.scales
            for is_mirrored in sides
        ]
        height, width = size
        batch, num_classes = views[0](0, 1).shape[:2]
        step = max(1, _BAND_VALUES // (batch * num_classes * width))
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            yield rows, _mean_of(views, rows)

    def _view(self, model: nn.Module, images: Tensor, scale: float, is_mirrored: bool) -> Rows:
        if scale != 1.0:
            height, width = images.shape[-2:]
            size = max(1, round(scale * height)), max(1, round(scale * width))
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        if is_mirrored:
            images = images.flip(-1)

        def ask(part: Tensor) -> Rows:
            if not isinstance(model, Segmenter):
                return GivenRows(model(part))
            logits, padded = model.coarse_logits(part)
            return ResizedRows(GivenRows(logits), padded, (part.shape[-2], part.shape[-1]))

        is_whole = self.window == "whole"
        rows = ask(images) if is_whole else WindowRows(ask, images, self.crop, self.stride)
        return MirroredRows(rows, self.mirrored) if is_mirrored else rows


def _mean_of(views: Sequence[Rows], rows: slice) -> Tensor:
    """Average the probabilities of some rows over views of the same size; give their logarithms."""
    total: Tensor | None = None
    for view in views:
        log_probabilities = view(rows.start, rows.stop).float().log_softmax(dim=1)
        if len(views) == 1:
            return log_probabilities
        probabilities = log_probabilities.exp_()
        total = probabilities if total is None else total.add_(probabilities)
    assert total is not None
    return total.div_(len(views)).log_()
