"""A "segmenter" whose answers can be worked out by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Painter(nn.Module):
    """A "segmenter" that reads the class of a pixel off its red value; class 4 is never predicted."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors = nn.Parameter(torch.arange(4.0))

    def forward(self, images: Tensor) -> Tensor:
        distance = (images[:, :1] - self.anchors[None, :, None, None]).abs()
        return torch.cat([-3 * distance, torch.full_like(distance[:, :1], -9.0)], dim=1)
